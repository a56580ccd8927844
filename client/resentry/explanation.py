"""Why a trace or an error is sent: which step decides, and what each other step says.

The functions here ask what decides, `Sampler` and `ErrorSampler`, for what fits. They count
and spend nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from resentry.contract import TRANSACTION_LIMIT
from resentry.error_sampling import rate_of_errors
from resentry.sampling import Choice, plain_rate, rate_of, said
from resentry.steps import (
    IN_PROCESS,
    Step,
    boost_step,
    budget_step,
    ceiling_step,
    error_rule_step,
    first_step,
    limit_step,
    number,
    own_step,
    parent_step,
    rate_step,
    rule_step,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resentry.error_sampling import ErrorSampler, Kind
    from resentry.sampling import Rate, Sampler
    from resentry.steps import Own, Parent

LACKS_UPSTREAM = (
    "a caller that decided no has sent nothing, so this trace lacks its upstream part: "
    '"parent": "keep" lets the caller\'s decision stand'
)
MAY_LACK = (
    "a trace whose caller decided no would lack its upstream part, because this step does "
    "not ask the caller"
)
LACKS_HERE = (
    "the caller is sampled, so where the rate is not reached its trace lacks the part of "
    "this process"
)


OFF = "the application has enable_tracing=False: sentry-sdk makes no trace"
UNSET = "unset: tracing is off"
UNSET_OR_STREAMED = (
    f"{UNSET}, but a process that streams spans follows its caller: {IN_PROCESS}"
)


class Told(NamedTuple):
    """What a process told of itself. It knows more."""

    share: float | None = None
    """The share that its budget lets pass."""


class Explanation(NamedTuple):
    """Why a trace or an error is sent or not.

    `rate` is what it is compared with in the end. It is `None` if tracing is off, or if
    what decides is not known here. `decided_by` is the name of the step that decides, and
    `bounded_by` are the steps that lower its rate. `gap` says which part of a trace is
    missing, and is empty if none is. `is_sure` is false if something that may decide is not
    known here.
    """

    about: str
    rate: float | None
    decided_by: str
    bounded_by: tuple[str, ...]
    steps: tuple[Step, ...]
    gap: str = ""
    is_sure: bool = True

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        steps = {step.name: step for step in self.steps}
        decided = steps[self.decided_by].rate
        shown = "nothing is sent" if decided is None else f"{decided:g}"
        text = f"{self.about}: {self.decided_by} decides: {shown}"
        if self.bounded_by:
            by = " and ".join(self.bounded_by)
            text += f", lowered to {self.rate or 0.0:g} by {by}"
        if not self.is_sure:
            text += "; a sampler of the application's own would decide instead"
        return text

    def lines(self) -> Iterator[str]:
        """Return the explanation as lines: the sentence, and each step."""
        yield self.sentence
        for step in self.steps:
            decides = step.name == self.decided_by or step.name in self.bounded_by
            rate = "-" if step.rate is None else f"{step.rate:g}"
            yield f"{'*' if decides else ' '} {step.name:8} {rate:>8}  {step.text}"
        if self.gap:
            yield self.gap

    def __str__(self) -> str:
        """Return these lines as one text."""
        return "\n".join(self.lines())


def explain_trace(  # noqa: PLR0913 - all of it decides
    sampler: Sampler,
    name: str,
    *,
    parent: Parent = None,
    rate: float | None = None,
    own: Own | None = None,
    told: Told | None = None,
    follows_caller: bool = False,
    sampled: bool = False,
    is_off: bool = False,
) -> Explanation:
    """Explain a trace that begins with this name.

    Args:
        sampler: the rules and the like of a snapshot, for one role.
        name: the transaction's, as `GET /pay`, or that of a task.
        parent: what the caller decided; `None` without a caller.
        rate: the trace rate; `None` if it is unset.
        own: what the application's `traces_sampler` says; `None` if there is none.
        told: what a process told, if the sampler is not its own.
        follows_caller: whether the SDK sends what a caller wants with tracing off, as it
            does with streamed spans.
        sampled: whether the application starts it with `sampled=True`.
        is_off: whether the application has `enable_tracing=False`.

    """
    compared = (name[:TRANSACTION_LIMIT],)
    boost, found = sampler.find_boost(compared), sampler.find_rule(compared)
    if boost is not None:
        choice = said(boost, "boost", compared, parent)
    elif found is not None:
        choice = said(found[1], "rule", compared, parent)
    else:
        choice = Choice(compared)
    is_on = not is_off and (rate is not None or (own is not None and own.is_known))
    value: Rate
    if sampled and is_on:
        decided_by, value = "sampled", 1.0
    elif choice.rate is not None and not sampled and not is_off:
        decided_by, value = choice.step, choice.rate
    elif own is not None and own.is_known and not is_off:
        # What the SDK takes for no rate samples no trace.
        decided_by, value = "sampler", rate_of(own.rate) or 0.0
    else:
        plain = None if is_off else rate
        value = plain_rate(plain, parent, is_streamed=follows_caller)
        decided_by = "rate" if value is None or parent is None else "parent"
    bounded = number(sampler.bound(value, choice))
    ceiling = sampler.ceilings.find(compared)
    is_named = choice.rate is not None
    budget = budget_step(sampler.budget, first=is_named)
    if told is not None:
        budget = _told(sampler, told.share, first=is_named)
        if bounded is not None and budget.rate is not None:
            bounded *= budget.rate
    unset = UNSET
    if told is not None and parent and choice.rate is None and rate is None:
        unset = UNSET_OR_STREAMED
    plain_step = rate_step("SENTRY_TRACES_SAMPLE_RATE", rate, unset)
    steps = (
        *[Step("sampled", 1.0, "the application says sampled=True")] * sampled,
        boost_step(boost, parent),
        rule_step(found, parent),
        parent_step(parent),
        own_step("traces_sampler", own, rate_of),
        Step("rate", None, OFF) if is_off else plain_step,
        ceiling_step(ceiling, "traces"),
        budget,
    )
    bounds = (steps[-2].rate, steps[-1].rate)
    return Explanation(
        f'traces of "{name}"',
        bounded,
        decided_by,
        _bounds(number(value), *bounds),
        steps,
        _gap(number(value), bounded, parent, decided_by),
        own is None
        or own.is_known
        or choice.rate is not None
        or decided_by == "sampled",
    )


def explain_error(
    sampler: ErrorSampler,
    kind: Kind,
    *,
    name: str = "",
    rate: float | None = 1.0,
    own: Own | None = None,
    told: Told | None = None,
) -> Explanation:
    """Explain an error of this kind, in a transaction of this name.

    `rate` is the rate of errors, and `own` is what the application's `error_sampler` says.
    `told` is what a process told, if the sampler is not its own.
    """
    rule = sampler.find(kind)
    limit = sampler.limit_of(rule)
    first = told is None and sampler.is_first(kind, rule)
    is_over = limit is not None and limit.is_reached()
    has_rate = rule is not None and rule.of.rate is not None
    value: Rate
    if rule is not None and has_rate:
        decided_by, value = ("first", 1.0) if first else ("rule", rule.of.rate)
    elif own is not None and own.is_known:
        decided_by, value = "sampler", rate_of_errors(own.rate)
    else:
        decided_by, value = "rate", rate
    if is_over and not first:
        decided_by, value = "limit", 0.0
    compared = (name,)
    ceiling = sampler.ceilings.find(compared)
    budget = budget_step(sampler.budget, first=rule is not None)
    if told is not None:
        budget = _told(sampler, told.share, first=rule is not None)
    if sampler.budget is not None and sampler.overdraws(first=first):
        budget = Step("budget", None, f"{budget.text}; the first of its class passes")
    steps = (
        error_rule_step(rule.of if rule else None, rule.number if rule else 0),
        first_step(rule.of if rule else None, is_first=first, is_running=told is None),
        limit_step(
            rule.of if rule else None, is_over=is_over if told is None else None
        ),
        own_step("error_sampler", own, rate_of_errors),
        rate_step("SENTRY_SAMPLE_RATE", rate, "unset"),
        ceiling_step(ceiling, "errors"),
        budget,
    )
    decided = number(value)
    bounds = (steps[-2].rate, steps[-1].rate)
    bounded = decided
    if decided is not None:
        bounded = min(decided, 1.0 if bounds[0] is None else bounds[0])
        bounded *= 1.0 if bounds[1] is None else bounds[1]
    shown = kind.classes[0] if kind.classes else "no exception"
    where = f" of logger {kind.logger}" if kind.logger else ""
    return Explanation(
        f"errors with {shown}{where}",
        bounded,
        decided_by,
        _bounds(decided, *bounds),
        steps,
        is_sure=own is None or own.is_known or has_rate,
    )


def _told(sampler: Sampler | ErrorSampler, share: float | None, *, first: bool) -> Step:
    """Return what the budget says by what a process told of it."""
    if sampler.budget is None:
        return budget_step(None, first=first)
    text = f"{sampler.budget.per_minute:g} per minute and process"
    if first and share:  # what goes first has a third of its own
        return Step("budget", 1.0, f"{text}: what is named goes first")
    if first or share is None:
        return Step("budget", None, f"{text}: {IN_PROCESS}")
    return Step("budget", share, f"{text}: the share that passed up to 30 s ago")


def _bounds(
    decided: float | None, ceiling: float | None, budget: float | None
) -> tuple[str, ...]:
    """Return the steps that lower what was decided."""
    if not decided:
        return ()
    lowers = (
        ("ceiling", ceiling is not None and ceiling < decided),
        ("budget", budget is not None and budget < 1),
    )
    return tuple(name for name, is_lower in lowers if is_lower)


def _gap(
    decided: float | None, rate: float | None, parent: Parent, decided_by: str
) -> str:
    """Return which part of a trace is missing."""
    own = "boost", "rule", "sampler", "sampled"
    if decided_by in own and rate and parent is False:
        return LACKS_UPSTREAM
    if decided_by in ("boost", "rule") and rate and parent is None:
        return MAY_LACK
    if parent and decided is not None and (rate or 0.0) < 1:
        return LACKS_HERE
    return ""
