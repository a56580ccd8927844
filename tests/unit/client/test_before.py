"""What a process did before `init`, as its receipt tells."""

import json
import os
import time
from types import SimpleNamespace
from typing import Self

import pytest

from resentry import before
from resentry.contract import Receipt, decode_receipt, encode_receipt


def test_a_process_that_does_nothing_before_is_early() -> None:
    """It has run for as long as the kernel says."""
    told = before.before_init()
    assert told["children"] == 0
    assert 0 <= told["seconds"] <= time.monotonic()


def test_only_children_that_run_this_program_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was exec'd, as a helper, has another command line."""
    commands = {"self": b"app", "7": b"app", "8": b"helper", "9": b""}
    monkeypatch.setattr(before, "_command", commands.get)
    monkeypatch.setattr(os, "listdir", lambda _: ["1"])
    monkeypatch.setattr(
        "builtins.open", lambda *_: _File("12.5 3" if "uptime" in _[0] else "7 8 9 ")
    )
    monkeypatch.setattr(before, "start_time", lambda _: 0)
    assert before.before_init() == {"seconds": 12, "children": 1, "clients": 0}


class _File(SimpleNamespace):
    def __init__(self, text: str) -> None:
        super().__init__(read=lambda: text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_without_proc_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No number is made up."""
    monkeypatch.setattr(before, "_age_seconds", _missing)
    assert before.before_init() == {}


def _missing() -> float:
    raise FileNotFoundError


OLD = Receipt(id="5bd28ef02add94de", role="api", pid=7, pidns=1, start_time=2)


def test_a_receipt_of_an_older_library_tells_nothing() -> None:
    """It is read; the number of decided traces is not known, which is not 0."""
    document = json.loads(encode_receipt(OLD))
    for name in ("decided", "matched", "decided_errors", "matched_errors", "before"):
        del document[name]
    read = decode_receipt(json.dumps(document).encode())
    assert (read.decided, read.matched, read.before) == (None, "", {})
    assert (read.decided_errors, read.matched_errors) == (None, "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"decided": -1},
        {"decided": "7"},
        {"matched": "xyz"},
        {"matched": 7},
        {"decided_errors": -1},
        {"matched_errors": "xyz"},
        {"matched_ceilings": 7},
        {"before": {"seconds": "long"}},
        {"before": {"children": -1}},
    ],
)
def test_a_malformed_field_is_an_error(wrong: dict[str, object]) -> None:
    """As any other field of a receipt."""
    document = json.loads(encode_receipt(OLD)) | wrong
    with pytest.raises(ValueError, match="the receipt's"):
        decode_receipt(json.dumps(document).encode())
