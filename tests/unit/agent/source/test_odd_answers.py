"""Odd answers of Vault, byte for byte: each is an answer, or one of our errors."""

import json
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from agent.domain.candidate import Candidate
from agent.domain.guard_rails import GuardRails
from agent.domain.validate import validate
from agent.errors import AgentError, CandidateRefused, SourceDown, SourceError
from agent.settings import Settings
from agent.source.vault import VaultSource

pytestmark = pytest.mark.server

MEBIBYTE = 1024 * 1024
VALUES = {"SENTRY_SAMPLE_RATE": "0.5"}
KV = json.dumps({"data": {"data": VALUES, "metadata": {}}}).encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
Ask = Callable[[bytes], Candidate]


def answer(body: bytes = KV, head: bytes = b"", status: int = 200) -> bytes:
    start = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n".encode()
    return start + head + b"\r\n" + body


def kv(**metadata: object) -> bytes:
    return answer(json.dumps({"data": {"data": VALUES, "metadata": metadata}}).encode())


@pytest.fixture
def ask(settings: Callable[..., Settings]) -> Iterator[Ask]:
    """Read from a server that answers each connection with exactly these bytes."""
    with ExitStack() as stack:

        def read(raw: bytes) -> Candidate:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve() -> None:
                while True:
                    try:
                        connection, _ = server.accept()
                        with connection:
                            connection.recv(65536)
                            connection.sendall(raw)
                    except OSError:
                        return

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            stack.callback(thread.join, 5)
            stack.callback(server.shutdown, socket.SHUT_RDWR)
            host, port = server.getsockname()
            given = {"vault_auth": "none", "vault_kv_version": "2"}
            made = settings(vault_addr=f"http://{host}:{port}", **given)
            return VaultSource(made, "tests", wait=lambda _seconds: None).read()

        yield read


@pytest.mark.parametrize(
    "before",
    [
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" * 3,
    ],
    ids=["102", "103", "several"],
)
def test_interim_answers_are_skipped(ask: Ask, before: bytes) -> None:
    """HTTP allows any number before the answer."""
    assert ask(before + answer()).values == VALUES


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 102 Processing\r\n\r\n" * 10000,
        b"HTTP/1.1 103 x\r\n" + b"A: b\r\n" * 50 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + answer(),
        CHUNKED + b"-1\r\n" + KV,
        CHUNKED + b"-5\r\n" + KV + b"\r\n0\r\n\r\n",
        CHUNKED + b"f" * 30 + b"\r\n" + KV,
        CHUNKED + b"x\r\n" + KV,
        CHUNKED + b"1" * 70000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + KV,
        answer(head=b"Content-Length: 5\r\n"),
        answer(head=b"content-length: %d, 5\r\n" % len(KV)),
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/1.1 1000 x\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n" + KV,
        KV,
        b"\x15\x03\x01\x00\x02\x02F",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + (b"A: " + b"b" * 60000 + b"\r\n") * 50 + b"\r\n",
        answer(head=b"Content-Encoding: gzip\r\n"),
        answer(head=b"Content-Encoding: deflate\r\n"),
        answer(KV.decode().encode("utf-16")),
        answer(KV.replace(b'"0.5"', b"9" * 5000)),
        answer(KV.replace(b'"0.5"', b"NaN")),
        answer(KV.replace(b"{}", b'{"version": 1e999}')),
        answer(KV.replace(b"{}", b'{"version": NaN}')),
        answer(b"[" * 60000),
        answer(b'{"a":' * 30000),
        answer(b'{"data": []}'),
        answer(b'{"data": {"data": []}}'),
        answer(b"", b"Location: http://\x00/\r\n", 307),
        answer(b"", b"Location: \xff://[\r\n", 307),
        answer(b"", b"Retry-After: " + b"9" * 5000 + b"\r\n", 503),
    ],
    ids=lambda raw: ascii(raw[:60]),
)
def test_what_cannot_be_read_is_an_error_of_the_source(ask: Ask, raw: bytes) -> None:
    """Never an unexpected one, which would fill the log with tracebacks."""
    with pytest.raises(SourceError):
        ask(raw)


def test_a_length_may_be_there_twice(ask: Ask) -> None:
    """Some proxies do that. It says the same."""
    again = b"Content-Length: %d\r\n" % len(KV)
    assert ask(answer(head=again)).values == VALUES


def test_a_broken_compression_is_told(ask: Ask) -> None:
    """The class of an error says nothing to an operator."""
    with pytest.raises(SourceDown, match="is compressed, and cannot be unpacked"):
        ask(answer(head=b"Content-Encoding: gzip\r\n"))


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59.999999999", "0001-01-01T00:00:00"]
)
@pytest.mark.parametrize("zone", ["Z", "+23:59", "-23:59"])
def test_times_at_the_ends_of_the_calendar_are_no_error(
    ask: Ask, time: str, zone: str
) -> None:
    """Which they are in another zone than Vault's."""
    raw = kv(version=1, created_time=time + zone, deletion_time=time + zone)
    candidate = ask(raw)
    assert candidate.values == VALUES
    assert candidate.provenance["SENTRY_SAMPLE_RATE"]["version"] == 1


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"version": "3"}, {}),
        ({"version": -1}, {}),
        ({"version": 3.5}, {}),
        ({"custom_metadata": [[[]]]}, {}),
        ({"custom_metadata": {"a": "b", "c": []}}, {"custom_metadata": {"a": "b"}}),
    ],
    ids=repr,
)
def test_odd_metadata_is_not_published(
    ask: Ask, metadata: dict[str, object], expected: dict[str, object]
) -> None:
    """The provenance has a number and texts, as Vault gives them."""
    where = ask(kv(**metadata)).provenance["SENTRY_SAMPLE_RATE"]
    assert where == {"source": "vault", "path": "secret/data/lms", **expected}


# Memory


def peak_of(ask: Ask, raw: bytes) -> tuple[int, AgentError | None]:
    """Return how much memory the answer needed at most, without its own bytes."""
    tracemalloc.start()
    error = None
    try:
        ask(raw)
    except AgentError as raised:
        error = raised.with_traceback(None)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak, error


@pytest.mark.alone
@pytest.mark.parametrize(
    "held",
    [
        b'{"other": [' + b"[]," * 349_000 + b"[]]}",
        b'{"RESENTRY_RULES": [' + b"{}," * 349_000 + b"{}]}",
        b"{" + b",".join(b'"K%d":""' % n for n in range(120_000)) + b"}",
    ],
    ids=["lists", "objects", "keys"],
)
def test_a_mebibyte_of_small_values_is_refused(ask: Ask, held: bytes) -> None:
    """It would need 50 MiB, and a pod has 64."""
    peak, error = peak_of(ask, answer(b'{"data": {"data": ' + held + b"}}"))
    assert isinstance(error, CandidateRefused)
    assert "too many values" in error.what
    assert peak < 8 * MEBIBYTE


@pytest.mark.alone
@pytest.mark.parametrize(
    "name", ["RESENTRY_RULES", "RESENTRY_BOOSTS", "RESENTRY_ROLES"]
)
def test_a_mebibyte_of_small_values_within_a_text_is_refused(name: str) -> None:
    """The text of JSON in JSON is counted once more, before it is read."""
    candidate = Candidate({name: "[" + "{}," * 340_000 + "{}]"})
    tracemalloc.start()
    try:
        with pytest.raises(CandidateRefused, match=f"{name} holds too many values"):
            validate(candidate, GuardRails(), None, 0.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEBIBYTE


@pytest.mark.alone
def test_the_largest_secret_needs_little_memory(ask: Ask) -> None:
    """A mebibyte of text, with one character that makes Python take four bytes each."""
    held = json.dumps({"other": "x" * 1_048_000 + "\U0001f600"}, ensure_ascii=False)
    raw = answer(b'{"data": {"data": ' + held.encode() + b"}}")
    peak, error = peak_of(ask, raw)
    assert error is None
    assert peak < 20 * MEBIBYTE


@pytest.mark.alone
@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_of_an_error_only_what_is_needed_is_read(ask: Ask, status: int) -> None:
    """The status says it; of a 404, the metadata of a deleted secret."""
    raw = answer(b"[" + b"{}," * 690_000 + b"{}]", status=status)
    peak, error = peak_of(ask, raw)
    assert isinstance(error, SourceError)
    assert peak < 5 * MEBIBYTE


@pytest.mark.alone
def test_the_head_of_an_answer_is_bounded(ask: Ask) -> None:
    """http.client alone would take 100 headers of 64 KiB each."""
    raw = b"HTTP/1.1 200 x\r\n" + (b"A: " + b"b" * 60000 + b"\r\n") * 90 + b"\r\n"
    peak, error = peak_of(ask, raw)
    assert isinstance(error, SourceDown)
    assert "too large" in error.what
    assert peak < MEBIBYTE
