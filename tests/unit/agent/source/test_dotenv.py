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


@pytest.mark.parametrize("middle", [" ", "\t ", "'", "\\", " #"])
@pytest.mark.parametrize("start", ["A=b", 'A="', "A='", "export "])
def test_dotenv_takes_no_time_over_a_long_line(start: str, middle: str) -> None:
    """A line of spaces, quotes or backslashes is not tried in vain.

    A line of eight times the length takes about eight times as long, and no square of it.
    """

    def took(length: int) -> float:
        line = start + middle * (length // len(middle)) + "x"
        began = time.thread_time()
        with contextlib.suppress(ValueError):
            parse_dotenv(line)
        return time.thread_time() - began

    short = min(took(10_000) for _ in range(5))
    long = min(took(80_000) for _ in range(3))
    assert long < 24 * short + 0.001
