"""JSON of others is read strictly, and only if it needs little memory."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from agent.domain.bounded_json import TOKENS_LIMIT, TooManyError, check, loads

MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        "[" * 60000,
        "9" * 5000,
        "{",
        "",
        "1 2",
    ],
    ids=lambda text: text[:10],
)
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    """Python itself would read some of these, and end in a traceback at others."""
    for form in (text, text.encode()):
        with pytest.raises(ValueError, match=r"."):
            loads(form)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_bytes_are_utf_8(encoding: str) -> None:
    """Other encodings would hide how much there is."""
    with pytest.raises(ValueError, match=r"."):
        loads('{"a": "ä"}'.encode(encoding))
    assert loads(b"\xef\xbb\xbf[1]") == [1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    ["[]", "{}", '""', "0", '{"":[]}', "[[]]", '"\\"[]', "1e5"],
    ids=repr,
)
def test_two_mebibytes_of_anything_need_little_memory(unit: str) -> None:
    """Whatever they hold: either they are read in 12 MiB, or refused in 1."""
    body = ("[" + ",".join([unit] * (2 * MEBIBYTE // (len(unit) + 1))) + "]").encode()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"."):
            loads(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEBIBYTE


@pytest.mark.slow
def test_as_much_as_is_allowed_needs_little_memory() -> None:
    """The worst that passes: empty objects, and distinct keys."""
    for text in (
        "[" + ",".join(["{}"] * (TOKENS_LIMIT // 2 - 2)) + "]",
        "{" + ",".join(f'"{n}":0' for n in range(TOKENS_LIMIT // 2 - 2)) + "}",
    ):
        tracemalloc.start()
        try:
            assert loads(text.encode())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 12 * MEBIBYTE


def test_what_stands_in_a_string_is_not_counted() -> None:
    """A long text of commas and brackets is one value."""
    text = json.dumps({"a": '[],{}\\"' * TOKENS_LIMIT})
    check(text)
    assert loads(text.encode()) == json.loads(text)


def test_one_too_many_is_refused() -> None:
    """The limit counts brackets and commas alike."""
    check("[" + "," * (TOKENS_LIMIT - 1))
    with pytest.raises(TooManyError):
        check("[" + "," * TOKENS_LIMIT)
