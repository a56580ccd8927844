"""A listen address holds, whoever connects: health checks are answered all the time."""

import contextlib
import gc
import http.client
import os
import resource
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from agent.observe import listener
from agent.observe.listener import CONNECTIONS, HEADER_BYTES, listen
from lab.process import eventually, free_port

pytestmark = pytest.mark.server


def application(
    _environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


@pytest.fixture
def port() -> int:
    """The port of a listener."""
    number = free_port()
    for one in listen(application, "127.0.0.1", number):
        one.start()
    return number


@pytest.fixture
def connect(port: int) -> Iterator[Callable[[], socket.socket]]:
    """Open connections that the end of the test closes."""
    with contextlib.ExitStack() as stack:

        def open_one() -> socket.socket:
            address = "127.0.0.1", port
            return stack.enter_context(socket.create_connection(address, 10))

        yield open_one


def answers(port: int) -> bool:
    """Whether a health check is answered now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed the connection."""
    if not select.select([connection], [], [], 0)[0]:
        return False
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def status_of(connection: socket.socket) -> int:
    """Return the status of the answer."""
    return int(connection.recv(4096).split()[1])


def test_the_connection_that_is_idle_longest_gives_way(
    port: int, connect: Callable[[], socket.socket]
) -> None:
    """Thousands that say nothing keep no health check out."""
    opened = [connect() for _ in range(3 * CONNECTIONS)]
    assert answers(port)
    assert answers(port)
    eventually(
        lambda: sum(map(is_closed, opened)) >= 2 * CONNECTIONS, what="the closed ones"
    )
    assert not is_closed(opened[-1])


def test_a_connection_ends_in_time_whatever_it_does(
    connect: Callable[[], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then is not idle, and no reason to stay."""
    monkeypatch.setattr(listener, "CONNECTION_SECONDS", 0.5)
    monkeypatch.setattr(listener, "LOOK_SECONDS", 0.1)
    drip = connect()
    drip.sendall(b"GET /livez HTTP/1.1\r\n")

    def is_over() -> bool:
        with contextlib.suppress(ConnectionError):
            drip.sendall(b"X")
        return is_closed(drip)

    eventually(is_over, what="the end of the connection")


def test_who_does_not_read_the_answer_is_closed_in_time(
    connect: Callable[[], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers take memory only until then."""
    monkeypatch.setattr(listener, "CONNECTION_SECONDS", 0.5)
    monkeypatch.setattr(listener, "LOOK_SECONDS", 0.1)
    deaf = connect()
    deaf.setblocking(False)

    def is_over() -> bool:
        try:
            deaf.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        return False

    eventually(is_over, what="the end of the connection")


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n",
        b"Content-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ],
)
def test_a_body_is_refused_before_it_is_read(
    port: int, connect: Callable[[], socket.socket], header: bytes
) -> None:
    """Nothing is kept of it, neither in memory nor on a disk."""
    connection = connect()
    connection.sendall(b"POST /livez HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n")
    assert status_of(connection) == 413
    assert answers(port)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"GET /" + b"a" * HEADER_BYTES, 431),
        (b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"\xff\xfe / \x00\r\n\r\n", 400),
    ],
)
def test_an_odd_request_is_answered(
    port: int, connect: Callable[[], socket.socket], request_text: bytes, status: int
) -> None:
    """And ends nothing."""
    connection = connect()
    connection.sendall(request_text)
    assert status_of(connection) == status
    assert answers(port)


def test_without_a_file_descriptor_an_idle_connection_gives_way(
    port: int, connect: Callable[[], socket.socket]
) -> None:
    """The health check is answered, and no processor spins meanwhile."""
    opened = [connect() for _ in range(10)]
    assert answers(port)
    gc.collect()  # what it closed later would be a descriptor for the new connection
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = socket.socket()
    client.settimeout(10)
    limit = max(map(int, os.listdir("/proc/self/fd"))) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        began = time.process_time()
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert status_of(client) == 200
        assert time.process_time() - began < 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.close()
        for number in taken:
            os.close(number)
    assert any(map(is_closed, opened))


def test_a_host_name_with_two_addresses_is_served_at_both() -> None:
    """`localhost` is an IPv4 and an IPv6 address."""
    number = free_port()
    found = listen(application, "localhost", number)
    addresses = {one.effective_host for one in found}
    for one in found:
        one.start()
    for address in addresses:
        with socket.create_connection((address, number), 10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status_of(connection) == 200
