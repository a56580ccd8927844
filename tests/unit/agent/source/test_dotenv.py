"""Dotenv as a source may hold it."""

import contextlib
import time

import pytest

from agent.source.dotenv import parse_dotenv


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=b\r\nC=\n", {"A": "b", "C": ""}),
        ("# x\n\n  export A=b\t # c\n", {"A": "b"}),
        ("A=b#c\nB=#d\nC= # e\nD=", {"A": "b#c", "B": "#d", "C": "", "D": ""}),
        ("A=' b \\n$x ' # c", {"A": " b \\n$x "}),
        ('A="b \\"c\\" \\$d \\n #e"', {"A": 'b "c" $d \\n #e'}),
        ('A=[{"match": "GET /x"}]', {"A": '[{"match": "GET /x"}]'}),
        ("A=''\nA=\"b\"", {"A": "b"}),
        ("A=b=c", {"A": "b=c"}),
    ],
)
def test_dotenv(text: str, values: dict[str, str]) -> None:
    """Comments, `export` and the quotes of sh; nothing is expanded, the later counts."""
    assert parse_dotenv(text) == values


@pytest.mark.parametrize(
    "line",
    [
        "planted",
        "PLANTED planted",
        "A = planted",
        "A= planted",
        "1A=planted",
        "A='planted",
        'A="planted\\"',
        "A='planted'x",
        "export A",
        "planted-a=b",
    ],
)
def test_a_line_that_is_no_variable(line: str) -> None:
    """The line is named, and not quoted."""
    with pytest.raises(ValueError, match=r"^line 2 is not NAME=value$"):
        parse_dotenv(f"A=b\n{line}\n")


def test_dotenv_takes_no_time_over_a_long_line() -> None:
    """A line of a megabyte of spaces, quotes or backslashes is not tried in vain."""
    for middle in (" ", "\t ", "'", "\\", " #"):
        for start in ("A=b", 'A="', "A='", "export "):
            began = time.monotonic()
            with contextlib.suppress(ValueError):
                parse_dotenv(start + middle * (10**6 // len(middle)) + "x")
            assert time.monotonic() - began < 1
