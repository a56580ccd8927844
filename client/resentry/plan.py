"""What a target is asked for, and what runs in it: values, each replaced as a whole."""

from __future__ import annotations

import logging
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from resentry.contract import fingerprint, signal_number
from resentry.harmless import say, text_of
from resentry.options import checked
from resentry.reader import NOWHERE, SharedDir
from resentry.swap import MANAGED, VARIABLES
from resentry.values import show_dsn

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
    volume: SharedDir = NOWHERE
    signal: int | None = None
    problems: tuple[str, ...] = ()
    """What of it could not be used as it was."""

    def without(self, options: Mapping[str, Any], problems: list[str]) -> Plan:
        """Return a plan with these of its options alone, and what is wrong with others."""
        return self._replace(options=options, problems=(*self.problems, *problems))

    def tell(self, since: Plan | None = None) -> None:
        """Log what could not be used; `since` another plan of which that was told."""
        for problem in self.problems[len(since.problems) if since else 0 :]:
            say(logging.WARNING, "resentry: %s", problem)


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

    @property
    def revision(self) -> str | None:
        """The snapshot's name."""
        return self.snapshot.revision if self.snapshot else None

    def tell(self, role: str) -> None:
        """Log that it runs."""
        dsn = self.effective.values["SENTRY_DSN"]
        text = "resentry: runs %s, role %s, DSN %s"
        name = f"revision {self.revision}" if self.snapshot else "no snapshot"
        say(logging.INFO, text, name, role, show_dsn(dsn))


class Refusal(NamedTuple):
    """A snapshot that could not be applied (by revision and sequence), and why."""

    name: tuple[str, int] | None
    reason: str


def plan(role: object, options: Mapping[str, Any], environ: Mapping[str, str]) -> Plan:
    """Return what can be done of what `init` was given; the rest is logged."""
    for name in sorted(MANAGED & options.keys()):
        text = "resentry decides the Sentry option %r: yours is ignored%s"
        variable = VARIABLES.get(name)
        say(logging.WARNING, text, name, f"; set {variable}" if variable else "")
    kept = {key: value for key, value in options.items() if key not in MANAGED}
    usable, problems = checked(kept)
    name, unusable = _role(role)
    made = Plan(
        name,
        usable,
        environ,
        SharedDir.from_environ(environ),
        _signal(environ.get("RESENTRY_SIGNAL", "")),
        tuple(filter(None, (unusable, *problems))),
    )
    made.tell()
    return made


def describe(effective: Effective, error: BaseException) -> str:
    """Write an exception down, without the DSN."""
    return text_of(error).replace(effective.values["SENTRY_DSN"] or "\0", "DSN")


def _role(given: object) -> tuple[str, str | None]:
    """Return the role, and what is wrong with what was given: it is not quoted."""
    role = re.sub(r"[^A-Za-z0-9_.-]", "_", given)[:64] if isinstance(given, str) else ""
    if role and role == given:
        return role, None
    if isinstance(given, str) and "://" in given:  # as `sentry_sdk.init` is given a DSN
        return "api", (
            "the first argument of init is the role, no DSN: that comes from SENTRY_DSN; "
            "this process has role 'api'"
        )
    role = role or "api"
    problem = (
        "the role is not usable: it must have 1 to 64 letters, digits or any of _.-; "
        f"this process has role {role!r}"
    )
    return role, problem


def _signal(text: str) -> int | None:
    try:
        return signal_number(text)
    except ValueError as error:
        say(logging.WARNING, "resentry: %s; watching serves", error)
        return None
