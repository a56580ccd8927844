"""Which errors are sent: the first rule that fits, else the application's sampler or rate.

Then ceilings and the budget bound what was decided. The first error of each kind passes the
rules, so that a new kind is never hidden by a low rate.
"""

from __future__ import annotations

import builtins
import logging
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from resentry.ceilings import Ceilings
from resentry.error_memory import KINDS_LIMIT, Memory
from resentry.harmless import fault
from resentry.patterns import Patterns, names_of_event
from resentry.process import here
from resentry.sampling import budget_of, power_of_ten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from resentry.budget import Budget
    from resentry.contract import Budget as BudgetOf
    from resentry.contract import Ceiling, ErrorRule, Snapshot
    from resentry.error_memory import Limit
    from resentry.sampling import Rate

OWN_RAISED = "The application's error_sampler raised an error. The event is sampled."
_sdk_log = logging.getLogger("sentry_sdk.errors")
"""The SDK's own logger: it shows its lines if the SDK's option `debug` is on."""


class Kind(NamedTuple):
    """What rules are compared with."""

    classes: tuple[str, ...] = ()
    """The dotted names of the exception's class and of its bases."""
    logger: str = ""


class ErrorSampler:
    """An `error_sampler`: it returns 1.0 for an error that is sent, else 0.0.

    Args:
        snapshot: has the rules, ceilings and budgets.
        role: the role of this process.
        otherwise: the application's own `error_sampler`, or the plain rate.
        earlier: what decided before. Its limits and its budget go on.

    """

    def __init__(
        self,
        snapshot: Snapshot,
        role: str,
        otherwise: Callable[..., Rate] | float,
        earlier: ErrorSampler | None = None,
    ) -> None:
        self._rules = [
            _Rule(number, rule, _patterns(rule.exception), _patterns(rule.logger))
            for number, rule in enumerate(snapshot.errors)
            if rule.role in (None, role)
        ]
        self._otherwise = otherwise
        before = earlier.memory if earlier is not None else None
        self.memory: Memory = (
            before
            if before is not None and before.rules == snapshot.errors
            else Memory(snapshot.errors, before)
        )
        self.decided = 0
        """How many errors were compared with the rules."""
        self.matched = 0
        """A bit for each rule of the snapshot that has matched something."""
        self.ceilings = Ceilings(snapshot.ceilings, role, "errors")
        self.budget: Budget | None = budget_of(
            snapshot, role, "errors", earlier.budget if earlier else None
        )

    def __call__(self, event: Mapping[str, Any], hint: Mapping[str, Any]) -> float:
        """Return 1.0 if the error is sent, else 0.0."""
        __tracebackhide__ = True
        try:
            if not self.memory.is_ours:
                self.memory = Memory(self.memory.rules)
            kind = kind_of(event, hint)
            rule = self.rule_of(kind)
            self.decided += 1
            if rule is not None:
                self.matched |= 1 << rule.number
        except Exception:  # noqa: BLE001 - an error must not be lost because of a rule
            fault("error sampling")
            kind, rule = Kind(), None
        own = rule.of.rate if rule is not None else None
        rate = self._plain(event, hint) if own is None else own
        try:
            cause = self._dropped_by(rate, event, kind, rule)
            if cause:
                here().sampled.drop(cause)
        except Exception:  # noqa: BLE001 - as above
            fault("error sampling")
            return rate
        return 0.0 if cause else 1.0

    def rule_of(self, kind: Kind) -> _Rule | None:
        """Return the first rule that fits."""
        known = self.memory.rule_of
        if kind not in known:
            index = self._find(kind)
            if len(known) >= KINDS_LIMIT:
                return None if index is None else self._rules[index]
            known[kind] = index
        index = known[kind]
        return None if index is None else self._rules[index]

    @property
    def counts(self) -> tuple[int, str]:
        """How many errors were decided, and the bits of the rules that matched, in hex."""
        return power_of_ten(self.decided), f"{self.matched:x}"

    def find(self, kind: Kind) -> _Rule | None:
        """Return the first rule that fits, and remember nothing."""
        index = self._find(kind)
        return None if index is None else self._rules[index]

    def _find(self, kind: Kind) -> int | None:
        fitting = (i for i, rule in enumerate(self._rules) if rule.fits(kind))
        return next(fitting, None)

    def limit_of(self, rule: _Rule | None) -> Limit | None:
        """Return what bounds the number per minute of a rule."""
        return None if rule is None else self.memory.limits[rule.number]

    def is_first(self, kind: Kind, rule: _Rule | None) -> bool:
        """Whether the rule has let no error of this class pass yet."""
        firsts = self.memory.firsts
        return (
            rule is not None
            and (_name(kind), rule.of) not in firsts
            and len(firsts) < KINDS_LIMIT
        )

    def overdraws(self, *, first: bool) -> bool:
        """Whether an error passes the budget because it is the first of its class."""
        return first and (self.budget is None or self.budget.can_overdraw())

    def _plain(self, event: Mapping[str, Any], hint: Mapping[str, Any]) -> float:
        """Return the rate where no rule has one, as the SDK reads it."""
        __tracebackhide__ = True
        own = self._otherwise
        if not callable(own):
            return rate_of_errors(own)
        try:
            return rate_of_errors(own(event, hint))
        except Exception:  # noqa: BLE001 - the SDK sends the error, too
            _sdk_log.warning(OWN_RAISED, exc_info=True)
            return 1.0

    def _dropped_by(
        self, rate: float, event: Mapping[str, Any], kind: Kind, rule: _Rule | None
    ) -> str:
        """Return what drops the error; empty if it is sent."""
        memory, drawn = self.memory, _draw()
        limit, first = self.limit_of(rule), self.is_first(kind, rule)
        has_rate = rule is not None and rule.of.rate is not None
        if drawn >= rate and not (first and has_rate):
            return f"rule {rule.number}" if rule is not None and has_rate else "rate"
        if rule is not None and limit is not None and not first and limit.is_reached():
            return f"rule {rule.number}"
        if drawn >= self.ceilings.lowest(_compared(event)):
            return "ceiling"
        budget = self.budget
        if budget is not None:
            # Drawn anew: `drawn` is below the rate already.
            if not self.overdraws(first=first) and _draw() >= budget.share(
                first=rule is not None
            ):
                return "budget"
            budget.spend()
        if first and rule is not None:
            memory.firsts.add((_name(kind), rule.of))
        if limit is not None:
            limit.spend()
        return ""


class _Rule(NamedTuple):
    number: int
    of: ErrorRule
    classes: Patterns | None
    logger: Patterns | None

    def fits(self, kind: Kind) -> bool:
        """Whether the rule is for this kind of errors."""
        return (
            self.classes is None or self.classes.first(kind.classes) is not None
        ) and (self.logger is None or self.logger.first((kind.logger,)) is not None)


def rate_of_errors(value: object) -> float:
    """Return a rate as the SDK reads it: what is no number sends every error."""
    try:
        return max(float(value), 0.0) if value < 1.0 else 1.0  # type: ignore[operator, arg-type]
    except Exception:  # noqa: BLE001 - as above
        return 1.0


def _compared(event: Mapping[str, Any]) -> Sequence[str]:
    """Return what the patterns of ceilings are compared with."""
    try:
        return names_of_event(event)
    except Exception:  # noqa: BLE001 - the ceilings and budgets for all still hold
        return ()


def _draw() -> float:
    return random.random()  # noqa: S311 - no secret


def _patterns(pattern: str | None) -> Patterns | None:
    return None if pattern is None else Patterns([pattern])


def _name(kind: Kind) -> str:
    return kind.classes[0] if kind.classes else ""


def kind_of(event: Mapping[str, Any], hint: Mapping[str, Any]) -> Kind:
    """Return the exception's classes and the logger of an event."""
    exc_info = hint.get("exc_info")
    logger = str(event.get("logger") or "")
    if exc_info and isinstance(exc_info[0], type):
        return Kind(class_names(exc_info[0]), logger)
    values: Sequence[Any] = (event.get("exception") or {}).get("values") or ({},)
    last = values[-1]
    named = [str(last[name]) for name in ("module", "type") if last.get(name)]
    return Kind((".".join(named),) if named else (), logger)


def class_names(of: type) -> tuple[str, ...]:
    """Return the dotted names of a class and its bases; those of Python also without module."""
    names: list[str] = []
    for each in of.__mro__[:-1]:
        names.append(f"{each.__module__}.{each.__qualname__}")
        if each.__module__ == "builtins":
            names.append(each.__qualname__)
    return tuple(names)


def own_class(name: str) -> type[BaseException] | None:
    """Return Python's own exception of this name; `None` if there is none."""
    found = getattr(builtins, name.removeprefix("builtins."), None)
    is_error = isinstance(found, type) and issubclass(found, BaseException)
    return found if is_error else None


def error_sampler_of(client: Any) -> ErrorSampler | None:
    """Return what decides on a client's errors by rules and the like; `None` without."""
    own = client.options.get("error_sampler") if client is not None else None
    return own if isinstance(own, ErrorSampler) else None


def needs_one(snapshot: Snapshot) -> bool:
    """Whether the snapshot says anything about errors beside the plain rate."""
    bounds: tuple[Ceiling | BudgetOf, ...] = (*snapshot.ceilings, *snapshot.budgets)
    return bool(snapshot.errors) or any(each.errors is not None for each in bounds)
