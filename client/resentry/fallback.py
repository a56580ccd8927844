"""Where sentry-sdk is not one that we know: swaps that use its public names alone.

Captures on an old client are still sent, to the old DSN. What that refuses, or never
takes, is lost, as it is without us.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.consts import DEFAULT_OPTIONS

from resentry import clock
from resentry.harmless import say

if TYPE_CHECKING:
    from collections.abc import Callable


class _Kept(sentry_sdk.Client):
    """A client whose `close` leaves the transport in place, so that a late capture goes."""

    is_of_resentry = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "transport" or value is not None or name not in self.__dict__:
            super().__setattr__(name, value)


def new_client(
    arguments: dict[str, Any], previous: sentry_sdk.Client | None, *, pii: bool
) -> sentry_sdk.Client:
    """Build a client with the SDK's own transport; what is no option here is left.

    What is done once per process is not done again where there is a `previous` one.
    """
    if previous is not None:
        arguments |= {
            "integrations": list(previous.integrations.values()),
            "default_integrations": False,
            "auto_enabling_integrations": False,
            "functions_to_trace": [],
        }
        if arguments["release"] is None:  # else the SDK asks git
            arguments["release"] = previous.options["release"] or ""
    given = {name: arguments[name] for name in arguments if name in DEFAULT_OPTIONS}
    if arguments.keys() - given.keys():
        say(
            logging.WARNING,
            "resentry: options that this sentry-sdk does not know: %s",
            ", ".join(sorted(arguments.keys() - given.keys())),
        )
    del given["transport"]
    if not given.get("profiles_sample_rate"):  # its presence is warned of
        given.pop("profiles_sample_rate", None)
    if pii:
        given["send_default_pii"] = True
    client = _Kept(**given)
    client.options["release"] = client.options["release"] or None
    client.is_of_resentry = True  # a copy of it is the application's
    return client


def traces_sampler(rate: float | None) -> Callable[[dict[str, Any]], float | bool]:
    """Return a sampler that decides as the SDK does without one; `None` is off."""

    def decide(context: dict[str, Any]) -> float | bool:
        parent = context.get("parent_sampled")
        if rate is None:
            return False
        return rate if parent is None else bool(parent)

    return decide


class Retirement:
    """An old client on its way out: closed, once nobody can be about to use it."""

    def __init__(self, old: sentry_sdk.Client, grace: float, drain: float) -> None:
        self._old = old
        self._at = clock.monotonic() + grace
        self._drain = drain

    def step(self) -> bool:
        """Say whether the old client is done; waits while it sends."""
        if clock.monotonic() < self._at:
            return False
        self.finish()
        return True

    @property
    def is_late(self) -> bool:
        """Whether it has had all the time that it may take."""
        return clock.monotonic() >= self._at

    def finish(self) -> None:
        """Send what it holds, and end its threads."""
        self._old.close(timeout=self._drain)
