"""Builds the new Sentry client and retires the old one, without losing an event."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from typing import TYPE_CHECKING, Any

from sentry_sdk.consts import DEFAULT_OPTIONS

from resentry import clock, error_sampling, fallback, sampling
from resentry.error_sampling import ErrorSampler, error_sampler_of
from resentry.harmless import say
from resentry.outlet import Outlet
from resentry.sampling import Sampler, sampler_of
from resentry.sdk import build as made
from resentry.sdk import client as sdk
from resentry.sdk import parts, profiles, tracing
from resentry.sdk.versions import IS_PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeAlias

    from sentry_sdk import Client

    from resentry.contract import Snapshot
    from resentry.effective import Effective
    from resentry.process import Home

VARIABLES = {
    "dsn": "SENTRY_DSN",
    "environment": "SENTRY_ENVIRONMENT",
    "release": "SENTRY_RELEASE",
    "sample_rate": "SENTRY_SAMPLE_RATE",
    "traces_sample_rate": "SENTRY_TRACES_SAMPLE_RATE",
    "profiles_sample_rate": "SENTRY_PROFILES_SAMPLE_RATE",
    "send_default_pii": "SENTRY_SEND_PII",
}
"""Options that the snapshot decides, each by this variable."""
OPTIONAL = {
    "profile_session_sample_rate": "SENTRY_PROFILE_SESSION_SAMPLE_RATE",
    "enable_logs": "SENTRY_ENABLE_LOGS",
}
"""Options that the snapshot decides only where this variable is set."""
MANAGED = frozenset({*VARIABLES, "transport"})
"""Options that an application cannot pass."""

GRACE_SECONDS = 0.05
"""How long a thread may still be between fetching the old client and using it."""

DRAIN_SECONDS = 5.0
"""After this time the new DSN gets what the old DSN has not accepted."""
STALL_SECONDS = 5.0
"""Events that may not go to the new DSN are given up when the old DSN has accepted
nothing for this long."""
LAST_SECONDS = 60.0
"""Such events are given up after this time in any case."""
RETIRING_LOOK_SECONDS = 0.02
"""Pause between two steps of a retirement."""

_GATE_SECONDS = 2.0
"""`init` waits this long for a client that another thread builds, then builds its own."""

# The SDK's default of 100 drops most of a burst long before a swap could lose any.
_QUEUE_SIZE = 1000


class SupersededError(Exception):
    """`init` was called while this client was built, so this client is not used."""


@contextlib.contextmanager
def building(home: Home, *, explicitly: bool) -> Iterator[None]:
    """Let only one thread build a client. Nothing is logged inside: a handler may wait.

    A build that hangs holds the gate for ever. Then `init` makes a new gate, and the
    client of the hung build is thrown away.
    """
    gate = home.gate
    if not gate.acquire(timeout=_GATE_SECONDS):
        if not explicitly:
            raise TimeoutError(
                f"another thread builds a client for over {_GATE_SECONDS:g} s"
            )
        gate = home.gate = threading.RLock()
        gate.acquire()
    try:
        yield
    finally:
        gate.release()


def build(
    effective: Effective,
    role: str,
    options: Mapping[str, Any],
    snapshot: Snapshot | None,
    previous: Client | None,
) -> Client:
    """Return a client for the effective values. The current client is not touched.

    After a `previous` client, only the values differ: the new client has the same options
    of the application. Raises what `sentry_sdk.Client` raises.
    """
    values = effective.values
    on = role != "celery" or values["SENTRY_ENABLE_FOR_CELERY"]
    arguments: dict[str, Any] = {"transport_queue_size": _QUEUE_SIZE, **options}
    arguments |= {
        # None would fall back to the environment's SENTRY_DSN.
        "dsn": values["SENTRY_DSN"] if on else "",
        "environment": values["SENTRY_ENVIRONMENT"],
        "release": values["SENTRY_RELEASE"] or None,
        "sample_rate": values["SENTRY_SAMPLE_RATE"],
        "traces_sample_rate": values["SENTRY_TRACES_SAMPLE_RATE"],
        "profiles_sample_rate": values["SENTRY_PROFILES_SAMPLE_RATE"],
        "transport": Outlet,
    }
    if not values["SENTRY_SEND_PII"]:
        from resentry.scrub import hooks  # noqa: PLC0415 - takes 4 ms

        arguments |= hooks(options, made.hook_places(options))
    arguments |= _optional(values)
    sampler, own = None, options.get("traces_sampler")
    if snapshot is not None and sampling.needs_one(snapshot):
        sampler = Sampler(snapshot, role, sampler_of(previous))
        if IS_PLAIN and not callable(own):
            own = fallback.traces_sampler(values["SENTRY_TRACES_SAMPLE_RATE"])
        if callable(own):
            arguments["traces_sampler"] = sampler.before(own)
            if not IS_PLAIN:
                tracing.count(sampler)
    if snapshot is not None and error_sampling.needs_one(snapshot):
        own_errors = options.get("error_sampler")
        arguments["error_sampler"] = ErrorSampler(
            snapshot,
            role,
            own_errors if callable(own_errors) else values["SENTRY_SAMPLE_RATE"],
            error_sampler_of(previous),
        )
    pii = values["SENTRY_SEND_PII"]
    client: Client
    if IS_PLAIN:
        client = fallback.new_client(arguments, previous, pii=pii)
    elif isinstance(previous, sdk.Client):
        client = made.successor(previous, arguments, pii=pii)
    else:
        client = made.new_client(options, arguments, pii=pii)
    if sampler is not None and not callable(own):
        tracing.follow(client, sampler)
    return client


def _optional(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options whose variables are set, without what this SDK lacks."""
    found = {name: values[variable] for name, variable in OPTIONAL.items()}
    given = {name: value for name, value in found.items() if value is not None}
    if given.get("enable_logs") is False:
        # New versions send what `sentry_sdk.logger` writes whatever the option says.
        given["before_send_log"] = _drop
    for name in given.keys() - DEFAULT_OPTIONS.keys():
        del given[name]
        text = "resentry: this sentry-sdk has no option %r: %s has no effect"
        say(logging.WARNING, text, name, OPTIONAL.get(name, "SENTRY_ENABLE_LOGS"))
    return given


def _drop(_item: Any, _hint: Any) -> None:
    """Let nothing pass; the SDK counts it in its client reports."""


def discard(new: Client, old: Client | None) -> None:
    """End a new client that does not become current. The old client stays."""
    if old is not None and isinstance(old.transport, Outlet):
        old.transport.stop_leaving()
    parts.end_components(parts.components(new))
    if isinstance(new.transport, Outlet):
        new.transport.close()


def retirement(old: Client, new: Client) -> Retiring:
    """Announce the end of the old client. Call `begin` once the new one is current."""
    if IS_PLAIN:
        return fallback.Retirement(old, GRACE_SECONDS, DRAIN_SECONDS)
    return Retirement(old, new)


class Retirement:
    """Drains an old client: call `begin`, then `step` until it returns true.

    From the start, a `flush` of the new client also waits for what the old client holds.
    """

    def __init__(self, old: Client, new: Client) -> None:
        self._outlet = old.transport if isinstance(old.transport, Outlet) else None
        self._old, self._new = old, new
        self._held: list[Any] = []
        self._began = math.inf
        self._is_retired = self._is_reported = False
        if self._outlet is not None:
            self._outlet.announce_successor()

    def begin(self) -> None:
        """Begin to drain the old client, which is no longer current."""
        self._held = parts.components(self._old)
        parts.take_monitor(self._new, self._old)
        sdk.retire(self._old)
        self._began = clock.monotonic()

    def step(self) -> bool:
        """Do what can be done without waiting; return whether the old client is done."""
        age = clock.monotonic() - self._began
        parts.flush_components(self._held)
        if self._outlet is not None:
            self._outlet.start_heir()
        if age < GRACE_SECONDS or (sdk.is_capturing(self._old) and age < LAST_SECONDS):
            return False
        self._retire()
        outlet = self._outlet
        if outlet is not None and (outlet.pending or self._reports(outlet)):
            if not self._is_out_of_time(outlet, age):
                return False
            outlet.hand_over_queue()
        try:
            profiles.end_idle()
        except RuntimeError:  # its thread starts just now: the next step has it
            return False
        self._close()
        return True

    @property
    def is_late(self) -> bool:
        """Whether the time for the retirement is over."""
        return clock.monotonic() - self._began >= LAST_SECONDS

    def finish(self) -> None:
        """Hand over at once all that another client can send: the process ends."""
        self._retire()
        if self._outlet is not None and self._outlet.heir is not None:
            self._outlet.hand_over_queue()
        if self._outlet is not None:
            self._reports(self._outlet)
        self._close()

    def _retire(self) -> None:
        if not self._is_retired:
            self._is_retired = True
            if self._outlet is not None:
                self._outlet.retire()

    def _reports(self, outlet: Outlet) -> bool:
        """Queue a report of what was lost, once; return whether there is a report."""
        if self._is_reported:
            return False
        self._is_reported = True
        return outlet.report()

    def _close(self) -> None:
        parts.end_components(self._held)  # with what a thread has added meanwhile
        if self._outlet is not None:
            self._outlet.close()

    def _is_out_of_time(self, outlet: Outlet, age: float) -> bool:
        """Whether the old DSN's time to accept the rest of the queue is over."""
        if outlet.heir is not None:
            return age >= DRAIN_SECONDS
        return age >= LAST_SECONDS or min(age, outlet.idle_seconds) >= STALL_SECONDS


Retiring: TypeAlias = Retirement | fallback.Retirement
