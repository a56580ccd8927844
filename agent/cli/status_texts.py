"""What processes send and count, in words for `status`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from agent.cli.lines import boost_line, ceiling_line
from agent.domain.roles import LOGS, ORIGINS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.observe.results import StatusResult
    from agent.observe.target_results import RoleReport
    from agent.observe.tuning_results import TuningFile

_RATE_NAMES = {
    "SENTRY_SAMPLE_RATE": "errors",
    "SENTRY_TRACES_SAMPLE_RATE": "traces",
    "SENTRY_PROFILES_SAMPLE_RATE": "profiles",
    "SENTRY_PROFILE_SESSION_SAMPLE_RATE": "profile sessions",
    LOGS: "logs",
}
_COUNTS = {
    "accepted": "accepted by Sentry",
    "refused": "refused by Sentry",
    "limited": "rate limited",
    "failed": "failed at Sentry",
    "unreached": "not delivered",
    "parked": "parked for the next DSN",
    "rerouted": "rerouted to the next DSN",
    "dropped": "dropped",
    "unknown": "not known whether stored",
    "faults": "faults in the library",
}


_BY = {"rule": "error {}", "rate": "the {}", "ceiling": "a {}", "budget": "the {}"}
"""How what dropped errors is named, by its first word."""


def rates_line(role: RoleReport) -> str:
    """Return what the processes of a role send."""
    number = len(role.processes)
    processes = f"role {role.role} ({number} process{'es' * (number != 1)})"
    if role.off:
        return f"{processes}: sends nothing: {role.off}"
    rates = ", ".join(rate_text(rate.setting, rate.value) for rate in role.rates)
    return f"{processes}: {rates}"


def rate_text(setting: str, value: float | None) -> str:
    """Return one rate of a role. The rate of logs is a switch."""
    text = "off" if value is None else f"{value:g}"
    if setting == LOGS:
        text = "on" if value else "off"
    return f"{_RATE_NAMES.get(setting, setting)} {text}"


def why_lines(role: RoleReport, status: StatusResult) -> Iterator[str]:
    """Yield why they send so much."""
    by_origin: dict[str, list[str]] = {}
    for rate in role.rates:
        origin = ORIGINS.get(rate.origin, "a place that is not known")
        by_origin.setdefault(origin, []).append(_RATE_NAMES.get(rate.setting, ""))
    if not role.off:
        yield "; ".join(
            f"{', '.join(names)} from {origin}" for origin, names in by_origin.items()
        )
    if role.rules:
        come = "rule comes" if role.rules == 1 else "rules come"
        yield f"{role.rules} sampling {come} before the rate"
    for budget in role.budgets:
        share = "a share not known" if budget.share is None else f"{budget.share:.3g}"
        yield f"{budget.kind} {share} now, budget {budget.per_minute:g}/min"
    for boost in status.current.boosts if status.current else ():
        if boost.id in role.boosts:
            yield f"boost {boost_line(boost)}"
    for ceiling in status.current.ceilings if status.current else ():
        if ceiling.role in (None, role.role):
            yield f"ceiling {ceiling_line(ceiling)}"


def count_texts(status: StatusResult) -> Iterator[tuple[str, str]]:
    """Yield what all live processes have counted, each with the name of its line."""
    counts: Counter[str] = Counter()
    for target in status.rollout.targets:
        counts.update(target.tally)
    shown = [
        f"{counts[name]:,} {words}" for name, words in _COUNTS.items() if counts[name]
    ]
    if shown:
        yield "counts", ", ".join(shown)
    dropped: Counter[str] = Counter()
    for target in status.rollout.targets:
        dropped.update(target.dropped or {})
    if dropped:
        causes = ", ".join(
            f"{number:,} by {_BY[cause.split()[0]].format(cause)}"
            for cause, number in sorted(dropped.items())
        )
        yield "dropped", f"errors: {causes}"


def tuning_file_lines(tuning: TuningFile) -> Iterator[str]:
    """Yield whether the tuning file is in force, and what is in force from it."""
    since = f" since {tuning.since}" if tuning.since else ""
    keys = ", ".join(tuning.keys) or "nothing"
    stays = "" if tuning.state == "in force" else "in force of it: "
    yield f"tuning file {tuning.path}: {tuning.state}{since}: {stays}{keys}"
    yield from tuning.notes
