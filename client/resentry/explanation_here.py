"""Explains what the client of this process does: `resentry.explain`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from resentry.contract import Snapshot
from resentry.error_sampling import ErrorSampler, error_sampler_of, kind_of, own_class
from resentry.explanation import explain_error, explain_trace
from resentry.sampling import Sampler, sampler_of
from resentry.sdk.versions import follows_caller
from resentry.steps import Own

if TYPE_CHECKING:
    from resentry.explanation import Explanation
    from resentry.steps import Parent
    from resentry.target import Target

Error = type[BaseException] | BaseException | str
"""An exception, its class, or the dotted name of its class."""


def explain_here(
    target: Target,
    name: str,
    *,
    parent: Parent,
    sampled: bool,
    error: Error | None,
    logger: str,
) -> Explanation | None:
    """Explain what the client of this process does; `None` before `init`."""
    running, plan = target.running, target.plan
    if running is None:
        return None
    client = running.client
    snapshot = running.snapshot or Snapshot({})
    if error is None and not logger:
        return explain_trace(
            sampler_of(client) or Sampler(snapshot, plan.role),
            name,
            parent=parent,
            rate=client.options["traces_sample_rate"],
            follows_caller=follows_caller(client.options),
            sampled=sampled,
            # Where OpenTelemetry makes the traces, its sampler decides in this order, too.
            is_off=client.options.get("enable_tracing") is False
            and "resentry.otel" not in sys.modules,
            own=_own(
                plan.options.get("traces_sampler"),
                {"transaction_context": {"name": name}, "parent_sampled": parent},
            ),
        )
    event, hint = _event_of(name, error, logger)
    own, rate = plan.options.get("error_sampler"), client.options["sample_rate"]
    sampler = error_sampler_of(client) or ErrorSampler(snapshot, plan.role, rate)
    asked = _own(own, event, hint)
    return explain_error(sampler, kind_of(event, hint), name=name, rate=rate, own=asked)


def _event_of(
    name: str, error: Error | None, logger: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an event as the SDK would make it, and its hint."""
    event: dict[str, Any] = {"transaction": name, "logger": logger or None}
    if error is None:
        return event, {}
    if isinstance(error, str) and (own := own_class(error)):
        error = own
    if isinstance(error, str):
        module, _, kind = error.rpartition(".")
        event["exception"] = {"values": [{"module": module or None, "type": kind}]}
        return event, {}
    kind_of_error = error if isinstance(error, type) else type(error)
    module, kind = kind_of_error.__module__, kind_of_error.__qualname__
    event["exception"] = {"values": [{"module": module, "type": kind}]}
    return event, {"exc_info": (kind_of_error, error, None)}


def _own(sampler: Any, *arguments: Any) -> Own | None:
    """Ask the application's own sampler."""
    if not callable(sampler):
        return None
    name = getattr(sampler, "__qualname__", type(sampler).__qualname__)
    try:
        rate = sampler(*arguments)
    except Exception as error:  # noqa: BLE001 - it may need more than is known here
        text = f"{name} raises {type(error).__name__} when only the name is known"
        return Own(None, text, is_known=False)
    return Own(rate, f"{name} of the application")
