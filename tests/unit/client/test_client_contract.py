"""The file formats: what goes in comes out, and nothing odd gets through."""

import json
import signal
from dataclasses import replace
from typing import Any

import pytest

from resentry.contract import (
    SCHEMA,
    Boost,
    ContractError,
    Receipt,
    Rule,
    Snapshot,
    decode_receipt,
    decode_snapshot,
    encode_receipt,
    encode_snapshot,
    revision_of,
    signal_number,
)

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"
FULL = Snapshot(
    settings={"SENTRY_DSN": DSN, "SENTRY_TRACES_SAMPLE_RATE": 0.1},
    roles={"celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.01}},
    rules=(Rule("GET /health", 0.0), Rule("app.tasks.*", 1.0, "celery")),
    boosts=(Boost("b1", 1.0, "2026-11-24T06:15:00Z", "POST /checkout", "api"),),
    provenance={"SENTRY_DSN": {"source": "vault", "path": "secret/x", "version": 7}},
    revision="3f9a1c2b7d04",
    sequence=42,
    published_at="2026-11-24T06:00:00Z",
)
RECEIPT = Receipt(
    id="0123456789abcdef",
    role="api",
    pid=7,
    pidns=4026531836,
    start_time=99,
    parent="fedcba9876543210",
    revision="3f9a1c2b7d04",
    sequence=42,
    phase="running",
    refused=("aaaaaaaaaaaa", 43),
    error="must be https in production",
    signal=40,
    origins={"SENTRY_DSN": "snapshot"},
)


@pytest.mark.parametrize("snapshot", [FULL, Snapshot({}, revision="0" * 12)])
def test_a_snapshot_comes_back_as_it_was(snapshot: Snapshot) -> None:
    """Decoding undoes encoding, with every field and with none."""
    assert snapshot == decode_snapshot(encode_snapshot(snapshot))


@pytest.mark.parametrize(
    "receipt",
    [RECEIPT, Receipt(id="a" * 16, role="other", pid=1, pidns=0, start_time=0)],
)
def test_a_receipt_comes_back_as_it_was(receipt: Receipt) -> None:
    """Decoding undoes encoding, with every field and with few."""
    assert receipt == decode_receipt(encode_receipt(receipt))


def test_a_receipt_of_a_later_library_is_read() -> None:
    """Fields that this version does not know are left out."""
    document = json.loads(encode_receipt(RECEIPT)) | {"colour": "blue"}
    assert decode_receipt(json.dumps(document).encode()) == RECEIPT


def test_the_revision_is_twelve_hexadecimal_digits() -> None:
    """A revision is short enough to be read aloud, and safe in a file's name."""
    assert len(revision_of(FULL)) == 12
    assert set(revision_of(FULL)) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "same",
    [
        replace(FULL, settings=dict(reversed(FULL.settings.items()))),
        replace(FULL, provenance={}),
        replace(FULL, sequence=43),
        replace(FULL, published_at="2027-01-01T00:00:00Z"),
        replace(FULL, revision=""),
    ],
    ids=["key order", "provenance", "sequence", "published_at", "revision"],
)
def test_equal_content_has_an_equal_revision(same: Snapshot) -> None:
    """What is no content, and the order of keys, do not make another revision."""
    assert revision_of(FULL) == revision_of(same)


@pytest.mark.parametrize(
    "other",
    [
        replace(FULL, settings={**FULL.settings, "SENTRY_TRACES_SAMPLE_RATE": 0.2}),
        replace(FULL, settings={"SENTRY_DSN": DSN}),
        replace(FULL, roles={}),
        replace(FULL, rules=tuple(reversed(FULL.rules))),
        replace(FULL, boosts=()),
    ],
    ids=["value", "key", "roles", "order of rules", "boosts"],
)
def test_other_content_has_another_revision(other: Snapshot) -> None:
    """Every part of the content counts, and the order of the rules is content."""
    assert revision_of(FULL) != revision_of(other)


def _snapshot_with(**changed: Any) -> bytes:
    return json.dumps(json.loads(encode_snapshot(FULL)) | changed).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"[" * 60_000,
        b'{"schema": 1}',
        _snapshot_with(schema=SCHEMA + 1),
        _snapshot_with(settings=DSN),
        _snapshot_with(settings=None),
        _snapshot_with(roles={"api": DSN}),
        _snapshot_with(rules=[{"match": "x", "rate": DSN}]),
        _snapshot_with(rules=[DSN]),
        _snapshot_with(boosts=[{}]),
        _snapshot_with(sequence=DSN),
        _snapshot_with().replace(b'"sequence": 42', b'"sequence": 1e999'),
    ],
)
def test_what_is_no_snapshot_is_refused_without_a_quote(body: bytes) -> None:
    """A wrong shape is a ContractError that says nothing of the content."""
    with pytest.raises(ContractError) as caught:
        decode_snapshot(body)
    assert "c0ffee" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def _receipt_with(**changed: Any) -> bytes:
    return json.dumps(json.loads(encode_receipt(RECEIPT)) | changed).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"id": "0123',
        b"7",
        b"[" * 60_000,
        b'{"schema": 1}',
        _receipt_with(pid="7"),
        _receipt_with(id=None),
        _receipt_with(revision=7),
        _receipt_with(refused=["a"]),
        _receipt_with(refused="a"),
        _receipt_with(refused=[1, "a"]),
        _receipt_with(origins=[]),
        _receipt_with(swap_ms=float("nan")),
        _receipt_with(role="\ud800"),
        _receipt_with(error="\ud800"),
    ],
)
def test_what_is_no_receipt_is_refused(body: bytes) -> None:
    """A wrong type, a nest of brackets, and what no log could print are refused."""
    with pytest.raises(ContractError):
        decode_receipt(body)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", signal.SIGRTMIN + 6),
        ("SIGRTMIN", signal.SIGRTMIN),
        ("SIGRTMIN+0", signal.SIGRTMIN),
        ("SIGRTMIN+30", signal.SIGRTMIN + 30),
        ("off", None),
    ],
)
def test_the_signal_is_counted_from_the_first_real_time_one(
    text: str, expected: int | None
) -> None:
    """Empty is the default, `off` is none."""
    assert expected == signal_number(text)


@pytest.mark.parametrize(
    "text", ["SIGTERM", "SIGUSR1", "15", "SIGRTMIN+31", "SIGRTMIN-1", "SIGRTMIN+1\n"]
)
def test_no_other_signal_can_be_chosen(text: str) -> None:
    """Every other signal means something to uvicorn, gunicorn or Celery."""
    with pytest.raises(ValueError, match="SIGRTMIN"):
        signal_number(text)
