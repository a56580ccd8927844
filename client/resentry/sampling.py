"""Which trace rate a transaction gets, and why.

Boost, rule, parent or the application's sampler, rate: the first of these that says
something decides. Then ceilings and the budget bound what was decided. They never turn a no
into a yes. The SDK compares the rate with the trace's own random number, so all services of
one trace agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

from resentry.budget import Budget
from resentry.ceilings import Ceilings, End
from resentry.contract import KEEP, per_minute_of
from resentry.harmless import fault
from resentry.patterns import Patterns, names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from resentry.contract import Boost, Rule, Snapshot

Rate = float | bool | None
"""What decides in the SDK: a rate, a parent's yes or no, or nothing: tracing is off."""


class Choice(NamedTuple):
    """What a boost or a rule says about a trace."""

    compared: Sequence[str] = ()
    """The names of the trace, as patterns are compared with them."""
    rate: float | None = None
    """`None` if no boost and no rule says anything."""
    step: str = ""
    """`boost` or `rule`."""


NOTHING = Choice()
"""Neither a boost nor a rule fits, nor a ceiling that has a match."""


class Sampler:
    """The rules, boosts, ceilings and the budget of one snapshot, for one role.

    The budget of an `earlier` sampler goes on, if it is the same.
    """

    def __init__(
        self, snapshot: Snapshot, role: str, earlier: Sampler | None = None
    ) -> None:
        rules = [rule for rule in snapshot.rules if rule.role in (None, role)]
        boosts = [boost for boost in snapshot.boosts if boost.role in (None, role)]
        boosts.sort(key=lambda boost: -boost.traces)  # the highest rate wins
        self._rules = Patterns(rule.match for rule in rules)
        self._given = rules
        self._numbers = [n for n, rule in enumerate(snapshot.rules) if rule in rules]
        self.matched = 0
        """A bit for each rule of the snapshot that has matched something."""
        self.decided = 0
        """How many traces were compared with the rules."""
        self._boosts = [
            (Patterns([boost.match or "*"]), boost, End.of(boost.until))
            for boost in boosts
        ]
        self.ceilings = Ceilings(snapshot.ceilings, role, "traces")
        bounds = [each.match or "" for each in self.ceilings.with_match]
        boosted = [boost.match or "*" for boost in boosts]
        self._any = Patterns([*(rule.match for rule in rules), *boosted, *bounds])
        self.budget: Budget | None = budget_of(
            snapshot, role, "transactions", earlier.budget if earlier else None
        )

    @property
    def is_bounding(self) -> bool:
        """Whether there is a ceiling or a budget."""
        return bool(self.ceilings) or self.budget is not None

    def choose(self, context: Mapping[str, Any]) -> Choice:
        """Return what the first boost or rule says that fits the SDK's context."""
        try:
            compared = names(context)
            if not self._any.may_fit(compared):  # most traces, by one comparison
                self.decided += 1
                return NOTHING
            return self._choose(compared, context.get("parent_sampled"))
        except Exception:  # noqa: BLE001 - a request must not fail because of its trace
            fault("sampling")
            return NOTHING

    def bound(self, value: Rate, choice: Choice) -> Rate:
        """Return what was decided, under the ceilings and the budget.

        What the SDK would not take as a rate is returned as it is.
        """
        if not self.is_bounding or not (decided := rate_of(value)):
            return value
        try:
            rate = min(decided, self.ceilings.lowest(choice.compared))
            if self.budget is not None:
                rate *= self.budget.share(first=choice.rate is not None)
        except Exception:  # noqa: BLE001 - as above
            fault("sampling")
            return value
        return rate

    def bound_yes(self, context: Mapping[str, Any]) -> float:
        """Return the bound of a trace that is sent without asking what decides."""
        return float(self.bound(1.0, self.choose(context)) or 0.0)

    def before(
        self, otherwise: Callable[[dict[str, Any]], float | bool]
    ) -> Callable[[dict[str, Any]], float | bool]:
        """Return a `traces_sampler` that calls `otherwise` if nothing fits."""
        return _Before(self, otherwise)

    def passed(self) -> None:
        """Count a trace that is sampled."""
        if self.budget is not None:
            self.budget.spend()

    def not_sent(self) -> None:
        """Count a sampled trace as one that the application has dropped in the end."""
        if self.budget is not None:
            self.budget.give_back()

    def find_boost(self, compared: Sequence[str]) -> Boost | None:
        """Return the running boost that fits and has the highest rate."""
        if self._boosts:
            for patterns, boost, end in self._boosts:
                if not end.is_over() and patterns.first(compared) is not None:
                    return boost
        return None

    def find_rule(self, compared: Sequence[str]) -> tuple[int, Rule] | None:
        """Return the first rule that fits, and its number in the snapshot."""
        index = self._rules.first(compared)
        return None if index is None else (self._numbers[index], self._given[index])

    def _choose(self, compared: Sequence[str], parent: object) -> Choice:
        boost = self.find_boost(compared)
        if boost is not None:
            return said(boost, "boost", compared, parent)
        found = self.find_rule(compared)
        self.decided += 1
        if found is None:
            return Choice(compared)
        self.matched |= 1 << found[0]
        return said(found[1], "rule", compared, parent)

    @property
    def counts(self) -> tuple[int, str]:
        """How many traces were decided, and the bits of the rules that matched, in hex."""
        return power_of_ten(self.decided), f"{self.matched:x}"


def power_of_ten(number: int) -> int:
    """Return a number that is at most this one.

    The receipt shows it, and need not be written anew for each trace.
    """
    return 10 ** (len(str(number)) - 1) if number else 0


def said(
    item: Boost | Rule, step: str, compared: Sequence[str], parent: object
) -> Choice:
    """Return what a boost or a rule that fits says."""
    if item.parent == KEEP and parent is not None:
        return Choice(compared)
    return Choice(compared, item.traces, step)


def plain_rate(rate: float | None, parent: Any, *, is_streamed: bool = False) -> Rate:
    """Return what decides where nothing fits: the parent, else the rate.

    An unset rate means that tracing is off, whatever the parent says. Where the SDK
    streams spans, it follows the parent nevertheless.
    """
    return rate if parent is None or (rate is None and not is_streamed) else parent


def rate_of(value: object) -> float | None:
    """Return a rate of traces as the SDK reads it; `None` for what it takes for no rate."""
    if type(value) is not float and not isinstance(value, int | Real | Decimal):
        return None
    try:
        rate = float(value)
    except Exception:  # noqa: BLE001 - the SDK itself says so
        return None
    return rate if 0 <= rate <= 1 else None


def budget_of(
    snapshot: Snapshot, role: str, field: str, earlier: Budget | None
) -> Budget | None:
    """Return the budget of a role: its own, else that of all; the earlier if the same."""
    per_minute = per_minute_of(snapshot.budgets, role, field)
    if per_minute is None:
        return None
    if earlier is not None and earlier.per_minute == per_minute:
        return earlier
    return Budget(per_minute)


def sampler_of(client: Any) -> Sampler | None:
    """Return what decides by rules and the like in a client; `None` without any."""
    if client is None:
        return None
    own = client.options.get("traces_sampler")
    return own.sampler if isinstance(own, _Before) else vars(client).get("sampling")


@dataclass(frozen=True)
class _Before:
    """A `traces_sampler`. It is a class, not a closure, so the client can be pickled."""

    sampler: Sampler
    otherwise: Callable[[dict[str, Any]], float | bool]

    def __call__(self, context: dict[str, Any]) -> float | bool:
        """Return the rate."""
        __tracebackhide__ = True
        choice = self.sampler.choose(context)
        rate = self.otherwise(context) if choice.rate is None else choice.rate
        return self.sampler.bound(rate, choice)  # type: ignore[return-value]


def needs_one(snapshot: Snapshot) -> bool:
    """Whether the snapshot says anything about traces beside the plain rate."""
    return (
        bool(snapshot.rules or snapshot.boosts)
        or any(ceiling.traces is not None for ceiling in snapshot.ceilings)
        or any(budget.transactions is not None for budget in snapshot.budgets)
    )
