"""What each step says of a trace or an error, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from resentry.contract import KEEP

if TYPE_CHECKING:
    from collections.abc import Callable

    from resentry.budget import Budget
    from resentry.contract import Boost, Ceiling, ErrorRule, Rule
    from resentry.sampling import Rate

IN_PROCESS = "resentry.explain in the process tells what passes now"
"""What is not known outside."""

Parent = bool | None
"""What the caller decided; `None` without a caller."""


class Step(NamedTuple):
    """What one step says. `rate` is `None` if the step says nothing."""

    name: str
    rate: float | None
    text: str


class Own(NamedTuple):
    """What the application's own sampler says. An unknown sampler may not be there."""

    rate: Rate
    text: str
    is_known: bool = True


def number(value: Any) -> float | None:
    """Return a rate as a number; `None` for what is none."""
    return float(value) if isinstance(value, int | float) else None


def _kept(item: Boost | Rule, parent: Parent) -> float | None:
    """Return the rate of a boost or a rule; `None` if the parent's decision stands."""
    return None if item.parent == KEEP and parent is not None else item.traces


def _keeps(item: Boost | Rule) -> str:
    return "; lets a caller's decision stand" if item.parent == KEEP else ""


def boost_step(boost: Boost | None, parent: Parent) -> Step:
    """Return what the boost that fits says."""
    if boost is None:
        return Step("boost", None, "no running boost fits")
    text = f"boost {boost.id} for {boost.match or 'everything'} until {boost.until}"
    return Step("boost", _kept(boost, parent), text + _keeps(boost))


def rule_step(found: tuple[int, Rule] | None, parent: Parent) -> Step:
    """Return what the rule that fits says."""
    if found is None:
        return Step("rule", None, "no rule fits")
    place, rule = found
    text = f"RESENTRY_RULES[{place}] for {rule.match}{_keeps(rule)}"
    return Step("rule", _kept(rule, parent), text)


def parent_step(parent: Parent) -> Step:
    """Return what the caller says."""
    if parent is None:
        return Step("parent", None, "no caller has decided")
    return Step("parent", float(parent), f"the caller says {'yes' if parent else 'no'}")


def own_step(option: str, own: Own | None, read: Callable[[Any], float | None]) -> Step:
    """Return what the application's own sampler says, as the SDK reads it."""
    if own is None:
        return Step("sampler", None, f"the application has no {option}")
    return Step("sampler", read(own.rate) if own.is_known else None, own.text)


def rate_step(key: str, rate: float | None, unset: str) -> Step:
    """Return what the plain rate says."""
    return Step("rate", rate, f"{key} is {unset}" if rate is None else key)


def ceiling_step(ceiling: Ceiling | None, field: str) -> Step:
    """Return what the lowest ceiling that fits says."""
    if ceiling is None:
        return Step("ceiling", None, "no ceiling fits")
    whose = f"ceiling {ceiling.id}" if ceiling.id else "a ceiling of RESENTRY_CEILINGS"
    until = f" until {ceiling.until}" if ceiling.until else ", which does not end"
    text = f"{whose} for {ceiling.match or 'everything'}{until}"
    return Step("ceiling", getattr(ceiling, field), text)


def budget_step(budget: Budget | None, *, first: bool) -> Step:
    """Return what the budget lets pass now."""
    if budget is None:
        return Step("budget", None, "no budget")
    text = f"{budget.per_minute:g} per minute and process, {budget.burst:g} at once: the share that passes now"
    return Step("budget", budget.share(first=first), text)


def error_rule_step(rule: ErrorRule | None, place: int) -> Step:
    """Return what the error rule that fits says."""
    if rule is None:
        return Step("rule", None, "no rule fits")
    named = {"exception": rule.exception, "logger": rule.logger}
    fits = " and ".join(f"{name} {text}" for name, text in named.items() if text)
    limits = "" if rule.rate is not None else ", which has a limit and no rate"
    return Step(
        "rule", rule.rate, f"RESENTRY_ERRORS[{place}] for {fits or 'all'}{limits}"
    )


def first_step(rule: ErrorRule | None, *, is_first: bool, is_running: bool) -> Step:
    """Return whether the first error of its class passes."""
    if is_first:
        rate = None if rule is None or rule.rate is None else 1.0
        return Step("first", rate, "the rule has let no error of this class pass yet")
    if rule is None:
        return Step("first", None, "counts where a rule fits")
    if is_running:
        return Step("first", None, "the rule has let an error of this class pass")
    text = (
        "the first error of each class passes the rule and the budget in each process"
    )
    return Step("first", None, text)


def limit_step(rule: ErrorRule | None, *, is_over: bool | None) -> Step:
    """Return what the limit of the error rule says; `is_over` may be unknown."""
    if rule is None or rule.per_minute is None:
        return Step("limit", None, "no rule with a limit fits")
    reached = {True: ", reached", False: ", not reached", None: f": {IN_PROCESS}"}[
        is_over
    ]
    text = f"{rule.per_minute:g} per minute and process{reached}"
    return Step("limit", 0.0 if is_over else None, text)
