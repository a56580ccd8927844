"""The parts of a client that hold items back. Each part belongs to one process."""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.monitor import Monitor
from sentry_sdk.utils import capture_internal_exceptions

from resentry.process import here
from resentry.sdk.versions import LogBatcher

if TYPE_CHECKING:
    from resentry.sdk.client import Client

COMPONENTS = ("log_batcher", "metrics_batcher", "span_batcher", "session_flusher")
"""Attributes of a client that hold items back, and send them through its transport."""


class Part:
    """An attribute of a client that is made anew in a forked child.

    The parent sends what the part holds, and a thread that does not exist in the child may
    hold the part's lock. On a retired client the attribute is the current client's part,
    so code that has kept an old client works after any number of swaps.
    """

    def __set_name__(self, _owner: type, name: str) -> None:
        self._attribute = name
        self._name = f"_resentry_{name}"

    def __get__(self, client: Any, _owner: type) -> Any:
        if client is None:
            return self
        if client.is_retired:
            current: Any = sentry_sdk.get_global_scope().client
            is_another = current is not client and not getattr(
                current, "is_retired", True
            )
            if is_another and current.transport is not None:
                return getattr(current, self._attribute)
        home, part = client.__dict__.get(self._name, (None, None))
        if part is None or home is here():
            return part
        home = here()
        with home.making:
            made_in, part = client.__dict__[self._name]
            if made_in is not home:
                part = anew(part)
                client.__dict__[self._name] = home, part
        return part

    def __set__(self, client: Any, part: Any) -> None:
        client.__dict__[self._name] = here(), part


_SEND = ("_capture_func", "capture_func")
_LOSE = ("_record_lost_func",)


def anew(part: Any, owner: Client | None = None) -> Any:
    """Return an empty part of the same kind, with its own locks.

    The part sends by `owner`, or by the same client as before. Its constructor is not
    called if the constructor registers a hook for forks, which cannot be removed.
    """
    functions = {
        name: getattr(part, name) for name in _SEND + _LOSE if hasattr(part, name)
    }
    if owner is not None:
        functions |= {name: owner.send_envelope for name in _SEND if name in functions}
        functions |= {name: owner.lose_item for name in _LOSE if name in functions}
    reset = "_reset_thread_state"
    if not hasattr(part, reset):
        if hasattr(part, "interval"):
            return type(part)(part.transport, part.interval)
        if hasattr(part, "flush_interval"):
            return type(part)(*functions.values(), part.flush_interval)
        return type(part)(*functions.values())
    kind = type(part)
    fresh = object.__new__(kind)
    for name, value in vars(part).items():
        if hasattr(kind, name):  # somebody has replaced a method of this object
            continue
        kept = value
        if isinstance(value, list | dict | set):
            kept = copy.copy(value)
            kept.clear()
        setattr(fresh, name, kept)
    getattr(fresh, reset)()
    vars(fresh).update(functions)
    return fresh


def new_log_batcher(owner: Client) -> Any:
    """Return the part that holds logs back, for a client that has had none."""
    if LogBatcher is None:
        return None
    functions: dict[str, Any] = {"capture_func": owner.send_envelope}
    if "record_lost_func" in inspect.signature(LogBatcher).parameters:
        functions["record_lost_func"] = owner.lose_item
    return LogBatcher(**functions)


def components(client: sentry_sdk.Client) -> list[Any]:
    """Return the parts of a client that hold items back."""
    parts = (getattr(client, name, None) for name in COMPONENTS)
    return [part for part in parts if part is not None]


def flush_components(parts: list[Any]) -> None:
    """Send what the parts hold back. Never raises."""
    for part in parts:
        with capture_internal_exceptions():
            part.flush()


def end_components(parts: list[Any]) -> None:
    """Send what the parts hold back, and end their threads. Never raises."""
    flush_components(parts)
    for part in parts:
        with capture_internal_exceptions():
            part.kill()


def take_monitor(new: sentry_sdk.Client, old: sentry_sdk.Client) -> None:
    """Give `new` the back-pressure monitor of `old`, with its thread.

    Otherwise the thread of the old monitor would sleep for up to 10 s before it ends.
    """
    monitor = getattr(old, "monitor", None)
    if monitor is None:
        return
    with capture_internal_exceptions():
        if new.monitor is None or new.transport is None:
            monitor.kill()
        else:
            monitor.transport = new.transport
            new.monitor, old.monitor = monitor, None


def give_monitor(client: Client, previous: Client) -> None:
    """Give a client its own monitor, which `take_monitor` may replace."""
    model = previous.monitor
    if model is not None:
        client.idle_monitor = copy.copy(model)
        client.idle_monitor.transport = None
    client.monitor = None
    if client.transport is None or not client.options["enable_backpressure_handling"]:
        return
    if client.idle_monitor is None:
        client.monitor = Monitor(client.transport)
        return
    client.monitor = monitor = anew(client.idle_monitor)
    vars(monitor).update(
        transport=client.transport, _running=True, _healthy=True, _downsample_factor=0
    )
