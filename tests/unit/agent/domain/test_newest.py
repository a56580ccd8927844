"""Newer is newer: which read of a secret is older than one before it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from agent.domain.newest import (
    KEPT,
    Mark,
    after,
    decode_marks,
    encode_marks,
    is_older,
    mark_of,
    place_of,
    remembered,
)

TIMES = ["2026-01-31T12:00:00.000000001Z", "2026-01-31T12:00:01Z"]


def read_all(*marks: Mark) -> list[bool]:
    """Read these in turn; say of each whether it is older than the newest before it."""
    newest: Mark | None = None
    older = []
    for mark in marks:
        older.append(newest is not None and is_older(mark, newest))
        if not older[-1]:
            newest = after(mark, newest)
    return older


@pytest.mark.parametrize(
    ("marks", "older"),
    [
        ([Mark(1, 10.0), Mark(2, 20.0), Mark(2, 20.0)], [False] * 3),
        ([Mark(2, 20.0), Mark(1, 10.0), Mark(2, 20.0)], [False, True, False]),
        # deleted and written anew: a lower version, a newer time
        ([Mark(9, 90.0), Mark(1, 100.0), Mark(2, 110.0)], [False] * 3),
        # ... and a standby that still has what was deleted
        ([Mark(9, 90.0), Mark(1, 100.0), Mark(9, 90.0)], [False, False, True]),
        ([Mark(1, 90.0), Mark(1, 100.0), Mark(1, 90.0)], [False, False, True]),
        (
            [Mark(9, 90.0), Mark(1, 100.0), Mark(2, 110.0), Mark(9, 90.0)],
            [False, False, False, True],
        ),
        # the clock of the servers was set back
        ([Mark(5, 50.0), Mark(6, 40.0), Mark(5, 50.0)], [False, False, False]),
        # without a time, the number decides
        ([Mark(2), Mark(1), Mark(2), Mark(3)], [False, True, False, False]),
        ([Mark(2, 20.0), Mark(1), Mark(2), Mark(3)], [False, True, False, False]),
    ],
)
def test_what_is_older_in_version_and_time_is_stale(
    marks: list[Mark], older: list[bool]
) -> None:
    """A higher version counts, and a lower one if it was written later."""
    assert read_all(*marks) == older


def test_no_order_of_two_reads_goes_back() -> None:
    """Of two versions, each read again and again, only one is ever left to go to."""
    marks = [Mark(v, t) for v, t in itertools.product((1, 2, 3), (10.0, 20.0, 30.0))]
    for first, second in itertools.permutations(marks, 2):
        if second.created == first.created or (
            second.version > first.version and second.created < first.created
        ):
            continue  # no server writes two versions at one time, nor back in time
        newest = after(first, None)
        if is_older(second, newest):
            continue
        assert is_older(first, after(second, newest)), (first, second)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"version": 3, "created_time": "1970-01-01T00:00:07Z"}, Mark(3, 7.0)),
        ({"version": 3}, Mark(3)),
        ({"version": 3, "created_time": "0001-01-01T00:00:00+23:59"}, Mark(3)),
        ({"version": 3, "created_time": "9999-12-31T23:59:59-23:59"}, Mark(3)),
        ({"version": 3, "created_time": 7}, Mark(3)),
        ({"version": "3"}, None),
        ({"version": True}, None),
        ({"version": -1}, None),
        ({"version": float("nan")}, None),
        ({}, None),
    ],
    ids=repr,
)
def test_odd_metadata_is_no_error(metadata: dict[str, Any], expected: Mark) -> None:
    """A time that is none is not known; a version that is none has no mark."""
    assert mark_of(metadata) == expected


def test_the_marks_outlast_a_restart() -> None:
    """What one agent writes, the next one reads."""
    marks = {"secret/data/lms": Mark(3, 1.5, 0.25), "kv/data/x": Mark(1)}
    assert decode_marks(encode_marks(marks)) == marks


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"[]",
        b"7",
        b"{",
        b"[" * 60000,
        b'{"a": 1}',
        b'{"a": [1, 2]}',
        b'{"a": ["x", 1, 1]}',
        b'{"a": [1, NaN, 1]}',
        b'{"a": [1, 1e300, 1]}',
        b'{"a": [1, 1, "' + b"9" * 5000 + b'"]}',
    ],
    ids=lambda body: repr(body)[:20],
)
def test_a_spoilt_file_is_no_mark(body: bytes | None) -> None:
    """The next good read makes a new one."""
    assert decode_marks(body) == {}


@pytest.mark.parametrize(
    ("place", "spellings"),
    [
        (
            ("secret/data/lms", "https://vault.example.org", "a/b"),
            [
                ("/secret//data/lms/", "HTTPS://Vault.Example.ORG.:443/", "/a/b/"),
                ("secret/data/lms", "https://vault.example.org:443", "a/b/"),
            ],
        ),
        (
            ("secret/data/lms", "http://[::1]:8200", ""),
            [("secret/data/lms", "http://[0:0:0:0:0:0:0:1]:8200/", "/")],
        ),
        (
            ("secret/data/lms", "unix:///run/vault.sock", ""),
            [("secret/data/lms", "unix:///run//vault.sock", "")],
        ),
        (
            ("secret/data/lms", "https://vault/prefix", ""),
            [("secret/data/lms", "https://vault/prefix/", "")],
        ),
    ],
    ids=lambda value: str(value[1])[:30] if isinstance(value, tuple) else "",
)
def test_a_secret_is_the_same_however_it_is_spelled(
    place: tuple[str, str, str], spellings: list[tuple[str, str, str]]
) -> None:
    """Else an operator who adds a slash would let a stale read through."""
    assert {place_of(*each) for each in spellings} == {place_of(*place)}


def test_another_place_is_another_secret() -> None:
    """Its versions say nothing of this one's."""
    places = [
        ("secret/data/lms", "https://vault", ""),
        ("secret/data/LMS", "https://vault", ""),
        ("secret/data/lms", "http://vault", ""),
        ("secret/data/lms", "https://vault:8200", ""),
        ("secret/data/lms", "https://vault", "a"),
        ("secret/data/lms", "https://vault/prefix", ""),
        ("secret/data/lms", "unix:///run/a", ""),
        ("secret/data/lms", "unix:///run/b", ""),
    ]
    assert len({place_of(*each) for each in places}) == len(places)


def test_the_path_of_an_address_is_not_shown() -> None:
    """It may be a password. An error about a stale read names the place."""
    assert "hunter2" not in place_of("secret/data/lms", "https://vault/hunter2", "")


def test_what_is_remembered_has_a_bound() -> None:
    """The secrets that were read last stay, and all that are read now."""
    newest: dict[str, Mark] = {}
    for number in range(3 * KEPT):
        newest = remembered(newest, {f"{number}": Mark(1), "always": Mark(number + 1)})
    assert len(newest) == KEPT
    assert newest["always"] == Mark(3 * KEPT)
    assert f"{3 * KEPT - 1}" in newest
    many = {f"many {number}": Mark(1) for number in range(2 * KEPT)}
    assert remembered(newest, many) == many
