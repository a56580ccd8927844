"""The lab's own servers: asyncio in a thread of this process, stopped without a trace.

Only for what no real server can be made to do: the sink and the proxy.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import TYPE_CHECKING

from lab.process import free_port

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from typing import Self

HEAD_BYTES = 1 << 18


class Server:
    """A TCP server on a free port of `host`; a subclass says how it converses."""

    def __init__(self, port: int | None = None, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = port or free_port()
        self.connections = 0
        self._conversations: dict[asyncio.Task[None], list[StreamWriter]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._listening = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(
            target=self._run, name=type(self).__name__, daemon=True
        )

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one connection until its end; it is closed afterwards."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """The host and port that it listens on."""
        return f"{self.host}:{self.port}"

    def start(self) -> Self:
        """Return once it listens; raises OSError when the port is taken."""
        self._thread.start()
        self._listening.wait()
        if self._error:
            raise self._error
        return self

    def stop(self) -> None:
        """Close every connection and end the thread. It cannot be started again."""
        if self._loop and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def drop_connections(self) -> None:
        """Reset every open connection; new ones are welcome."""
        if self._loop and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._abort)

    async def pause(self, seconds: float | None) -> None:
        """Wait that long, for ever when None; less when the server stops."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({stopping}, timeout=seconds)
        stopping.cancel()

    async def connect(self, host: str, port: int) -> Streams:
        """Open a connection that ends with the conversation that asked for it."""
        reader, writer = await asyncio.open_connection(host, port)
        if task := asyncio.current_task():
            self._conversations[task].append(writer)
        return reader, writer

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._error = error
        finally:
            self._listening.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(
            self._connected, self.host, self.port, limit=HEAD_BYTES, backlog=1024
        )
        self._listening.set()
        await self._stopping.wait()
        server.close()
        # Handlers see the end of their streams and return: none has to be cancelled.
        while self._conversations:
            self._abort()
            await asyncio.wait(list(self._conversations), timeout=0.1)

    def _abort(self) -> None:
        for writer in itertools.chain(*self._conversations.values()):
            writer.transport.abort()

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self.connections += 1
        writers = self._conversations.setdefault(task, [writer])
        try:
            await self.converse(reader, writer)
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            for each in writers:
                each.close()
            ends = [each.wait_closed() for each in writers]
            await asyncio.gather(*ends, return_exceptions=True)
            del self._conversations[task]
