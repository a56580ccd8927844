"""Asks a server at a link-local address, in a network namespace of its own.

unshare --net python link_local.py
"""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from agent.dsn_check.send import check_sender
from agent.web import post

ADDRESS = "169.254.169.254"
asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Answers like a server that accepts every DSN."""

    def do_POST(self) -> None:
        """Note the request."""
        asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


for command in (["link", "set", "lo", "up"], ["addr", "add", ADDRESS, "dev", "lo"]):
    if subprocess.run(["ip", *command], capture_output=True).returncode:
        print("no address")
        sys.exit()
server = HTTPServer((ADDRESS, 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
host = f"{ADDRESS}:{server.server_port}"
try:
    check_sender("test")(f"http://key@{host}/1", 5.0)
except OSError as error:
    print(error, asked)
print(post(f"http://{host}/hook", {}, b"", 5.0)[0], asked)
