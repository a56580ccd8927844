"""Every name of sentry-sdk that is not public stands in this file, and in its test.

It is long because one file is the point: what a new version of the SDK may break is here.

`tests/unit/client/test_client_sdk.py` names them one by one against the oldest and the
newest supported version.
"""

from __future__ import annotations

import contextvars

# urllib3 would import it in the sending thread: a child that is forked meanwhile
# inherits the import lock, and never sends anything.
import encodings.idna  # noqa: F401
import enum
import io
import re
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.envelope import Envelope
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.transport import HttpTransport
from sentry_sdk.utils import capture_internal_exceptions

from resentry.sockets import note_connections

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

try:
    from sentry_sdk.profiler import continuous_profiler, transaction_profiler
except ImportError:  # `missing` says so, and nobody uses them
    continuous_profiler = transaction_profiler = None  # type: ignore[assignment]

OLDEST, BEYOND = (2, 43), (3,)
"""The versions that we know, as `client/pyproject.toml` has them."""

PRIVATE: dict[str, tuple[Any, tuple[str, ...]]] = {
    "HttpTransport": (
        HttpTransport,
        ("_fetch_pending_client_report", "_make_pool", "_request", "_send_envelope"),
    ),
    "continuous_profiler": (continuous_profiler, ("_scheduler", "start_profiler")),
    "transaction_profiler": (
        transaction_profiler,
        ("has_profiling_enabled", "setup_profiler", "teardown_profiler"),
    ),
}
"""What must exist for a swap to lose nothing."""

COMPONENTS = ("log_batcher", "metrics_batcher", "span_batcher", "session_flusher")
"""Attributes of a client that hold items back, and send them through its transport."""


def _version() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", sentry_sdk.VERSION)[:2]))


def missing() -> list[str]:
    """Name what this version of sentry-sdk lacks of it; empty when all is there."""
    names = [
        f"{owner}.{name}"
        for owner, (where, names) in PRIVATE.items()
        for name in names
        if not hasattr(where, name)
    ]
    if not OLDEST <= _version() < BEYOND:
        names.append("a version that is known")
    return names


LACKS = missing()
"""Not empty: `resentry.fallback` serves."""


def described() -> str:
    """Return the version of sentry-sdk, and what it lacks."""
    if not LACKS:
        return str(sentry_sdk.VERSION)
    return f"{sentry_sdk.VERSION}, safe fallback: it lacks {', '.join(LACKS)}"


class Fate(enum.Enum):
    """What became of one envelope."""

    DONE = "sent, or dropped as the SDK drops (rate limits, 5xx)"
    REFUSED = "answered as by a DSN that is revoked: not stored"
    UNSENT = "the connection failed before the whole of it was written: not stored"
    UNKNOWN = "the connection failed after it was written"


_FATES = {f"status_{code}": Fate.REFUSED for code in (401, 403, 404)}


class Wire(HttpTransport):
    """An `HttpTransport` that sends at once, and says what became of the envelope.

    An envelope of a fate that `keep` accepts is not counted as lost.
    """

    def __init__(self, options: dict[str, Any], keep: Callable[[Fate], bool]) -> None:
        self._keep = keep
        self._fate = Fate.DONE
        self._body: _Body | None = None
        super().__init__(options)
        note_connections(self._pool)

    def send(self, envelope: Envelope) -> Fate:
        """Send one envelope. Never raises."""
        self._fate, self._body = Fate.DONE, None
        with capture_internal_exceptions():
            self._send_envelope(envelope)
        # Losses that the application's threads report meanwhile are real ones.
        fate, self._fate = self._fate, Fate.DONE
        return fate

    def report(self, *, force: bool = False) -> Envelope | None:
        """Return a client report as an envelope, if one is due."""
        item = self._fetch_pending_client_report(force=force)
        return None if item is None else Envelope(items=[item])

    def close(self) -> None:
        """Close the kept connections."""
        pool: Any = self._pool
        pool.clear()

    def on_dropped_event(self, reason: str) -> None:
        """Learn, from the SDK, why the envelope was not sent."""
        if reason == "network":
            written = self._body is not None and self._body.is_read
            self._fate = Fate.UNKNOWN if written else Fate.UNSENT
        else:
            self._fate = _FATES.get(reason, Fate.DONE)

    def record_lost_event(self, *args: Any, **kwargs: Any) -> None:
        """Count a loss for the next client report, unless the envelope is kept."""
        if not self._keep(self._fate):
            super().record_lost_event(*args, **kwargs)

    def _request(
        self,
        method: str,
        endpoint_type: Any,
        body: bytes,
        headers: Mapping[str, str],
    ) -> Any:
        self._body = _Body(body)
        sized = {**headers, "Content-Length": str(len(body))}
        return super()._request(method, endpoint_type, self._body, sized)


class _Body(io.BytesIO):
    """A request's body that knows whether all of it was written to the connection."""

    is_read = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next part; the empty one at the end means all was written."""
        part = super().read(size)
        self.is_read = not part
        return part


def is_report(envelope: Envelope) -> bool:
    """Whether it tells one project what was lost on the way there, and nothing else."""
    return all(item.type == "client_report" for item in envelope.items)


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


def take_monitor(new: sentry_sdk.Client, old: sentry_sdk.Client) -> None:
    """Give `new` the back-pressure monitor of `old`, with its thread.

    The thread of one that is told to end sleeps for up to 10 s more.
    """
    if old.monitor is None:
        return
    if new.monitor is None or new.transport is None:
        old.monitor.kill()
    else:
        old.monitor.transport = new.transport
        new.monitor, old.monitor = old.monitor, None


def set_current(client: sentry_sdk.Client) -> None:
    """Make the client current, in one attribute store."""
    scope = sentry_sdk.get_global_scope()
    if LACKS:
        scope.set_client(client)
        return
    if not client.options["release"] and hasattr(scope, "remove_attribute"):
        # set_client overwrites this attribute only by a release that is set. The oldest
        # versions have no attributes.
        scope.remove_attribute("sentry.release")
    scope.set_client(client)
    if not transaction_profiler.has_profiling_enabled(client.options):
        transaction_profiler.teardown_profiler()  # the SDK never ends its thread


class _Counting(sentry_sdk.Client):
    """A client that knows how many captures are under way in it."""

    def __init__(self, **options: Any) -> None:
        self.under_way: deque[None] = deque()  # safe without a lock
        super().__init__(**options)

    def capture_event(self, *args: Any, **kwargs: Any) -> str | None:
        """Capture as ever; the first event of a process takes 0.1 s and more."""
        self.under_way.append(None)
        try:
            return super().capture_event(*args, **kwargs)
        finally:
            self.under_way.pop()


def is_capturing(client: sentry_sdk.Client) -> bool:
    """Whether some thread is in the middle of capturing an event in the client."""
    return bool(getattr(client, "under_way", ()))


def new_client(arguments: Mapping[str, Any], *, pii: bool) -> sentry_sdk.Client:
    """Build a client; a continuous profile that runs by hand goes on in it.

    The construction of a client ends a running continuous profiler.
    """
    running = bool(getattr(continuous_profiler._scheduler, "running", False))  # noqa: SLF001
    now, later = _without_deprecated(arguments, pii=pii)
    client = _Counting(**now)
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
    if _version() < _DEPRECATING:
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


def start_thread(
    name: str, target: Callable[..., None], *args: Any
) -> threading.Thread:
    """Start a daemon thread in an empty context.

    Else the SDK gives it the scopes of whoever happens to start it, and what we send
    becomes spans and breadcrumbs of that request.
    """
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    contextvars.Context().run(thread.start)
    return thread
