"""What the commands of `alerts notice` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from agent.alerts.results import NoticeResult
from agent.cli.answer import NO, Answer
from agent.observe.results import Error
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.alerts.notices import Alertmanager
    from agent.errors import AgentError
    from agent.settings import Settings

Sentry = Literal["new", "known", "failed"]
DONE = {"new": "Sentry has the deploy now", "known": "Sentry had the deploy already"}


def tell_all(
    settings: Settings, act: Callable[[Alertmanager], object]
) -> dict[str, str]:
    """Do it at each Alertmanager. Return by its name why it failed; empty if it did not."""
    from agent.alerts.notices import Alertmanager, NoticeFailed  # noqa: PLC0415 - heavy
    from agent.domain.receiver import receiver_names  # noqa: PLC0415 - heavy

    urls = settings.bridge_alertmanagers
    headers = settings.bridge_alertmanager_headers.headers
    told = {}
    for name, url in zip(receiver_names(urls), urls, strict=True):
        try:
            act(Alertmanager(url, headers))
        except NoticeFailed as error:
            told[name] = error.what
        else:
            told[name] = ""
    return told


def answer_of(
    told: dict[str, str],
    ends_at: float,
    sentry: Sentry | None = None,
    error: AgentError | None = None,
) -> Answer:
    """Return the answer. It is "no" if anybody was not told."""
    until = time_text(ends_at, "seconds")
    result = NoticeResult(sentry=sentry, alertmanagers=told, ends_at=until)
    lines = [DONE[sentry]] if sentry in DONE else []
    lines += [f"{name} has the notice until {until}" for name in told if not told[name]]
    failed = [error.what] if error else []
    failed += [what for what in told.values() if what]
    if not failed:
        return Answer(result, tuple(lines))
    hint = "run the command again: nothing is told twice"
    if error and error.hint:
        hint = f"{error.hint}; then {hint}"
    return Answer(
        result,
        (*lines, *(f"resentry-agent: {what}" for what in failed), f"  {hint}"),
        Error(code="NotTold", what="; ".join(failed), hint=hint),
        NO,
    )
