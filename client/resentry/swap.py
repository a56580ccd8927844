"""A new Sentry client in, the old one drained: the step that loses nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sentry_sdk

from resentry.outlet import Outlet
from resentry.sampling import Sampler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentry_sdk import Client
    from sentry_sdk.envelope import Envelope

    from resentry.contract import Snapshot
    from resentry.values import Effective

MANAGED = frozenset(
    {
        "dsn",
        "environment",
        "release",
        "sample_rate",
        "traces_sample_rate",
        "profiles_sample_rate",
        "send_default_pii",
        "transport",
    }
)
"""Options that the snapshot decides, so an application cannot pass them."""

GRACE_SECONDS = 0.05
"""How long a thread may still be between fetching the old client and using it."""

# The SDK's default of 100 drops most of a burst long before a swap could lose any.
_QUEUE_SIZE = 1000


def build(
    effective: Effective,
    role: str,
    options: Mapping[str, Any],
    snapshot: Snapshot | None,
    previous: Client | None,
) -> Client:
    """Return a client for the effective values; the current one is left alone.

    Integrations are installed once per process, so a later client gets the
    instances of the `previous` one. Raises what `sentry_sdk.Client` raises.
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
    if values["SENTRY_SEND_PII"]:  # even False makes the SDK warn of deprecation
        arguments["send_default_pii"] = True
    if snapshot is not None and (snapshot.rules or snapshot.boosts):
        arguments["traces_sampler"] = Sampler(
            snapshot,
            role,
            rate=values["SENTRY_TRACES_SAMPLE_RATE"],
            otherwise=options.get("traces_sampler"),
        )
    if previous is not None:
        arguments |= {
            "integrations": list(previous.integrations.values()),
            "default_integrations": False,
            "auto_enabling_integrations": False,
        }
        if arguments["release"] is None:  # else the SDK asks git, at every swap
            arguments["release"] = previous.options["release"]
    return sentry_sdk.Client(**arguments)


class Retirement:
    """An old client on its way out. Call `step` until it returns true."""

    def __init__(self, client: Client, successor: Client) -> None:
        self._client = client
        self._began = time.monotonic()
        self._flushed = False
        # Late logs, metrics and sessions go straight to the successor's batchers.
        self._components = [
            part
            for part in (
                client.log_batcher,
                client.metrics_batcher,
                client.span_batcher,
            )
            if part is not None
        ]
        client.log_batcher = successor.log_batcher
        client.metrics_batcher = successor.metrics_batcher
        client.span_batcher = successor.span_batcher or client.span_batcher
        self._sessions = client.session_flusher
        client.session_flusher = successor.session_flusher

    @property
    def outlet(self) -> Outlet | None:
        """The old client's transport; `None` if it had no DSN."""
        transport = self._client.transport
        return transport if isinstance(transport, Outlet) else None

    def step(self) -> bool:
        """Do what can be done without waiting; say whether all has been sent."""
        if not self._flushed:
            if time.monotonic() - self._began < GRACE_SECONDS:
                return False
            self._flush()
        if self.outlet is None:
            return True
        if self.outlet.pending:
            return False
        self.outlet.dispose()
        return True

    def _flush(self) -> None:
        self._flushed = True
        for part in (self._sessions, *self._components):
            part.flush()
            part.kill()
        if self._client.monitor is not None:
            self._client.monitor.kill()
        if self.outlet is not None:
            self.outlet.retire(_to_current)


def _to_current(envelope: Envelope) -> None:
    """Hand a late envelope to the client that is current; none means off."""
    transport = sentry_sdk.get_global_scope().client.transport
    if isinstance(transport, Outlet):
        transport.capture_envelope(envelope)
