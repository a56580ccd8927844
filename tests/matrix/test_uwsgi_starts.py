"""uWSGI forks without the interpreter's lock: none of 40 starts may hang for it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest

from lab.matrix import UWSGI_STARTS
from lab.process import eventually
from lab.sides import Side

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.process


STARTS = 40
AT_ONCE = 4
WORKERS = 2
ANSWER_SECONDS = 20.0
END_SECONDS = 15.0


def hangs(sdk: Literal["resentry", "plain"]) -> str:
    """Start, wait for an answer of each worker, and end; return what hung."""
    # A request takes a moment, so that the other worker takes the next one.
    row = replace(UWSGI_STARTS, environ={"MATRIX_SECONDS": "0.05"})
    with Side(row, sdk) as side:
        try:
            eventually(
                lambda: len({each.pid for each in side.captures()}) == WORKERS,
                ANSWER_SECONDS,
            )
        except TimeoutError:
            return "a worker never answered"
        side.end_work()
        began = time.monotonic()
        side.process.stop(END_SECONDS + 5)
        return "" if time.monotonic() - began < END_SECONDS else "it did not end"


@pytest.mark.timeout(400)
def test_no_start_of_uwsgi_hangs(
    record_property: Callable[[str, object], None],
) -> None:
    """The library's thread, started in the master, holds no lock that a worker needs."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ours = list(pool.map(lambda _: hangs("resentry"), range(STARTS)))
        plain = list(pool.map(lambda _: hangs("plain"), range(STARTS)))

    found, beside = list(filter(None, ours)), list(filter(None, plain))
    record_property(
        "matrix starts",
        f"{UWSGI_STARTS.name}: {len(found)} of {STARTS} starts hung, "
        f"with plain sentry-sdk {len(beside)}",
    )
    assert found == []
