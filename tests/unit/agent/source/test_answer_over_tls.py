"""What TLS changes for answers: it reads ahead, and a proxy may speak it, too."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from agent.settings import Settings
from agent.source import api, bounds
from agent.source.vault import VaultSource

pytestmark = pytest.mark.server

BUFFER_BYTES = 8192
"""What http.client reads at once of an answer."""


def answer(rate: str) -> bytes:
    body = json.dumps({"data": {"data": {"SENTRY_SAMPLE_RATE": rate}}}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Server:
    """Answers over TLS, one connection after the other."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self.listener.getsockname()[1]}"
        self.answers = [answer("0.5")]
        """What is sent for each request; the last one also for those after it."""
        self.pause = 0.0
        """The seconds before each answer."""

    def serve(self) -> None:
        while True:
            try:
                opened, _ = self.listener.accept()
            except OSError:
                return
            with opened, self._context.wrap_socket(opened, server_side=True) as tls:
                while tls.recv(65536):
                    time.sleep(self.pause)
                    several = len(self.answers) > 1
                    tls.sendall(self.answers.pop(0) if several else self.answers[0])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    thread = threading.Thread(target=running.serve, daemon=True)
    thread.start()
    yield running
    running.listener.shutdown(socket.SHUT_RDWR)
    running.listener.close()


def opened(made: Settings) -> VaultSource:
    return VaultSource(made, "tests", wait=lambda _seconds: None)


def test_what_follows_an_answer_is_not_the_next_one(
    server: Server, settings: Callable[..., Settings]
) -> None:
    """TLS has it already, in the same record, so nothing comes from the network."""
    first = answer("0.5")
    first += b"." * (BUFFER_BYTES - len(first))
    server.answers = [first + answer("0.9"), answer("0.7")]
    given = {"vault_auth": "none", "vault_kv_version": "2"}
    source = opened(settings(vault_addr=server.url, vault_ca=str(server.ca), **given))
    assert source.read().values == {"SENTRY_SAMPLE_RATE": "0.5"}
    assert source.read().values == {"SENTRY_SAMPLE_RATE": "0.7"}
    source.api.session.close()


def test_a_proxy_with_https_may_take_longer_than_a_connection(
    server: Server,
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer has the time of reading, also where urllib3 made the socket."""
    for module in (api, bounds):
        monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)
    monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    given = {"vault_auth": "none", "vault_kv_version": "2", "vault_trust_env": True}
    source = opened(settings(vault_addr="http://vault.example", **given))
    source.read()
    server.pause = 0.8
    assert source.read().values == {"SENTRY_SAMPLE_RATE": "0.5"}
    source.api.session.close()
