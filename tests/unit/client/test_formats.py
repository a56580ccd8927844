"""One form of each value: what Python reads beyond it is refused, and quoted nowhere."""

from collections.abc import Callable

import pytest

from resentry import formats
from resentry.contract import fingerprint, signal_number

MOMENT = 1795500900.0
"""2026-11-24T06:15:00Z."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T06:15:00Z", MOMENT),
        ("2026-11-24T06:15:00.000Z", MOMENT),
        ("2026-11-24T06:15:00.5Z", MOMENT + 0.5),
        ("2026-11-24T06:15:00.123456789Z", MOMENT + 0.123456),
        ("2026-11-24T06:15:00+00:00", MOMENT),
        ("2026-11-24T06:15:00-00:00", MOMENT),
        ("2026-11-24T07:15:00+01:00", MOMENT),
        ("2026-11-24T00:45:00-05:30", MOMENT),
    ],
)
def test_a_time_is_read_the_same_on_every_python(text: str, expected: float) -> None:
    """`datetime.fromisoformat` of 3.10 reads few of these."""
    assert formats.moment(text) == pytest.approx(expected, abs=1e-6)


BAD_MOMENTS = [
    "",
    "soon",
    "2026-11-24",
    "2026-11-24T06:15:00",
    "2026-11-24T06:15Z",
    "2026-11-24 06:15:00Z",
    "2026-11-24t06:15:00z",
    "20261124T061500Z",
    "2026-W48-2T06:15:00Z",
    "2026-11-24T06:15:00,5Z",
    "2026-11-24T06:15:00.Z",
    "2026-11-24T06:15:00.1234567890Z",
    "2026-11-24T06:15:00+01",
    "2026-11-24T06:15:00+0100",
    "2026-11-24T06:15:00+01:00:30",
    "2026-11-24T06:15:00+25:00",
    "2026-11-31T06:15:00Z",
    "2026-11-24T24:00:00Z",
    "2026-11-24T06:15:60Z",
    "0000-11-24T06:15:00Z",
    "\uff12026-11-24T06:15:00Z",
    "2026-11-24T06:15:00Z\n",
    " 2026-11-24T06:15:00Z",
    1795500900,
    None,
    True,
]


@pytest.mark.parametrize("bad", BAD_MOMENTS, ids=repr)
def test_every_other_time_is_refused(bad: object) -> None:
    """No zone, no seconds, or a form that only some versions of Python read."""
    with pytest.raises(ValueError, match="must be a time with its zone") as caught:
        formats.moment(bad)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("read", "bad"),
    [
        (formats.whole, "\u0664"),
        (formats.whole, "\u00b2"),
        (formats.whole, "4_2"),
        (formats.whole, "+4"),
        (formats.whole, " 4"),
        (formats.whole, "4\n"),
        (formats.whole, ""),
        pytest.param(formats.whole, "9" * 5000, id="endless"),
        (formats.number, "1_0"),
        (formats.number, "NaN"),
        (formats.number, float("nan")),
        (formats.number, float("inf")),
        (formats.number, -1),
        pytest.param(formats.number, 10**400, id="10**400"),
        (formats.number, "1e999"),
        (formats.number, True),
        (formats.role, "a b"),
        (formats.role, "\u00e4"),
        (formats.role, ""),
        (formats.role, "x" * 65),
        (formats.role, 7),
        (signal_number, "SIGRTMIN+\u0661"),
        (signal_number, "SIGRTMIN+1_0"),
        pytest.param(signal_number, "SIGRTMIN+" + "9" * 5000, id="endless signal"),
    ],
)
def test_what_only_python_reads_is_refused_without_a_quote(
    read: Callable[[object], object], bad: object
) -> None:
    """Digits of other scripts, underscores, signs, endless numbers."""
    with pytest.raises(ValueError, match="must be") as caught:
        read(bad)
    assert f"{bad}" not in str(caught.value) or bad in ("", 7, True, -1)


def test_a_dsn_whose_project_only_python_reads_has_no_fingerprint() -> None:
    """It is no DSN, so nothing is sent by it."""
    assert fingerprint("https://key@host/4_2") == ""
    assert fingerprint("https://key@host/\u0664") == ""


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("GET /users/{id}", True),
        ("* /users/{user_id:int}/edit", True),
        ("GET /users/<int:id>", True),
        ("/users/{id}", True),
        ("GET /users/*", False),
        ("GET /users", False),
        ("app.tasks.grade", False),
        ("import {name}", False),
        ("nightly <full>", False),
    ],
)
def test_a_route_is_told_from_a_path(match: str, *, expected: bool) -> None:
    """A name of the application's own may hold braces."""
    assert formats.names_route(match) is expected
