"""A Sentry client of ours: how it is built, made current, and taken apart."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk import integrations
from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.utils import capture_internal_exceptions

from resentry.process import here, on_renewal
from resentry.sdk.versions import (
    IS_PLAIN,
    continuous_profiler,
    transaction_profiler,
    version,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resentry.process import Home
    from resentry.sampling import Sampler

COMPONENTS = ("log_batcher", "metrics_batcher", "span_batcher", "session_flusher")
"""Attributes of a client that hold items back, and send them through its transport."""


class _Part:
    """An attribute of a client that is made anew in a process that was forked.

    What it holds is its parent's to send, and its lock may belong to a thread that does
    not exist here.
    """

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = f"_resentry_{name}"

    def __get__(self, client: Any, _owner: type) -> Any:
        if client is None:
            return self
        home, part = client.__dict__.get(self._name, (None, None))
        if part is None or home is here():
            return part
        home = here()
        with home.making:
            made_in, part = client.__dict__[self._name]
            if made_in is not home:
                part = _anew(part)
                client.__dict__[self._name] = home, part
        return part

    def __set__(self, client: Any, part: Any) -> None:
        client.__dict__[self._name] = here(), part


def _anew(part: Any) -> Any:
    """Return an empty part of the same kind, with locks of its own."""
    if hasattr(part, "interval"):
        return type(part)(part.transport, part.interval)
    if hasattr(part, "flush_interval"):
        return type(part)(part.capture_func, part.flush_interval)
    names = ("_capture_func", "_record_lost_func")
    return type(part)(*(getattr(part, name) for name in names if hasattr(part, name)))


class Client(sentry_sdk.Client):
    """A client that knows how many captures are under way in it."""

    log_batcher = _Part()
    metrics_batcher = _Part()
    span_batcher = _Part()
    session_flusher = _Part()
    monitor = _Part()

    is_of_resentry = False
    sampling: Sampler | None = None

    def __init__(self, **options: Any) -> None:
        self.under_way: deque[None] = deque()  # safe without a lock
        super().__init__(**options)

    def capture_event(self, *args: Any, **kwargs: Any) -> str | None:
        """Count the capture while it runs: the first one may outlast a swap's grace."""
        under_way = self.__dict__.setdefault("under_way", deque())  # not in a copy
        under_way.append(None)
        try:
            return super().capture_event(*args, **kwargs)
        finally:
            under_way.pop()

    def flush(self, *args: Any, **kwargs: Any) -> None:
        """Flush as ever, but not while Python takes its modules down: the SDK raises."""
        if not sys.is_finalizing():
            super().flush(*args, **kwargs)

    def close(self, *args: Any, **kwargs: Any) -> None:
        """Close as ever; when the process ends, what comes still later is sent."""
        transport = self.transport
        super().close(*args, **kwargs)
        if here().ends_at is not None:
            self.transport = transport


def is_ours(client: object) -> bool:
    """Whether the library has made that client."""
    return bool(getattr(client, "is_of_resentry", False))


def is_capturing(client: sentry_sdk.Client) -> bool:
    """Whether some thread is in the middle of capturing an event in the client."""
    return bool(getattr(client, "under_way", ()))


def forget_captures(client: sentry_sdk.Client) -> None:
    """Count from zero in a forked child: the parent's threads do not go on here."""
    if hasattr(client, "under_way"):
        client.under_way = deque()


def components(client: sentry_sdk.Client) -> list[Any]:
    """The parts of a client that hold items back."""
    found = (getattr(client, name, None) for name in COMPONENTS)
    return [part for part in found if part is not None]


def redirect_components(old: sentry_sdk.Client, new: sentry_sdk.Client) -> None:
    """Let what is captured on `old` from now on be held by the parts of `new`."""
    for name in COMPONENTS:
        part = getattr(new, name, None)
        if part is not None and getattr(old, name, None) is not None:
            setattr(old, name, part)


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

    The thread of one that is told to end sleeps for up to 10 s more.
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


def set_current(client: sentry_sdk.Client) -> None:
    """Make the client current, in one attribute store."""
    scope = sentry_sdk.get_global_scope()
    if (
        not IS_PLAIN
        and not client.options["release"]
        and hasattr(scope, "remove_attribute")
    ):
        # set_client overwrites this attribute only by a release that is set. The oldest
        # versions have no attributes.
        scope.remove_attribute("sentry.release")
    scope.set_client(client)


def end_idle_profiler() -> None:
    """End the thread of the transaction profiler where nothing is profiled any more.

    The SDK never does. Raises RuntimeError while that thread is being started: then it
    has to be asked for again.
    """
    options = sentry_sdk.get_global_scope().client.options
    if not IS_PLAIN and not transaction_profiler.has_profiling_enabled(options):
        transaction_profiler.teardown_profiler()


def new_client(arguments: Mapping[str, Any], *, pii: bool) -> sentry_sdk.Client:
    """Build a client; a continuous profile that runs by hand goes on in it.

    The construction of a client ends a running continuous profiler, also where it fails.
    """
    profiler = continuous_profiler._scheduler  # noqa: SLF001
    running = bool(getattr(profiler, "running", False))
    now, later = _without_deprecated(arguments, pii=pii)
    try:
        client = Client(**now)
    except BaseException:
        continuous_profiler._scheduler = profiler  # noqa: SLF001
        if running:
            continuous_profiler.start_profiler()
        raise
    client.is_of_resentry = True  # a copy of it is the application's
    client.options.update(later)
    if later.get("profiles_sample_rate"):
        transaction_profiler.setup_profiler(client.options)
    if running:
        continuous_profiler.start_profiler()
    return client


def hook_places(options: Mapping[str, Any]) -> dict[str, bool]:
    """Name the hooks that see something last; false for one that is no option yet.

    In the oldest versions `before_send_metric` stands in `_experiments`.
    """
    names = ["before_send", "before_send_transaction", "before_send_log"]
    names.append("before_send_metric")
    experiments = options.get("_experiments") or {}
    if "stream" in (options.get("trace_lifecycle"), experiments.get("trace_lifecycle")):
        names.append("before_send_span")  # without streaming, its presence is warned of
    return {name: name in DEFAULT_OPTIONS for name in names}


_DEPRECATING = (2, 72)
"""Since then a client that is built with `send_default_pii`, even False, or with a
`profiles_sample_rate` warns of deprecation. `data_collection`, which stands in for the
former, is an option since 2.70; with it, an `event_scrubber` is warned of and dropped.
"""


def _without_deprecated(
    arguments: Mapping[str, Any], *, pii: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what to build the client with, and what to set in it then.

    An application's own `data_collection` says what is collected: `pii` adds nothing.
    """
    now, later = dict(arguments), dict[str, Any]()
    experiments = now.get("_experiments") or {}
    if (now.get("data_collection"), experiments.get("data_collection")) != (None, None):
        pii = False
    if version() < _DEPRECATING:
        if pii:
            now["send_default_pii"] = True
        return now, later
    later["profiles_sample_rate"] = now.pop("profiles_sample_rate", None)
    if pii:
        # What is left out is collected.
        now["data_collection"] = {
            "stack_frame_variables": now.get("include_local_variables") is not False,
            "frame_context_lines": now.get("include_source_context") is not False,
        }
        own = now.pop("event_scrubber", None)
        later["event_scrubber"] = own or EventScrubber(send_default_pii=True)
        later["send_default_pii"] = True  # for integrations that ask for it alone
    return now, later


def _renew_locks(_home: Home) -> None:
    """Free what a thread that does not exist here may hold: the child builds clients."""
    if not IS_PLAIN:
        integrations._installer_lock = threading.Lock()  # noqa: SLF001


on_renewal(_renew_locks)
