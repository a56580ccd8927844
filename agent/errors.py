"""The errors of the agent. Each class says what the agent does next.

                        exit   what the agent does next
AgentError               70    a command ends; the daemon logs it and goes on
├── SettingsError        78    stop at once: only an operator can correct it
├── SourceError                keep the last good, and ...
│   ├── SourceDown       69    ... retry soon (network, 5xx, sealed, deadline)
│   │   └── SourceStale  72    ... retry soon, over a new connection
│   ├── SourceDenied     77    ... retry at the next poll (401, 403)
│   └── SourceMissing    66    ... retry at the next poll (404)
├── CandidateRefused     65    keep the last good until the source changes
├── CandidateWaits       73    keep the last good until its DSN check has a verdict
├── RollbackHeld         71    keep what an operator's rollback holds
├── PublishError         74    retry the whole pass soon (disk full, read-only)
│   └── VolumeBusy       75    do not start, or wait if the volume holds a snapshot
├── WishRefused           1    change nothing, and tell the operator why
│   └── Busy             68    ... and when to try again
├── RequestUnknown             tell the operator that agent and command differ
└── AgentAway            76    tell the operator that no daemon answers
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.redact import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT_LIMIT = 4000
"""The characters of an error: logs and status repeat it."""
UNEXPECTED = "unexpected internal error: the traceback is in the agent's log"
REPORT = "this is a bug in resentry: please report it, with the agent's log"
"""The hint of an error that neither the source nor the volume nor an operator made."""


def _shown(text: str) -> str:
    """Return a text as an error may show it: without secrets, and not too long."""
    if len(text) > 2 * TEXT_LIMIT:  # at a space: half a secret has no form
        text = text[: 2 * TEXT_LIMIT].rpartition(" ")[0] + " …"
    masked: str = redact(text)
    return masked if len(masked) <= TEXT_LIMIT else f"{masked[:TEXT_LIMIT]} …"


class AgentError(Exception):
    """Unexpected internal error (a bug in resentry).

    In every class, `what` says what is wrong, and `hint` says what to do about it.
    Neither ever quotes a secret: what has the form of one is masked here. A text that
    others have made long is cut.
    """

    exit_code = 70
    retry_soon = False
    """Whether the next pass comes after a back-off, before the interval is over."""

    def __init__(
        self, what: str, hint: str = "", *, retry_after: float | None = None
    ) -> None:
        self.what = _shown(what)
        self.hint = _shown(hint)
        self.retry_after = retry_after
        """The seconds after which a server wants to be asked again, if it named any."""
        super().__init__(self.what)


def unexpected() -> AgentError:
    """Return the error for an exception of ours, whose traceback was logged."""
    return AgentError(UNEXPECTED, REPORT)


class SettingsError(AgentError):
    """The agent's own settings are wrong."""

    exit_code = 78


class SourceError(AgentError):
    """The source could not be read."""


class SourceDown(SourceError):
    """The source cannot answer now."""

    exit_code = 69
    retry_soon = True


class SourceStale(SourceDown):
    """The source gave an older version than it gave before."""

    exit_code = 72


class SourceDenied(SourceError):
    """The source refuses access."""

    exit_code = 77


UNDELETE = "vault kv undelete"
"""How the hint for a deleted version of a secret begins."""


class SourceMissing(SourceError):
    """The source has no secret at this path."""

    exit_code = 66


class CandidateRefused(AgentError):
    """The values at the source must not be published."""

    exit_code = 65

    def __init__(
        self, problems: Sequence[str], fingerprint: str, hint: str = ""
    ) -> None:
        super().__init__(
            "; ".join(problems),
            hint
            or "correct the values at the source, or a setting that the message names",
        )
        self.problems = tuple(map(_shown, problems))
        self.fingerprint = fingerprint


class CandidateWaits(AgentError):
    """The candidate is good, but its DSN check has no verdict yet."""

    exit_code = 73

    def __init__(self, what: str, fingerprint: str) -> None:
        super().__init__(
            what,
            "wait: the agent publishes or refuses the candidate at the verdict, at the "
            "latest after RESENTRY_DSN_CHECK_SECONDS; resentry-agent status shows it",
        )
        self.fingerprint = fingerprint


class RollbackHeld(AgentError):
    """A rollback is held, so what the source holds is not published."""

    exit_code = 71


class PublishError(AgentError):
    """The volume could not be read or written. The last snapshot stays published."""

    exit_code = 74
    retry_soon = True


class VolumeBusy(PublishError):
    """Another agent holds the volume's lock."""

    exit_code = 75


class WishRefused(AgentError):
    """The agent refuses what an operator asked for."""

    exit_code = 1


class Busy(WishRefused):
    """Another verification runs or has just ended: try again a little later."""

    exit_code = 68


class RequestUnknown(AgentError):
    """The agent does not know what a command asks for."""

    def __init__(self) -> None:
        super().__init__(
            "this agent does not know the request",
            "use the resentry-agent of the same version as the agent",
        )


class AgentAway(AgentError):
    """No daemon answers at the control socket."""

    exit_code = 76
