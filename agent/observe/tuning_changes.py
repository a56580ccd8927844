"""Logs when boosts, ceilings and budgets begin and end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.domain.tuned import cut_changes

if TYPE_CHECKING:
    from agent.domain.view import View
    from resentry.contract import Ceiling

log = structlog.get_logger()


def log_bounds(before: View, after: View) -> None:
    """Log each ceiling that begins or ends, and each budget that is reached."""
    old, new = before.known.current, after.known.current
    if old is not new and new is not None:
        was = old.ceilings if old is not None else ()
        begun = [each for each in new.ceilings if each not in was]
        ended = [each for each in was if each not in new.ceilings]
        told = [f"a ceiling is in force: {_shown(each)}" for each in begun]
        told += [f"a ceiling has ended: {_shown(each)}" for each in ended]
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


def _shown(ceiling: Ceiling) -> str:
    bounds = (("traces", ceiling.traces), ("errors", ceiling.errors))
    rates = ", ".join(
        f"{name} at most {rate:g}" for name, rate in bounds if rate is not None
    )
    until = f"until {ceiling.until}" if ceiling.until else "without an end"
    whose = f", operator's {ceiling.id}" if ceiling.id else ""
    what, where = ceiling.match or "everything", ceiling.role or "every role"
    return f"{rates} for {what} in {where}, {until}{whose}"
