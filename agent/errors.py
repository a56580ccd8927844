"""Everything that can go wrong, by what the agent does next.

                        exit   what the agent does next
AgentError               70    end with a traceback; as a daemon, go on
├── SettingsError        78    stop at once: only an operator can mend it
├── SourceError                keep the last good, and ...
│   ├── SourceDown       69    ... try again soon (network, 5xx, sealed, deadline)
│   ├── SourceDenied     77    ... try again slowly, say it loudly (401, 403)
│   └── SourceMissing    66    ... try again slowly (404)
├── CandidateRefused     65    keep the last good until the source changes
├── CandidateWaits       73    keep the last good until its DSN check has a verdict
├── PublishError         74    repeat the whole pass (disk full, read-only)
│   └── VolumeBusy       75    stay out: another agent has the volume
├── WishRefused           1    tell the operator why not; change nothing
└── AgentAway            76    tell the operator that no daemon answers
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

REPORT = "this is a bug in resentry: please report it, with the agent's log"
"""What to do about an error that is not the source's, the volume's or an operator's."""


class AgentError(Exception):
    """Unexpected internal error (a bug in resentry).

    Of every class, `what` says what is wrong and `hint` what to do about it. Neither
    ever quotes a secret.
    """

    exit_code = 70
    retry_soon = False
    """Whether waiting a whole interval would be too long."""
    retry_after: float | None = None

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class SettingsError(AgentError):
    """The agent's own settings are wrong."""

    exit_code = 78


class SourceError(AgentError):
    """The source gave no candidate."""


class SourceDown(SourceError):
    """The source cannot answer now."""

    exit_code = 69
    retry_soon = True

    def __init__(
        self, what: str, hint: str = "", *, retry_after: float | None = None
    ) -> None:
        super().__init__(what, hint)
        self.retry_after = retry_after
        """In how many seconds the source wants to be asked again, if it said so."""


class SourceDenied(SourceError):
    """The source does not let us read."""

    exit_code = 77


class SourceMissing(SourceError):
    """The source has no such secret."""

    exit_code = 66


class CandidateRefused(AgentError):
    """The source holds something that must not be published."""

    exit_code = 65

    def __init__(self, problems: Sequence[str], fingerprint: str) -> None:
        super().__init__(
            "; ".join(problems),
            "correct the values at the source; the last good snapshot stays published",
        )
        self.problems = tuple(problems)
        self.fingerprint = fingerprint


class CandidateWaits(AgentError):
    """The candidate is good, but its DSN check has no verdict yet."""

    exit_code = 73

    def __init__(self, what: str, fingerprint: str) -> None:
        super().__init__(
            what,
            "it is published or refused by itself; resentry-agent status shows the DSN check",
        )
        self.fingerprint = fingerprint


class PublishError(AgentError):
    """The volume could not be written; what was published there still is."""

    exit_code = 74
    retry_soon = True


class VolumeBusy(PublishError):
    """Another agent holds the volume's lock."""

    exit_code = 75


class WishRefused(AgentError):
    """What an operator asked for cannot be done; the answer is no."""

    exit_code = 1


class AgentAway(AgentError):
    """No daemon answers at the control socket."""

    exit_code = 76
