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
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk import scope as sdk_scope
from sentry_sdk import tracing

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
    if hasattr(sdk_scope, "_make_sampling_decision"):  # the SDK can stream spans
        _wrap(sdk_scope, "_make_sampling_decision", _around_segment)


def _wrap(owner: Any, name: str, around: Callable[[Any], Any]) -> None:
    """Wrap a function of the SDK once per process."""
    original = getattr(owner, name)
    if not hasattr(original, "of_resentry"):
        wrapper: Any = functools.update_wrapper(around(original), original)
        wrapper.of_resentry = True
        setattr(owner, name, wrapper)


def _rate(client: Any, context: Mapping[str, Any]) -> float | None:
    """Return the rate instead of what the SDK would decide by; `None` if that stays."""
    sampling: Sampler | None = getattr(client, "sampling", None)
    # Spotlight sets a sampler of its own, behind ours.
    if sampling is None or callable(client.options.get("traces_sampler")):
        return None
    choice = sampling.choose(context)
    plain = plain_rate(
        client.options["traces_sample_rate"], context.get("parent_sampled")
    )
    bounded = sampling.bound(plain if choice.rate is None else choice.rate, choice)
    is_plain = choice.rate is None and bounded == plain
    return None if is_plain or bounded is None else float(bounded)


def _around_transaction(original: Callable[..., None]) -> Callable[..., None]:
    def decide(self: Any, sampling_context: dict[str, Any]) -> None:
        __tracebackhide__ = True
        client = sentry_sdk.get_client()
        rate = _rate(client, sampling_context) if self.sampled is None else None
        if rate is None:
            original(self, sampling_context)
        else:
            with _on():  # the SDK uses a parent's decision as the rate
                original(self, {**sampling_context, "parent_sampled": rate})
        if self.sampled and (sampler := sampler_of(client)) is not None:
            sampler.passed()
        if rate is None or self.sample_rate is None:
            return
        context = sentry_sdk.get_current_scope().get_active_propagation_context()
        for baggage in (getattr(context, "baggage", None), self._baggage):
            if baggage:
                baggage.sentry_items["sample_rate"] = str(self.sample_rate)

    return decide


def _around_segment(original: Callable[..., Any]) -> Callable[..., Any]:
    def decide(name: str, attributes: dict[str, Any] | None, scope: Any) -> Any:
        __tracebackhide__ = True
        client = sentry_sdk.get_client()
        context = scope.get_active_propagation_context()
        given = {
            "transaction_context": {"name": name},
            "parent_sampled": context.parent_sampled,
            **(getattr(context, "custom_sampling_context", None) or {}),
        }
        rate = _rate(client, given)
        if rate is None:
            decision = original(name, attributes, scope)
        else:
            decision = _decided(original, rate, name, attributes, scope)
        if decision[0] and (sampler := sampler_of(client)) is not None:
            sampler.passed()
        return decision

    return decide


def _decided(
    original: Callable[..., Any],
    rate: float,
    name: str,
    attributes: dict[str, Any] | None,
    scope: Any,
) -> Any:
    """Return the SDK's decision by this rate."""
    context = scope.get_active_propagation_context()
    _ = context.trace_id  # the id is made at its first use
    parent = copy.copy(context)
    parent.parent_sampled = rate
    if parent.baggage is not None:  # some versions use the caller's rate instead
        items = {**parent.baggage.sentry_items, "sample_rate": str(rate)}
        parent.baggage = copy.copy(parent.baggage)
        parent.baggage.sentry_items = items
    stand_in = SimpleNamespace(get_active_propagation_context=lambda: parent)
    with _on():
        decision = original(name, attributes, stand_in)
    sample_rate = decision[1]
    if sample_rate is not None:
        scope._update_sample_rate(sample_rate)  # noqa: SLF001
    return decision


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
