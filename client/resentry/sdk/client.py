"""The library's Sentry client: what it does differently, and how it becomes current."""

from __future__ import annotations

import pkgutil
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import sentry_sdk
from sentry_sdk import integrations
from sentry_sdk.client import BaseClient
from sentry_sdk.integrations import logging
from sentry_sdk.integrations.logging import ignore_logger

from resentry.process import here, on_renewal
from resentry.sdk import profiles
from resentry.sdk.parts import Part
from resentry.sdk.versions import IS_PLAIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentry_sdk.envelope import Envelope

    from resentry.process import Home
    from resentry.sampling import Sampler


class Recipe(NamedTuple):
    """The arguments that a client was made from."""

    given: Mapping[str, Any]
    """The application's own options."""
    arguments: Mapping[str, Any]
    """The application's options and the values of the snapshot."""
    pii: bool


class Client(sentry_sdk.Client):
    """A client that knows how many captures are under way in it."""

    log_batcher = Part()
    metrics_batcher = Part()
    span_batcher = Part()
    session_flusher = Part()
    monitor = Part()

    is_of_resentry = False
    """True only for a client that the library made. A copy belongs to the application."""
    is_retired = False
    """Whether another client is current: then this one uses the other one's parts."""
    under_way: deque[None]
    recipe: Recipe
    sampling: Sampler | None = None
    idle_monitor: Any = None
    """A model for the next monitor, while there is no DSN."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Do what the SDK does, with options that the SDK has already read."""
        self.is_of_resentry = True  # set first, because building the client may fail
        self.under_way = deque()  # safe without a lock
        BaseClient.__init__(self, options)
        self._init_impl()

    def _setup_instrumentation(self, functions_to_trace: Any) -> None:
        """Wrap each function once, even if several clients name it."""
        for function in functions_to_trace:
            name = function["qualified_name"]
            if name not in _traced or _find(name) is not _traced[name]:
                untraced = _find(name)
                super()._setup_instrumentation([function])
                if _find(name) is not untraced:
                    _traced[name] = _find(name)

    def send_envelope(self, envelope: Envelope) -> None:
        """Send what a part or the profiler has held back."""
        spotlight, transport = self.spotlight, self.transport
        if spotlight is not None:
            spotlight.capture_envelope(envelope)
        if transport is not None:
            transport.capture_envelope(envelope)

    def lose_item(self, *args: Any, **kwargs: Any) -> None:
        """Count what a part has dropped."""
        transport = self.transport
        if transport is not None:
            transport.record_lost_event(*args, **kwargs)

    # What has this flag is left out of stack traces by the SDK, with its variables.

    def capture_event(self, *args: Any, **kwargs: Any) -> str | None:
        """Capture an event, and count the capture while it runs: a swap waits for it."""
        __tracebackhide__ = True
        under_way = self.__dict__.setdefault("under_way", deque())  # not in a copy
        under_way.append(None)
        try:
            return super().capture_event(*args, **kwargs)
        finally:
            under_way.pop()

    def flush(self, *args: Any, **kwargs: Any) -> None:
        """Flush as the SDK does, but not when Python ends: there the SDK raises."""
        __tracebackhide__ = True
        if not sys.is_finalizing():
            super().flush(*args, **kwargs)

    def close(self, *args: Any, **kwargs: Any) -> None:
        """Close as the SDK does. At the end of the process, later events are still sent."""
        __tracebackhide__ = True
        if self.is_retired:  # the current client still uses the parts
            self.flush(*args, **kwargs)
            self.transport = None
            return
        transport = self.transport
        super().close(*args, **kwargs)
        if here().ends_at is not None:
            self.transport = transport


_traced: dict[str, Any] = {}
"""The wrapped functions of `functions_to_trace`, by name."""


def _find(name: str) -> Any:
    if "." not in name or ":" in name:  # the SDK would not accept the name
        return None
    try:
        return pkgutil.resolve_name(name)
    except Exception:  # noqa: BLE001 - the SDK itself logs a wrong name
        return None


def retire(client: sentry_sdk.Client) -> None:
    """Let this client use the parts of the current client from now on."""
    if isinstance(client, Client):
        client.is_retired = True


def is_ours(client: object) -> bool:
    """Whether the library made this client."""
    return bool(getattr(client, "is_of_resentry", False))


def is_capturing(client: sentry_sdk.Client) -> bool:
    """Whether a thread is capturing an event in this client."""
    return bool(getattr(client, "under_way", ()))


def forget_captures(client: sentry_sdk.Client) -> None:
    """Count from zero in a forked child: the parent's threads do not exist there."""
    if hasattr(client, "under_way"):
        client.under_way = deque()


def set_current(client: sentry_sdk.Client) -> None:
    """Make the client current by setting one attribute."""
    scope = sentry_sdk.get_global_scope()
    if (
        not IS_PLAIN
        and not client.options["release"]
        and hasattr(scope, "remove_attribute")
    ):
        # set_client replaces this attribute only if the client has a release. The oldest
        # versions have no attributes.
        scope.remove_attribute("sentry.release")
    try:
        scope.set_client(client)
    finally:
        if scope.client is client and isinstance(client, Client):
            profiles.follow(client)


def _renew_locks(_home: Home) -> None:
    """Make new locks in a forked child: a thread that does not exist may hold the old."""
    if not IS_PLAIN:
        integrations._installer_lock = threading.Lock()  # noqa: SLF001


on_renewal(_renew_locks)

# The library's log lines must not become events, breadcrumbs or logs in Sentry.
ignore_logger("resentry")
getattr(logging, "ignore_logger_for_sentry_logs", ignore_logger)("resentry")
