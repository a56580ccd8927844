"""Rules on how the application's processes start, and how soon they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.doctor.about_targets import targets
from agent.doctor.rule import Sight, SkippedError, rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.doctor.facts import Facts

_LATE_SECONDS = 60
_ENDS = 3
"""So many processes that ended soon are a loop."""


@rule(
    "RSN613",
    "init-late",
    "warning",
    "targets",
    "A process called resentry.init late",
    fix="call resentry.init at import, before the server starts, forks or handles anything",
)
def late(facts: Facts) -> Iterator[Sight]:
    """Look what each process did before `init`, as its receipt says.

    The server had forked its workers, another client had sent events, or the process had
    run for a minute. What happened before is not in Sentry, or went by another DSN. Workers
    that were forked before have no Sentry at all.
    """
    seen: dict[tuple[str, str], list[str]] = {}
    for target in targets(facts):
        for what in _before(target.receipt.before):
            seen.setdefault((target.receipt.role, what), []).append(target.name)
    for (role, what), names in seen.items():
        yield Sight(f"role {role}", what, evidence=tuple(names[:10]))


def _before(before: Mapping[str, int]) -> Iterator[str]:
    if children := before.get("children", 0):
        forked = "1 process was" if children == 1 else f"{children} processes were"
        yield f"before init, {forked} forked, without Sentry"
    if before.get("clients", 0):
        yield "before init, the application called sentry_sdk.init itself"
    if before.get("seconds", 0) >= _LATE_SECONDS:
        yield f"the process had run for {before['seconds']} s before init"


@rule(
    "RSN614",
    "ends-soon",
    "warning",
    "targets",
    "Processes of a role end soon after their start, again and again",
    fix="see why it ended: `kubectl logs POD -c CONTAINER --previous`",
)
def loops(facts: Facts) -> Iterator[Sight]:
    """Look at the ends that the agent has seen in the last 15 minutes.

    Three or more processes of one role ended within two minutes of their start: they crash,
    exit with an error, are killed for their memory, or fail a probe. The agent does not see
    how a process ended. So short jobs that call `init` look like this, too, and are well.
    Forked children do not count.

    Wake who runs the application.
    """
    if not facts.status.ends:
        raise SkippedError("the agent has seen no process end soon after its start")
    for role, number in facts.status.ends.items():
        if number >= _ENDS:
            what = f"{number} processes in the last 15 minutes; short jobs look like this too"
            yield Sight(f"role {role}", what)
