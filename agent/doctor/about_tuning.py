"""Rules on what tunes sampling: rules, boosts, ceilings, error rules, budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from agent.doctor.about_targets import targets
from agent.doctor.rule import Sight, SkippedError, rule
from agent.domain.tuned import unhonoured
from agent.domain.wishes import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent.doctor.facts import Facts
    from resentry.contract import Ceiling, ErrorRule, Receipt, Rule

    Counts = Sequence[tuple[int | None, str]]

Scoped = TypeVar("Scoped", "Rule", "Ceiling", "ErrorRule")
_LONG_SECONDS = 3600.0
_ENOUGH = 100
"""So many traces or errors say something about a rule."""


class _Seen(NamedTuple):
    """What the processes of a role have compared with a rule."""

    decided: int
    matched: bool


def _running(facts: Facts, role: str | None) -> list[Receipt]:
    """Return the receipts of processes that a rule is for, and that run it."""
    return [
        target.receipt
        for target in targets(facts)
        if target.receipt.revision == facts.published.revision
        and role in (None, target.receipt.role)
    ]


def _seen(told: Counts, number: int) -> _Seen:
    """Add up what each process tells: a count, and a bit for each rule, in hex."""
    if any(decided is None for decided, _ in told):
        raise SkippedError("a process has a library that does not tell")
    bits = [int(matched or "0", 16) for _, matched in told]
    return _Seen(
        sum(decided or 0 for decided, _ in told), any(b >> number & 1 for b in bits)
    )


def _unmatched(
    facts: Facts,
    numbered: Iterable[tuple[int, Scoped]],
    told: Callable[[Scoped, Receipt], Counts],
) -> Iterator[tuple[int, Scoped, int]]:
    """Yield what has matched nothing: its number, itself, and how much was decided.

    `told` returns what a process tells of it, for `_seen`.
    """
    for number, given in numbered:
        counts = [
            each
            for receipt in _running(facts, given.role)
            for each in told(given, receipt)
        ]
        seen = _seen(counts, number)
        if seen.decided >= _ENOUGH and not seen.matched:
            yield number, given, seen.decided


@rule(
    "RSN804",
    "boost-long",
    "warning",
    "rates",
    "A boost has a long time to go",
    fix="`resentry-agent boost --end ID`",
)
def boost_long(facts: Facts) -> Iterator[Sight]:
    """Look for boosts that end in more than an hour: it may have been forgotten."""
    current = facts.status.current
    if current is None or not current.boosts:
        raise SkippedError("no boost is in force")
    for boost in current.boosts:
        if boost.left_seconds > _LONG_SECONDS:
            what = boost.match or "everything"
            yield Sight(
                boost.id,
                f"traces {boost.traces:g} for {what}, until {boost.until}",
                fix=f"resentry-agent boost --end {boost.id}",
            )


@rule(
    "RSN808",
    "rule-unmatched",
    "warning",
    "rates",
    "A rule has matched nothing",
    fix="correct the rule's match in RESENTRY_RULES, or remove the rule",
)
def rule_unmatched(facts: Facts) -> Iterator[Sight]:
    """Look at what each process says of its rules since the snapshot was published.

    At least 100 traces were decided, and no process of the rule's role had one that the
    rule fits. Mostly the match is mistyped, or a rule above it takes all. What the rule
    was meant for has another rate now.
    """
    rules = facts.published.rules
    if not rules:
        raise SkippedError("there are no rules")
    unmatched = _unmatched(
        facts, enumerate(rules), lambda _, told: [(told.decided, told.matched)]
    )
    for _, given, decided in unmatched:
        yield Sight(given.match, f"of more than {decided} traces it matched none")


@rule(
    "RSN809",
    "ceiling-unmatched",
    "warning",
    "rates",
    "A ceiling has bounded nothing",
    fix="correct the ceiling's match in RESENTRY_CEILINGS, or end an operator's: `resentry-agent throttle --end ID`",
    causes=("RSN801", "RSN802"),
)
def ceiling_unmatched(facts: Facts) -> Iterator[Sight]:
    """Look at what each process says of the ceilings that have a match.

    At least 100 traces or errors were decided since the snapshot was published, and no
    process of the ceiling's role had one that the ceiling fits. Mostly the match is
    mistyped: what the ceiling was meant for is sent as before. A ceiling above one for
    everything bounds nothing either, and is left out.
    """
    examined = [
        (number, given)
        for number, given in _in_force(facts)
        if given.match and not _is_idle(given, facts)
    ]
    if not examined:
        raise SkippedError("there is no ceiling with a match")
    for _, given, decided in _unmatched(facts, examined, _told_of_ceiling):
        detail = f"of more than {decided} traces or errors it bounded none"
        yield Sight(given.match or "", detail, fix=_ending(given))


def _told_of_ceiling(ceiling: Ceiling, told: Receipt) -> Counts:
    """Return the counts of what the ceiling bounds: traces, errors, or both."""
    if told.decided_errors is None:
        return [(None, "")]
    kinds = (ceiling.traces, told.decided), (ceiling.errors, told.decided_errors)
    return [(n, told.matched_ceilings) for bound, n in kinds if bound is not None]


def _in_force(facts: Facts) -> list[tuple[int, Ceiling]]:
    """Return the ceilings that have not ended, each with its number in the snapshot."""
    numbered = enumerate(facts.published.ceilings)
    return [(n, each) for n, each in numbered if running((each,), facts.now)]


def _is_idle(ceiling: Ceiling, facts: Facts) -> bool:
    """Whether another ceiling, for everything, is below this one."""
    others = [
        each
        for _, each in _in_force(facts)
        if each.match is None and each.role in (None, ceiling.role)
    ]
    return any(
        mine is not None and other is not None and other <= mine
        for each in others
        for mine, other in (
            (ceiling.traces, each.traces),
            (ceiling.errors, each.errors),
        )
    )


def _ending(ceiling: Ceiling) -> str:
    """Return what to type to end an operator's ceiling."""
    return f"resentry-agent throttle --end {ceiling.id}" if ceiling.id else ""


@rule(
    "RSN810",
    "error-rule-unmatched",
    "info",
    "rates",
    "An error rule has matched nothing",
    fix="correct the rule's exception or logger in RESENTRY_ERRORS, or remove the rule",
)
def error_rule_unmatched(facts: Facts) -> Iterator[Sight]:
    """Look at what each process says of its error rules since the snapshot was published.

    At least 100 errors were decided, and no process of the rule's role had one that the
    rule fits. Either such errors did not happen, or the class or logger is mistyped, or a
    rule above it takes all.
    """
    rules = facts.published.errors
    if not rules:
        raise SkippedError("there are no error rules")
    unmatched = _unmatched(
        facts,
        enumerate(rules),
        lambda _, told: [(told.decided_errors, told.matched_errors)],
    )
    for number, given, decided in unmatched:
        names = ", ".join(filter(None, (given.exception, given.logger)))
        detail = f"of more than {decided} errors it matched none"
        yield Sight(names or f"RESENTRY_ERRORS[{number}]", detail)


@rule(
    "RSN811",
    "ceiling-long",
    "warning",
    "rates",
    "An operator's ceiling has a long time to go",
    fix="`resentry-agent throttle --end ID`",
)
def ceiling_long(facts: Facts) -> Iterator[Sight]:
    """Look for ceilings that end in more than an hour: one may have been forgotten.

    Traces or errors are missing until then. Ceilings of RESENTRY_CEILINGS are not meant.
    """
    given = [each for _, each in _in_force(facts) if each.id is not None]
    if not given:
        raise SkippedError("no operator's ceiling is in force")
    for ceiling in given:
        if (facts.seconds_since(ceiling.until) or 0.0) < -_LONG_SECONDS:
            rates = ("traces", ceiling.traces), ("errors", ceiling.errors)
            shown = ", ".join(f"{n} {rate:g}" for n, rate in rates if rate is not None)
            what = ceiling.match or "everything"
            yield Sight(
                ceiling.id or "",
                f"at most {shown} for {what}, until {ceiling.until}",
                fix=_ending(ceiling),
            )


@rule(
    "RSN956",
    "tuning-ignored",
    "warning",
    "versions",
    "A library is too old for a ceiling, an error rule or a budget",
    fix="upgrade resentry in that application",
)
def too_old(facts: Facts) -> Iterator[Sight]:
    """Look for processes that send as if a ceiling, an error rule or a budget were not there.

    Their library does not know these things. Quota may run out.
    """
    for target in targets(facts):
        if lacking := unhonoured(facts.published, target.receipt):
            version = target.receipt.library or "of an unknown version"
            detail = f"its library {version} ignores {' and '.join(lacking)}"
            yield Sight(target.name, detail)
