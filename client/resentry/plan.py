"""What the application asked for, and what runs: values that are replaced as a whole."""

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
    from resentry.effective import Effective


class Plan(NamedTuple):
    """What the application has asked for."""

    role: str = ""
    options: Mapping[str, Any] = MappingProxyType({})
    environ: Mapping[str, str] = MappingProxyType({})
    volume: SharedDir = NOWHERE
    signal: int | None = None
    problems: tuple[str, ...] = ()
    """What the application gave that cannot be used, and what happens instead."""
    overruled: tuple[str, ...] = ()
    """The options of the application that the snapshot decides instead."""

    def without(self, options: Mapping[str, Any], problems: list[str]) -> Plan:
        """Return a plan with only these options; `problems` says what is wrong with the rest."""
        return self._replace(options=options, problems=(*self.problems, *problems))

    def log_problems(self, logged: Plan | None = None) -> None:
        """Log each problem, except those that the plan `logged` has too."""
        for problem in self.problems[len(logged.problems) if logged else 0 :]:
            say(logging.WARNING, "resentry: %s", problem)


class Running(NamedTuple):
    """What runs in this process, since when, and how long the swap took: 0 for `init`."""

    snapshot: Snapshot | None
    effective: Effective
    client: Client
    since: str
    swap_ms: float

    @property
    def dsn(self) -> str:
        """The fingerprint of the client's DSN; empty without a DSN."""
        return fingerprint(self.client.dsn or "")

    @property
    def revision(self) -> str | None:
        """The snapshot's name; `None` if the environment variables decide."""
        return self.snapshot.revision if self.snapshot else None

    def log(self, role: str, *, after_error: bool = False) -> None:
        """Log what runs now. Whoever has seen the error before also sees its end."""
        dsn = self.effective.values["SENTRY_DSN"]
        text = "resentry: runs %s, role %s, DSN %s"
        name = f"revision {self.revision}" if self.snapshot else "no snapshot"
        level = logging.WARNING if after_error else logging.INFO
        text += "; the error before is over" if after_error else ""
        say(level, text, name, role, show_dsn(dsn))


class Refusal(NamedTuple):
    """Why a snapshot does not run here; `name` is its revision and sequence."""

    name: tuple[str, int] | None
    reason: str

    def log(self, kept: Running | None) -> None:
        """Log the refusal; `kept` is what runs on, or `None` while `init` decides."""
        if kept is None or self.name is None:
            say(logging.ERROR, "Failed to initialize Sentry: %s", self.reason)
            return
        stays = "the settings of the environment variables stay in use"
        if kept.snapshot is not None:
            stays = f"revision {kept.revision} keeps running"
        text = "resentry: refused revision %s: %s; %s"
        say(logging.ERROR, text, self.name[0], self.reason, stays)


def make_plan(
    role: object, options: Mapping[str, Any], environ: Mapping[str, str]
) -> Plan:
    """Return the usable part of what `init` was given, and log the rest."""
    for name in sorted(MANAGED & options.keys()):
        text = "resentry: the snapshot decides option %r: your value is ignored%s"
        variable = VARIABLES.get(name)
        instead = f"; set {variable} instead" if variable else ""
        say(logging.WARNING, text, name, instead)
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
        tuple(sorted(options.keys() & MANAGED)),
    )
    made.log_problems()
    return made


def describe(effective: Effective, error: BaseException) -> str:
    """Return an exception as text, without the DSN."""
    return text_of(error).replace(effective.values["SENTRY_DSN"] or "\0", "DSN")


def _role(given: object) -> tuple[str, str | None]:
    """Return the role, and what is wrong with the given one. The given one is not quoted."""
    role = re.sub(r"[^A-Za-z0-9_.-]", "_", given)[:64] if isinstance(given, str) else ""
    if role and role == given:
        return role, None
    if isinstance(given, str) and "://" in given:  # as `sentry_sdk.init` is given a DSN
        return "api", (
            "the first argument of init is the role, not the DSN; this process has role "
            "'api'. Next: set SENTRY_DSN, and pass a role."
        )
    role = role or "api"
    problem = (
        "the role is not valid: it must be 1 to 64 letters, digits or any of _.-; "
        f"this process has role {role!r}"
    )
    return role, problem


def _signal(text: str) -> int | None:
    try:
        return signal_number(text)
    except ValueError as error:
        text = "resentry: %s; this process takes no signal, and watches the volume"
        say(logging.WARNING, text, error)
        return None
