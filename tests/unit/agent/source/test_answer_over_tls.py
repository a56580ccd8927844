"""What TLS changes for answers: it reads ahead, and a proxy may speak it, too."""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from agent.errors import SourceDown
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


def pump(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)


class Server:
    """Answers over TLS, and leads to other servers as a proxy does."""

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
        self.drip = 0.0
        """The seconds after each byte, if it is not 0."""

    def serve(self) -> None:
        while True:
            try:
                opened, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(opened,), daemon=True).start()

    def _serve(self, opened: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(opened, server_side=True) as tls,
        ):
            while asked := tls.recv(65536):
                if asked.startswith(b"CONNECT "):
                    self._connect(tls, int(asked.split()[1].rpartition(b":")[2]))
                    return
                time.sleep(self.pause)
                several = len(self.answers) > 1
                sent = self.answers.pop(0) if several else self.answers[0]
                step = 1 if self.drip else len(sent)
                for at in range(0, len(sent), step):
                    tls.sendall(sent[at : at + step])
                    time.sleep(self.drip)

    def _connect(self, tls: ssl.SSLSocket, port: int) -> None:
        tls.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as other:
            back = threading.Thread(target=pump, args=(other, tls), daemon=True)
            back.start()
            pump(tls, other)


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


@pytest.fixture(params=["http", "https"])
def by_proxy(
    request: pytest.FixtureRequest,
    server: Server,
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[VaultSource]:
    """A source whose proxy is the server, and Vault too: behind a tunnel, or not."""
    monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    for module in (api, bounds):
        monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(bounds, "ANSWER_SECONDS", 1.5)
    monkeypatch.setenv(f"{request.param}_PROXY".upper(), server.url)
    is_tunnel = request.param == "https"
    address = server.url if is_tunnel else "http://vault.example"
    given = {"vault_auth": "none", "vault_kv_version": "2", "vault_trust_env": True}
    given |= {"vault_ca": str(server.ca)} if is_tunnel else {}
    source = opened(settings(vault_addr=address, **given))
    source.read()
    yield source
    source.api.session.close()


def test_by_a_proxy_with_https_an_answer_has_the_time_of_reading(
    server: Server, by_proxy: VaultSource
) -> None:
    """It is more than the time of connecting."""
    server.pause = 0.8
    assert by_proxy.read().values == {"SENTRY_SAMPLE_RATE": "0.5"}


def test_by_a_proxy_with_https_an_answer_that_drips_is_cut(
    server: Server, by_proxy: VaultSource
) -> None:
    """The limits hold for the connection with the proxy, too."""
    server.drip = 0.05
    began = time.monotonic()
    with pytest.raises(SourceDown, match="is not complete after"):
        by_proxy.read()
    assert time.monotonic() - began < 2.5
