"""An OpenTelemetry sampler that decides as the running snapshot says.

    from opentelemetry.sdk.trace import TracerProvider
    from resentry.otel import Sampler

    trace.set_tracer_provider(TracerProvider(sampler=Sampler()))

The order is that of sentry-sdk's traces: boost, rule, parent, rate, then ceilings and the
budget. A span with a parent in the same process has the decision of its parent. This module
needs the extra `resentry[opentelemetry]`, and nothing else imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import baggage
from opentelemetry.context import get_value
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import SpanKind, get_current_span
from sentry_sdk.integrations.opentelemetry.consts import (
    SENTRY_BAGGAGE_KEY,
    SENTRY_TRACE_KEY,
)

from resentry.harmless import fault
from resentry.sampling import plain_rate, rate_of, sampler_of
from resentry.target import target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanContext
    from opentelemetry.trace.span import TraceState
    from opentelemetry.util.types import Attributes

__all__ = ["Sampler"]

_METHODS = ("http.request.method", "http.method")
_PATHS = ("url.path", "http.target")
_URLS = ("url.full", "http.url")
"""Attributes of a request: in today's semantic conventions, and in those before 1.21."""
_CELERY = "run/"
"""OpenTelemetry's instrumentation of Celery names a span `run/` and the task's name."""
_LOW = (1 << 64) - 1
"""The bits of a trace id by which OpenTelemetry's own ratio sampler for Python decides."""


class Sampler(sampling.Sampler):
    """Samples the spans of OpenTelemetry by the snapshot that runs in this process.

    Before `resentry.init`, and while the trace rate is not set, it samples nothing.
    """

    def should_sample(  # noqa: PLR0913, PLR0917 - OpenTelemetry's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002 - as above
        trace_state: TraceState | None = None,  # noqa: ARG002 - as above
    ) -> sampling.SamplingResult:
        """Decide on a new span. Never raises: a span that cannot be judged is dropped."""
        __tracebackhide__ = True  # the SDK leaves it out of stack traces
        parent = get_current_span(parent_context).get_span_context()
        state = parent.trace_state if parent.is_valid else None
        if parent.is_valid and not parent.is_remote:
            return _result(parent.trace_flags.sampled, attributes, state)
        try:
            said = _said_by(parent, parent_context)
            is_sampled, is_parents = _decide(
                _names(name, kind, attributes or {}),
                said,
                _random(parent_context, trace_id),
            )
            if not is_parents:
                state = _without_threshold(state)
        except Exception:  # noqa: BLE001 - a request must not fail because of its trace
            fault("sampling")
            is_sampled = False
        return _result(is_sampled, attributes, state)

    def get_description(self) -> str:
        """Return the name by which OpenTelemetry shows this sampler."""
        return "resentry.otel.Sampler"


def _result(
    is_sampled: bool,  # noqa: FBT001
    attributes: Attributes,
    state: TraceState | None,
) -> sampling.SamplingResult:
    if not is_sampled:
        return sampling.SamplingResult(sampling.Decision.DROP, None, state)
    decision = sampling.Decision.RECORD_AND_SAMPLE
    return sampling.SamplingResult(decision, attributes, state)


def _decide(
    context: dict[str, Any],
    parent: bool | None,  # noqa: FBT001
    random: float,
) -> tuple[bool, bool]:
    """Return whether the trace is sampled, and whether the parent alone decided that."""
    running = target.running
    if running is None:
        return False, False
    rate = running.client.options["traces_sample_rate"]
    value = plain = plain_rate(rate, parent)
    is_parents = rate is not None and parent is not None
    sampler = sampler_of(running.client)
    if sampler is not None:
        choice = sampler.choose({**context, "parent_sampled": parent})
        value = sampler.bound(plain if choice.rate is None else choice.rate, choice)
        is_parents = is_parents and choice.rate is None and value == plain
    bounded = rate_of(value)
    is_sampled = bounded is not None and random < bounded
    if is_sampled and sampler is not None:
        sampler.passed()
    return is_sampled, is_parents


def _said_by(parent: SpanContext, context: Context | None) -> bool | None:
    """Return what the caller decided; `None` if there is none, or it left that open."""
    if not parent.is_valid:
        return None
    # The SDK's propagator gives each parent the flag of a sampled one. What the header says
    # stands beside it.
    header: Any = get_value(SENTRY_TRACE_KEY, context)
    if header and (header["trace_id"], header["parent_span_id"]) == (
        f"{parent.trace_id:032x}",
        f"{parent.span_id:016x}",
    ):
        said: bool | None = header["parent_sampled"]
        return said
    return parent.trace_flags.sampled


def _random(context: Context | None, trace_id: int) -> float:
    """Return the trace's own random number, which is the same in all of its services.

    It is `sample_rand` of Sentry's baggage, if the baggage is of this trace. Otherwise it
    comes from the trace id, as OpenTelemetry's own ratio sampler takes it.
    """
    of_sdk = get_value(SENTRY_BAGGAGE_KEY, context)
    items: Mapping[str, Any] = getattr(of_sdk, "sentry_items", None) or {
        key.removeprefix("sentry-"): value
        for key, value in baggage.get_all(context).items()
        if key.startswith("sentry-")
    }
    if items.get("trace_id") == f"{trace_id:032x}":
        try:
            given = float(items["sample_rand"])
        except (KeyError, TypeError, ValueError):
            given = -1.0
        if 0 <= given < 1:
            return given
    return (trace_id & _LOW) / (_LOW + 1)


def _names(
    name: str, kind: SpanKind | None, attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what patterns are compared with, in the form of the SDK's context."""
    context: dict[str, Any] = {"transaction_context": {"name": name}}
    if kind is SpanKind.SERVER:
        method, path, url = (
            next((str(attributes[key]) for key in keys if attributes.get(key)), "")
            for keys in (_METHODS, _PATHS, _URLS)
        )
        if not path and url:  # WSGI, under a server that does not give the raw path
            path = "/" + url.partition("://")[2].partition("/")[2]
        if method and path:
            path = path.partition("?")[0]
            context["asgi_scope"] = {"method": method, "path": path}
    elif kind is SpanKind.CONSUMER and name.startswith(_CELERY):
        context["celery_job"] = {"task": name.removeprefix(_CELERY)}
    return context


def _without_threshold(state: TraceState | None) -> TraceState | None:
    """Return the tracestate without the rate of the caller (`th`), which does not hold here."""
    own = state.get("ot") if state is not None else None
    if state is None or own is None:
        return state
    kept = [part for part in own.split(";") if not part.startswith("th:")]
    return state.update("ot", ";".join(kept)) if kept else state.delete("ot")
