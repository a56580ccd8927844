"""Simple swaps for an unsupported sentry-sdk: they use only its public names.

An event that is captured on an old client is still sent to the old DSN. An event that the
old DSN refuses or never accepts is lost, as with sentry-sdk alone.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.consts import DEFAULT_OPTIONS

from resentry import clock
from resentry.harmless import say

if TYPE_CHECKING:
    from collections.abc import Callable


class _Kept(sentry_sdk.Client):
    """A client whose `close` keeps the transport, so that a late capture is still sent."""

    is_of_resentry = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "transport" or value is not None or name not in self.__dict__:
            super().__setattr__(name, value)


def new_client(
    arguments: dict[str, Any], previous: sentry_sdk.Client | None, *, pii: bool
) -> sentry_sdk.Client:
    """Build a client with the SDK's own transport, without options that the SDK lacks.

    After a `previous` client, nothing that is done once per process is done again.
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
            "resentry: options left out, because this sentry-sdk lacks them: %s",
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
    """Return a sampler that decides as the SDK does without a sampler; `None` is off."""

    def decide(context: dict[str, Any]) -> float | bool:
        parent = context.get("parent_sampled")
        if rate is None:
            return False
        return rate if parent is None else bool(parent)

    return decide


class Retirement:
    """Closes an old client once no thread can still be about to use it."""

    def __init__(self, old: sentry_sdk.Client, grace: float, drain: float) -> None:
        self._old = old
        self._at = math.inf
        self._grace, self._drain = grace, drain

    def begin(self) -> None:
        """Count the time from now on: the old client is no longer current."""
        self._at = clock.monotonic() + self._grace

    def step(self) -> bool:
        """Close the old client if it is time; return whether it is closed."""
        if clock.monotonic() < self._at:
            return False
        self.finish()
        return True

    @property
    def is_late(self) -> bool:
        """Whether the time for the retirement is over."""
        return clock.monotonic() >= self._at

    def finish(self) -> None:
        """Send what the client holds, and end its threads."""
        self._old.close(timeout=self._drain)
