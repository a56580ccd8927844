"""Rules on sampling: what is sent at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.doctor.about_targets import targets
from agent.doctor.rule import Sight, SkippedError, rule
from agent.domain.roles import ERRORS
from resentry.contract import per_minute_of
from resentry.values import PRODUCTION, environment_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.doctor.facts import Facts

_HIGH = 0.5
_OF_ROLE = " of role "
TRACES = "SENTRY_TRACES_SAMPLE_RATE"


def _per_role(facts: Facts, name: str) -> Iterator[tuple[str, Any, str]]:
    """Yield role, value and origin of a setting, as processes run it, once per value."""
    seen = dict.fromkeys(
        (t.receipt.role, t.receipt.values.get(name), t.receipt.origins.get(name, ""))
        for t in targets(facts)
    )
    yield from seen


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None


@rule(
    "RSN801",
    "errors-off",
    "error",
    "rates",
    "No errors are sent",
    fix="`vault kv patch -mount=MOUNT PATH SENTRY_SAMPLE_RATE=1`",
)
def errors_off(facts: Facts) -> Iterator[Sight]:
    """Look for a SENTRY_SAMPLE_RATE of 0 in a running process.

    A rate of 0 ends error reports as silently as a dead key does.
    """
    for role, value, origin in _per_role(facts, ERRORS):
        if _number(value) == 0:
            fix = facts.write(f"{ERRORS}=1")
            yield Sight(f"role {role}", f"{ERRORS} is 0, from: {origin}", fix=fix)


@rule(
    "RSN802",
    "traces-off",
    "info",
    "rates",
    "No traces are sent",
    fix="`vault kv patch -mount=MOUNT PATH SENTRY_TRACES_SAMPLE_RATE=0.1`",
    causes=("RSN501", "RSN603", "RSN605"),
)
def traces_off(facts: Facts) -> Iterator[Sight]:
    """Look for a trace rate that is 0 or not set in a running process."""
    for role, value, _ in _per_role(facts, TRACES):
        if not _number(value):
            detail = f"{TRACES} is not set" if value is None else f"{TRACES} is 0"
            yield Sight(f"role {role}", detail, fix=facts.write(f"{TRACES}=0.1"))


@rule(
    "RSN803",
    "traces-high",
    "warning",
    "rates",
    "Many traces are sent",
    fix="`vault kv patch -mount=MOUNT PATH SENTRY_TRACES_SAMPLE_RATE=0.1`",
)
def traces_high(facts: Facts) -> Iterator[Sight]:
    """Look for a trace rate above one half in production, with no ceiling and no budget.

    Each trace costs time in the service, and quota.
    """
    names = {t.receipt.values.get("SENTRY_ENVIRONMENT") or "" for t in targets(facts)}
    if PRODUCTION not in map(environment_name, names):
        raise SkippedError("no process runs in production")
    for role, value, origin in _per_role(facts, TRACES):
        rate = _number(value)
        if rate is not None and rate > _HIGH and not _is_bounded(facts, role):
            detail = f"{TRACES} is {rate:g}, from: {origin}"
            fix = facts.write(f"{TRACES}=0.1")
            yield Sight(f"role {role}", detail, fix=fix)


def _is_bounded(facts: Facts, role: str) -> bool:
    """Whether a ceiling or a budget bounds all traces of a role."""
    current = facts.current
    if current is None:
        return False
    return per_minute_of(current.budgets, role, "transactions") is not None or any(
        each.traces is not None
        and each.traces <= _HIGH
        and each.match is None
        and each.role in (None, role)
        for each in current.ceilings
    )


@rule(
    "RSN805",
    "celery-off",
    "info",
    "rates",
    "Sentry is switched off for the Celery workers",
    fix="`vault kv patch -mount=MOUNT PATH SENTRY_ENABLE_FOR_CELERY=true`",
)
def celery_off(facts: Facts) -> Iterator[Sight]:
    """Look for SENTRY_ENABLE_FOR_CELERY=false in processes with the role `celery`."""
    for role, value, origin in _per_role(facts, "SENTRY_ENABLE_FOR_CELERY"):
        if role == "celery" and value is False:
            detail = f"SENTRY_ENABLE_FOR_CELERY is false, from: {origin}"
            fix = facts.write("SENTRY_ENABLE_FOR_CELERY=true")
            yield Sight("role celery", detail, fix=fix)


@rule(
    "RSN806",
    "rollback-held",
    "warning",
    "rates",
    "A rollback is held: the source's values are not published",
    fix="if the source still holds what was undone, correct it, then: `resentry-agent refresh`; else: `resentry-agent rollback --resume`",
)
def rollback_held(facts: Facts) -> Iterator[Sight]:
    """Look whether what is published is an operator's choice.

    The rollback ends by itself when the source holds none of the undone values any more.
    Until then, its end would publish them again.
    """
    snapshot = facts.published
    held = {
        str(where["held"]) for where in snapshot.provenance.values() if "held" in where
    }
    for revision in sorted(held):
        undone = facts.status.undone
        names = ", ".join(undone)
        still = f"; what was undone still stands there: {names}" if undone else ""
        correct = f"{_correct(facts, undone)}; then: resentry-agent refresh"
        yield Sight(
            revision,
            f"published instead of the source's{still}",
            since=snapshot.published_at,
            fix=correct if undone else "",
        )


def _correct(facts: Facts, undone: list[str]) -> str:
    """Return what to type to correct these values, each where it stands."""
    steps = []
    for is_tuned, place in ((True, "in the tuning file"), (False, "at the source")):
        names = [name for name in undone if _is_tuned(facts, name) is is_tuned]
        of_roles = [name for name in names if _OF_ROLE in name]
        if keys := [f"{name}=VALUE" for name in names if name not in of_roles]:
            steps.append(facts.write(" ".join(keys)))
        if of_roles:
            steps.append(f"correct {', '.join(of_roles)} {place}")
    return "; ".join(steps)


def _is_tuned(facts: Facts, name: str) -> bool:
    """Whether the tuning file holds a value of this name, which may name a role."""
    tuning = facts.status.tuning
    key, _, role = name.partition(_OF_ROLE)
    if tuning is None:
        return False
    return key in (tuning.roles.get(role, ()) if role else tuning.keys)


@rule(
    "RSN807",
    "environment-differs",
    "warning",
    "rates",
    "Processes of one role run with different values",
    fix="remove the environment variable from one process, or set the value at the source",
)
def differs(facts: Facts) -> Iterator[Sight]:
    """Compare the values of the processes of each role that runs what is published.

    A value that is not at the source comes from each process's own environment.
    """
    targets(facts)
    seen: dict[tuple[str, str], set[Any]] = {}
    for target, state in facts.rollout.targets:
        if target.readable and state in ("confirmed", "drained"):
            for name, value in target.receipt.values.items():
                seen.setdefault((target.receipt.role, name), set()).add(value)
    for (role, name), values in sorted(seen.items()):
        if len(values) > 1 and name != "SENTRY_RELEASE":
            shown = ", ".join(sorted(map(str, values)))
            yield Sight(f"role {role}", f"{name} is {shown}")
