"""An asyncio program without a server: its tasks report events, until SIGTERM."""

from __future__ import annotations

import asyncio
import itertools
import signal

from captures import capture, start

PAUSE = 0.1


async def work(items: itertools.count[int], stopped: asyncio.Event) -> None:
    while not stopped.is_set():
        capture(next(items))
        await asyncio.sleep(PAUSE)


async def main() -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    start()
    items = itertools.count()
    await asyncio.gather(*(work(items, stopped) for _ in range(3)))


if __name__ == "__main__":
    asyncio.run(main())
