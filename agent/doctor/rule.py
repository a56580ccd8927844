"""What a rule is: one thing that can be wrong, how to see it, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.doctor.facts import Facts

Area = Literal[
    "settings",
    "vault",
    "rotation",
    "secret",
    "guard-rails",
    "volume",
    "targets",
    "sentry",
    "rates",
    "privacy",
    "clock",
    "versions",
    "bridge",
]
Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""The worst first."""


_WAKE: dict[Area, str] = {
    **dict.fromkeys(
        ("settings", "volume", "clock"),
        "Wake who runs the pod, if applications lack Sentry now.",
    ),
    **dict.fromkeys(
        ("vault", "rotation", "secret", "guard-rails", "rates", "privacy"),
        "Wake who has changed the secret or the settings last, if applications lack Sentry "
        "now.",
    ),
    "sentry": "Wake who runs Sentry, or the network.",
    "bridge": "Wake who runs the bridge, or Alertmanager.",
    **dict.fromkeys(
        ("targets", "versions"),
        "Wake who runs the application, if its errors must be seen before the morning.",
    ),
}
"""Whom an error of an area concerns, unless a rule says more."""


class SkippedError(Exception):
    """The rule does not apply here, or its cause was left out by choice; says why."""


class UnknownError(Exception):
    """The rule could not be examined; says why."""


class Sight(NamedTuple):
    """One thing that a rule has found."""

    subject: str
    """The setting, path, process, DSN or role that it is about."""
    detail: str
    """What was seen, in one sentence."""
    evidence: tuple[str, ...] = ()
    """Facts behind it. They hold no secret."""
    since: str = ""
    """Since when, as ISO text; empty if that is not known."""
    fix: str = ""
    """What to type, if the rule's own `fix` does not fit."""
    severity: Severity | None = None
    """How bad it is, if it is worse than the rule's own severity."""


class Rule(NamedTuple):
    """One thing that can be wrong.

    `causes` are ids of rules. If one of them has found something, what this rule finds
    follows from it.
    """

    id: str
    name: str
    area: Area
    severity: Severity
    title: str
    fix: str
    causes: tuple[str, ...]
    look: Callable[[Facts], Iterable[Sight]]

    @property
    def text(self) -> str:
        """The runbook's entry: what it means, and whom to wake."""
        import inspect  # noqa: PLC0415 - `--explain` alone needs it

        text = inspect.cleandoc(self.look.__doc__ or "")
        if "Wake " in text:
            return text
        wake = _WAKE[self.area] if self.severity == "error" else "Wake nobody."
        return f"{text}\n\n{wake}"

    @property
    def see(self) -> str:
        """The command that shows a problem of this rule."""
        return f"resentry-agent doctor --area {self.area}"


def rule(  # noqa: PLR0913 - the columns of a table
    id_: str,
    name: str,
    severity: Severity,
    area: Area,
    title: str,
    *,
    fix: str,
    causes: tuple[str, ...] = (),
) -> Callable[[Callable[[Facts], Iterable[Sight]]], Rule]:
    """Make a rule of the function that looks for it."""
    return lambda look: Rule(id_, name, area, severity, title, fix, causes, look)
