"""Every way to run a Python service: rotations under load, beside plain sentry-sdk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.matrix import ROWS
from lab.sides import ROTATIONS, Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.matrix import Row
    from lab.sides import Result

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

PATIENCE_SECONDS = 6.0
"""So much longer than the plain program may one with the library take to end.

Celery's pool of greenlets alone takes from 1.4 to 5.7 s, with the library or without.
"""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_process_model_follows_and_loses_nothing(
    row: Row, record_property: Callable[[str, object], None]
) -> None:
    """Every event arrives once, after a rotation in the new project; none is worse off."""
    with Side(row, "plain") as plain, Side(row, "resentry") as ours:
        for _ in range(ROTATIONS):
            ours.await_more(row.between)
            ours.rotate()
        ours.await_more(row.between)
        ours.await_receipts()
        mains = sum(target.main for target in ours.model.targets())
        found, beside = ours.finish(), plain.finish()
        log = ours.process.log_text()

    record_property("matrix", cells(row, found, beside))
    assert found.missing == [], (beside.missing, log)
    assert (found.duplicated, found.repeated) == (0, 0)
    assert (found.late, found.misplaced) == (0, 0)
    assert (found.strayed, found.failed) == (0, 0)
    assert found.followed > 0
    assert mains <= row.main if row.least else mains == row.main
    if not row.hangs:
        assert found.stop_seconds < beside.stop_seconds + PATIENCE_SECONDS
    assert row.code in {None, found.code}


def cells(row: Row, found: Result, beside: Result) -> list[str]:
    """Return the line of the printed table."""
    return [
        row.name,
        str(found.captured),
        f"{found.followed} processes",
        f"{found.lost}",
        f"{found.duplicated + found.repeated}",
        f"{beside.lost}",
        f"{beside.duplicated + beside.repeated}",
        row.receipts,
    ]
