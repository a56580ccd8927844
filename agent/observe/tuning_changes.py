"""Logs when boosts, ceilings and budgets begin and end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.domain.tuned import cut_changes
from agent.tuning import shown

if TYPE_CHECKING:
    from agent.domain.view import View

log = structlog.get_logger()


def log_bounds(before: View, after: View) -> None:
    """Log each ceiling that begins or ends, and each budget that is reached."""
    old, new = before.known.current, after.known.current
    if old is not new and new is not None:
        was = old.ceilings if old is not None else ()
        begun = [each for each in new.ceilings if each not in was]
        ended = [each for each in was if each not in new.ceilings]
        told = [f"a ceiling is in force: {shown(each)}" for each in begun]
        told += [f"a ceiling has ended: {shown(each)}" for each in ended]
        for sentence in told:
            log.info(sentence)
    if before.cuts is not after.cuts:
        reached, over = cut_changes(before.cuts, after.cuts)
        for cut in reached:
            log.warning(cut.sentence, hint=HINT)
        for cut in over:
            log.info(cut.end)


HINT = (
    "raise the budget in RESENTRY_BUDGETS if this is normal load; resentry-agent status "
    "shows what passes now"
)
