"""The agent where the name `vault.test` resolves as long as a file exists: `FILE run`."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from agent.cli import main

real, file = socket.getaddrinfo, sys.argv.pop(1)


def getaddrinfo(host: Any, *args: Any, **more: Any) -> Any:
    if host != "vault.test":
        return real(host, *args, **more)
    if not os.path.exists(file):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return real("127.0.0.1", *args, **more)


socket.getaddrinfo = getaddrinfo
main()
