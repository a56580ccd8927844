"""Lets the sampler of the snapshot decide on a trace, inside the SDK's own decision.

It is not a `traces_sampler`, because that also turns tracing on and replaces a caller's
sample rate. Instead the client has it, and the SDK's two decisions ask the client first. If
nothing matches, the SDK decides as it always does. Where the application has a
`traces_sampler`, ours is before it, and here only counts what is sampled.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import random
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import sentry_sdk
from sentry_sdk import scope as sdk_scope
from sentry_sdk import tracing

from resentry import formats
from resentry.sampling import plain_rate, sampler_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from resentry.sampling import Sampler

_deciding = ContextVar("resentry_deciding", default=False)


def follow(client: Any, sampler: Sampler) -> None:
    """Let the sampler decide while this client is current."""
    count(sampler)
    if client.options["traces_sample_rate"] is None:
        client.options = OffButMatched(client.options)
    client.sampling = sampler


def count(_sampler: Sampler) -> None:
    """Let samplers know which traces are sampled."""
    _wrap(tracing.Transaction, "_set_initial_sampling_decision", _around_transaction)
    _wrap(tracing.Transaction, "finish", _around_finish)
    if hasattr(sdk_scope, "_make_sampling_decision"):  # the SDK can stream spans
        _wrap(sdk_scope, "_make_sampling_decision", _around_segment)


def _wrap(owner: Any, name: str, around: Callable[[Any], Any]) -> None:
    """Wrap a function of the SDK once per process."""
    original = getattr(owner, name)
    if not hasattr(original, "of_resentry"):
        wrapper: Any = functools.update_wrapper(around(original), original)
        wrapper.of_resentry = True
        setattr(owner, name, wrapper)


class Decision(NamedTuple):
    """What decides instead of the SDK."""

    rate: float
    is_lowered_yes: bool = False
    """Whether it bounds the caller's yes: then the caller's own rate still counts."""

    def write(self, baggage: Any, rate: float) -> float:
        """Write the rate by which a trace is kept for other services; return it.

        The caller has kept its traces by a rate of its own. The lower one counts.
        """
        items = baggage.sentry_items
        if self.is_lowered_yes:
            with contextlib.suppress(KeyError, ValueError):
                if float(items["sample_rate"]) < rate:
                    return float(items["sample_rate"])
        items["sample_rate"] = str(rate)
        return rate


def _decide(client: Any, context: Mapping[str, Any]) -> Decision | None:
    """Return what decides instead of the SDK; `None` if the SDK does."""
    sampler: Sampler | None = getattr(client, "sampling", None)
    # Spotlight sets a sampler of its own, behind ours.
    if sampler is None or callable(client.options.get("traces_sampler")):
        return None
    choice = sampler.choose(context)
    parent = context.get("parent_sampled")
    plain = plain_rate(client.options["traces_sample_rate"], parent)
    bounded = sampler.bound(plain if choice.rate is None else choice.rate, choice)
    is_plain = choice.rate is None and bounded == plain
    if is_plain or bounded is None or client.options.get("enable_tracing") is False:
        return None
    return Decision(float(bounded), choice.rate is None and parent is not None)


def _force(
    transaction: Any, client: Any, context: Mapping[str, Any]
) -> Decision | None:
    """Bound a transaction that the application starts with `sampled=True`."""
    sampler = sampler_of(client)
    if not transaction.sampled or sampler is None or not sampler.is_bounding:
        return None
    rate = sampler.bound_yes(context)
    transaction.sampled = transaction._sample_rand < rate  # noqa: SLF001
    return Decision(rate)


def _around_transaction(original: Callable[..., None]) -> Callable[..., None]:
    def decide(self: Any, sampling_context: dict[str, Any]) -> None:
        __tracebackhide__ = True
        client = sentry_sdk.get_client()
        is_forced = self.sampled is not None
        if is_forced:
            decision = _force(self, client, sampling_context)
        else:
            decision = _decide(client, sampling_context)
        if decision is None or is_forced:
            original(self, sampling_context)
        else:
            with _on():  # the SDK uses a parent's decision as the rate
                original(self, {**sampling_context, "parent_sampled": decision.rate})
        if self.sampled and (sampler := sampler_of(client)) is not None:
            sampler.passed()
        if decision is None or self.sample_rate is None:
            return
        if is_forced:
            self.sample_rate = decision.rate
        context = sentry_sdk.get_current_scope().get_active_propagation_context()
        for baggage in (getattr(context, "baggage", None), self._baggage):
            if baggage:  # older versions write the transaction's own rate there
                self.sample_rate = decision.write(baggage, self.sample_rate)

    return decide


def _around_finish(original: Callable[..., Any]) -> Callable[..., Any]:
    def finish(self: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        is_sampled = self.sampled and self.timestamp is None
        event = original(self, *args, **kwargs)
        if is_sampled and event is None:  # a hook or the status code has dropped it
            sampler = sampler_of(sentry_sdk.get_client())
            if sampler is not None:
                sampler.not_sent()
        return event

    return finish


def _around_segment(original: Callable[..., Any]) -> Callable[..., Any]:
    def decide(name: str, attributes: dict[str, Any] | None, scope: Any) -> Any:
        __tracebackhide__ = True
        client = sentry_sdk.get_client()
        context = scope.get_active_propagation_context()
        asked = {
            "transaction_context": {"name": name},
            "parent_sampled": context.parent_sampled,
            **(getattr(context, "custom_sampling_context", None) or {}),
        }
        found = _decide(client, asked)
        if found is not None:
            decision = _decided(original, found, name, attributes, scope)
        else:
            decision = original(name, attributes, scope)
        if decision[0] and (sampler := sampler_of(client)) is not None:
            if decision[1] is None and not _is_kept(context.baggage, sampler, asked):
                return (False, None, None, "sample_rate")
            sampler.passed()
        return decision

    return decide


def _is_kept(baggage: Any, sampler: Sampler, context: Mapping[str, Any]) -> bool:
    """Whether a trace is sent that the SDK sends because the caller wants it.

    The SDK does so with tracing off, too, and asks no sampler. The caller's headers go on
    as they are.
    """
    if not sampler.is_bounding:
        return True
    drawn = random.random()  # noqa: S311 - no secret
    if baggage is not None:
        with contextlib.suppress(ValueError):
            drawn = formats.rate(baggage.sentry_items.get("sample_rand"))
    return drawn < sampler.bound_yes(context)


def _decided(
    original: Callable[..., Any],
    found: Decision,
    name: str,
    attributes: dict[str, Any] | None,
    scope: Any,
) -> Any:
    """Return the SDK's decision by this rate."""
    context = scope.get_active_propagation_context()
    _ = context.trace_id  # the id is made at its first use
    parent = copy.copy(context)
    parent.parent_sampled = found.rate
    if parent.baggage is not None:  # some versions use the caller's rate instead
        items = {**parent.baggage.sentry_items, "sample_rate": str(found.rate)}
        parent.baggage = copy.copy(parent.baggage)
        parent.baggage.sentry_items = items
    stand_in = SimpleNamespace(get_active_propagation_context=lambda: parent)
    with _on():
        sampled, sample_rate, *rest = original(name, attributes, stand_in)
    baggage = context.baggage
    if sample_rate is not None and baggage and baggage.sentry_items.get("sample_rate"):
        sample_rate = found.write(baggage, sample_rate)
    return (sampled, sample_rate, *rest)


@contextlib.contextmanager
def _on() -> Iterator[None]:
    token = _deciding.set(True)
    try:
        yield
    finally:
        _deciding.reset(token)


class OffButMatched(dict[str, Any]):
    """A client's options with an unset rate: tracing is off, except for what matches.

    While a match is decided, and in a trace that a match began, the rate is 0.
    """

    def get(self, key: str, default: Any = None) -> Any:
        """Return an option."""
        if key == "traces_sample_rate" and (_deciding.get() or _is_traced()):
            return 0.0
        return super().get(key, default)


def _is_traced() -> bool:
    """Whether the current span's trace has a rate. With tracing off no trace has one."""
    scope = sentry_sdk.get_current_scope()
    span: Any = getattr(scope, "streamed_span", None) or scope.span
    if hasattr(span, "_segment"):
        return span._segment._sample_rate is not None  # noqa: SLF001
    transaction = getattr(span, "containing_transaction", None)
    return transaction is not None and transaction.sample_rate is not None
