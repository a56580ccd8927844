"""What a target is asked for, and what runs in it: values, each replaced as a whole."""

from __future__ import annotations

import logging
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from resentry.contract import fingerprint, signal_number
from resentry.harmless import say
from resentry.reader import NOWHERE, Volume
from resentry.swap import MANAGED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentry_sdk import Client

    from resentry.contract import Snapshot
    from resentry.values import Effective


class Plan(NamedTuple):
    """What the application has asked for."""

    role: str = ""
    options: Mapping[str, Any] = MappingProxyType({})
    environ: Mapping[str, str] = MappingProxyType({})
    volume: Volume = NOWHERE
    signal: int | None = None
    problem: str | None = None
    """What of it could not be used as it was."""


class Running(NamedTuple):
    """What runs in this process, since when, and what the swap took."""

    snapshot: Snapshot | None
    effective: Effective
    client: Client
    since: str
    swap_ms: float

    @property
    def dsn(self) -> str:
        """The fingerprint of the DSN that the client sends by; empty for none."""
        return fingerprint(self.client.dsn or "")


class Refusal(NamedTuple):
    """A snapshot that could not be applied (by revision and sequence), and why."""

    name: tuple[str, int] | None
    reason: str


def plan(role: object, options: Mapping[str, Any], environ: Mapping[str, str]) -> Plan:
    """Return what can be done of what `init` was given; the rest is logged."""
    for name in sorted(MANAGED & options.keys()):
        text = "resentry decides the Sentry option %r; yours is ignored"
        say(logging.WARNING, text, name)
    name, problem = _role(role)
    return Plan(
        name,
        {key: value for key, value in options.items() if key not in MANAGED},
        environ,
        Volume.from_environ(environ),
        _signal(environ.get("RESENTRY_SIGNAL", "")),
        problem,
    )


def _role(given: object) -> tuple[str, str | None]:
    role = re.sub(r"[^A-Za-z0-9_.-]", "_", given)[:64] if isinstance(given, str) else ""
    if role and role == given:
        return role, None
    role = role or "api"
    shown = repr(given[:64]) if isinstance(given, str) else f"of {type(given).__name__}"
    problem = (
        f"role {shown} is not usable: it must have 1 to 64 letters, digits "
        f"or any of _.-; this process has role {role!r}"
    )
    say(logging.WARNING, "resentry: %s", problem)
    return role, problem


def _signal(text: str) -> int | None:
    try:
        return signal_number(text)
    except ValueError as error:
        say(logging.WARNING, "resentry: %s; watching serves", error)
        return None
