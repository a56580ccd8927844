"""One POST: bounded whatever the server does, and nothing quoted."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.domain.dsn_check import answer_of
from agent.dsn_check.send import check_sender
from agent.web import BODY_BYTES, Request, ask, is_link_local, post
from lab.process import free_port
from lab.proxy import Faults, Proxy
from lab.receiver import Receiver
from lab.sink import Sink, key_of
from lab.vault import ProductionVault

PROGRAMS = Path(__file__).parent / "dsn_check" / "programs"
SECRET = {"Authorization": "Bearer planted-secret"}


pytestmark = pytest.mark.server


def test_status_and_the_beginning_of_the_body_come_back() -> None:
    """Headers are sent as given, on a connection of its own."""
    with Receiver(202, body=b"x" * 10_000) as receiver:
        for _ in range(2):
            assert post(receiver.url, SECRET, b"data", 5) == (202, b"x" * BODY_BYTES)
    (first, second) = receiver.requests
    assert first.start[:2] == ["POST", "/hook"]
    assert first.header("Authorization") == "Bearer planted-secret"
    assert (first.body, second.body) == (b"data", b"data")
    assert receiver.connections == 2


def test_one_address_of_a_name_can_be_asked() -> None:
    """The server is told the name, also where the name cannot be resolved from here."""
    with Receiver(202, {"Date": "Sun, 29 Nov 2026 10:00:00 GMT"}) as receiver:
        _, _, port = receiver.address.rpartition(":")
        url = f"http://replica.invalid:{port}/"
        answer = ask(Request("POST", url, {}, b"data", "127.0.0.1"), 5)
    assert (answer.status, answer.date) == (202, "Sun, 29 Nov 2026 10:00:00 GMT")
    assert receiver.requests[0].header("Host") == f"replica.invalid:{port}"


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has network namespaces")
def test_a_dsn_check_never_asks_a_link_local_address() -> None:
    """A receiver of notifications may be there: an operator has named it."""
    ran = subprocess.run(
        ["unshare", "--net", sys.executable, PROGRAMS / "link_local.py"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if ran.stdout == "no address\n" or "unshare" in ran.stderr:
        pytest.skip("this root may not make network namespaces")
    assert ran.stdout.splitlines() == ["a link-local address []", "200 ['/hook']"], (
        ran.stderr
    )


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("169.254.169.254", True),
        ("::ffff:169.254.169.254", True),
        ("fe80::1%eth0", True),
        ("FEBF::1", True),
        ("64:ff9b::a9fe:a9fe", True),
        ("64:ff9b::169.254.1.1", True),
        ("64:ff9b:1::a9fe:a9fe", True),
        ("64:ff9b:1:a9fe:a9:fe00::", True),
        ("64:ff9b:1:0:a9:fea9:fe00:0", True),
        ("2002:a9fe:a9fe::1", True),
        ("::a9fe:a9fe", True),
        ("fd00:ec2::254", True),
        ("64:ff9b::a00:a9fe", False),
        ("2001:db8::a9fe:a9fe", False),
        ("::ffff:10.0.0.1", False),
        ("fd00::fe80", False),
        ("10.169.254.1", False),
        ("127.0.0.1", False),
        ("::1", False),
    ],
)
def test_link_local_addresses_are_known(address: str, *, expected: bool) -> None:
    """Of both families, also as an IPv4 address within one of IPv6."""
    assert is_link_local(address) is expected


def test_not_even_a_handshake_goes_to_such_an_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The address is looked at before TLS begins."""
    monkeypatch.setattr("agent.web.is_link_local", lambda _: True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://localhost:{server.getsockname()[1]}/"
        with pytest.raises(OSError, match="link-local"):
            post(url, {}, b"", 5, to_link_local=False)
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1000) == b""


def test_a_redirect_is_not_followed() -> None:
    """It is an answer like any other."""
    with Receiver() as other, Receiver(307, {"Location": other.url}) as first:
        assert post(first.url, {}, b"", 5)[0] == 307
        assert other.requests == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [Faults(hang=True), Faults(drip=0.05), Faults(latency=5)],
    ids=["hang", "drip", "late"],
)
def test_a_server_that_takes_its_time_is_left(faults: Faults) -> None:
    """Time-outs bound each read; the deadline bounds them all."""
    with Receiver() as receiver, Proxy(receiver.address) as proxy:
        proxy.faults = faults
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"no answer within 0\.5 s"):
            post(f"{proxy.url}/hook", SECRET, b"", 0.5)
        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    "faults",
    [Faults(refuse=True), Faults(cut=5), Faults(cut=0)],
    ids=["closed", "cut", "empty"],
)
def test_a_broken_answer_is_an_os_error(faults: Faults) -> None:
    """Nothing that was sent or received stands in it."""
    with Receiver() as receiver, Proxy(receiver.address) as proxy:
        proxy.faults = faults
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the text is compared
            post(f"{proxy.url}/planted-secret", SECRET, b"", 5)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(f"http://127.0.0.1:{free_port()}/", id="nobody listens"),
        "http://no-such-host.invalid/",
        "http://a..b/planted-secret",
        "http://127.0.0.1:9/planted secret",
    ],
)
def test_a_server_that_is_not_there_is_an_os_error(url: str) -> None:
    """Refused, unknown, or no name at all."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the text is compared
        post(url, {}, b"", 5)
    assert "planted" not in str(caught.value)


def test_the_reason_names_dns_and_tls() -> None:
    """An operator sees at once which of them to look at."""
    send = check_sender("resentry-agent/1")
    with pytest.raises(OSError, match="DNS: the name cannot be resolved"):
        send(f"https://{key_of(1)}@no-such-host.invalid/1", 5)
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        host = f"127.0.0.1:{plain.getsockname()[1]}"
        with pytest.raises(OSError, match="TLS: no connection"):
            send(f"https://{key_of(1)}@{host}/1", 30)


@pytest.mark.process
def test_certificates_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose authority nobody knows gets no request."""
    with ProductionVault() as vault:
        url = f"{vault.address}/v1/sys/health"
        with pytest.raises(OSError, match="TLS: the certificate is not accepted"):
            post(url, SECRET, b"", 5)
        monkeypatch.setenv("SSL_CERT_FILE", str(vault.ca))
        assert post(url, SECRET, b"", 5)[0] >= 200


def test_a_dsn_check_is_one_request_that_books_nothing() -> None:
    """A client report without entries, with the key in its header alone."""
    with Receiver() as receiver:
        dsn = f"http://{key_of(1)}@{receiver.address}/sentry/1"
        assert check_sender("resentry-agent/1")(dsn, 5) == "good"
        (request,) = receiver.requests
    assert request.start[1] == "/sentry/api/1/envelope/"
    assert request.header("User-Agent") == "resentry-agent/1"
    assert f"sentry_key={key_of(1)}" in request.header("X-Sentry-Auth")
    for name in ("Origin", "Referer", "Cookie"):
        assert request.header(name) == ""
    header, item, report, end = request.body.split(b"\n")
    assert b"dsn" not in header
    assert b'"client_report"' in item
    assert f'"length": {len(report)}}}'.encode() in item
    assert b'"discarded_events": []' in report
    assert end == b""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("ok", "good"),
        (403, "denied"),
        (400, "malformed"),
        (401, "malformed"),
        (429, "limited"),
        (500, "status 500"),
        (302, "status 302"),
        ("hang", "no answer within 0.5 s"),
    ],
)
def test_what_a_dsn_check_says_of_a_server(how: int, expected: str) -> None:
    """Answers become words, and what tells nothing becomes a reason."""
    with Sink() as sink:
        dsn = sink.dsn(1)
        sink.answer(1, how)  # type: ignore[arg-type]
        try:
            said = check_sender("resentry-agent/1")(dsn, 0.5)
        except OSError as error:
            said = str(error)
        assert said == expected
        assert sink.count("event") == 0


def test_the_sink_denies_an_unknown_key() -> None:
    """As a real server does, and the body that echoes the DSN goes no further."""
    with Receiver(403, body=b"key incorrect: http://planted@h/1") as receiver:
        dsn = f"http://{key_of(1)}@{receiver.address}/1"
        assert check_sender("resentry-agent/1")(dsn, 5) == answer_of(403) == "denied"
