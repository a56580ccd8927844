"""The journal of one rotation: how far it has got, and who carries it on.

It holds fingerprints and names, never a key. What a phase is about to do stands in the
journal before it is done, so whoever resumes a rotation does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, get_args

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from agent.errors import AgentError
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Iterable

Phase = Literal[
    "planned",
    "created",
    "accepted",
    "written",
    "converged",
    "drained",
    "quiet",
    "retired",
    "done",
    "aborted",
]
PHASES: tuple[Phase, ...] = get_args(Phase)
ENDED: frozenset[Phase] = frozenset({"done", "aborted"})
"""The phases in which nothing is left to do, and another rotation may begin."""
ENTRIES_LIMIT = 200
REFUSED_SECONDS = 420.0
"""Servers go on accepting a retired key for minutes: they cache."""
LEASE_SECONDS = 60.0
"""So long the rotation belongs to its holder, after the holder's last sign of life."""

Fingerprint = Annotated[str, Meta(pattern="^([0-9a-f]{12})?$")]


class JournalUnreadable(AgentError):
    """What stands at the journal's path is no journal of this version."""

    exit_code = 65


class Entry(msgspec.Struct, frozen=True):
    """One line of the journal."""

    at: str
    phase: Phase
    text: str


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """One rotation. Times are seconds since the epoch."""

    rotation: str
    """Its name, and a part of the name of the new key."""
    secret: str
    """The path of the secret that holds the DSN."""
    role: str = ""
    """The role whose own DSN is replaced; empty for the DSN of all roles."""
    old: Fingerprint
    new: Fingerprint = ""
    """Of the new DSN; empty until there is one."""
    version: int = 0
    """The version of the secret that held the old DSN last; 0 until it is replaced."""
    quiet_seconds: float
    """So long nothing may have come by the old key, before it is retired."""
    needs_quiet: bool = False
    """Whether the server has to say so; else the time alone counts where it says nothing."""
    refused_seconds: float = REFUSED_SECONDS
    """So long the retired key must have been refused."""
    refused_by: dict[str, int] = {}
    """By process, the envelopes that servers had refused before the old key was retired."""
    deadline: float | None = None
    """Of a leaked key: then it is retired, whatever still holds it."""
    phase: Phase = "planned"
    since: float
    """When this phase began."""
    is_aborting: bool = False
    held: str = ""
    """Why a person has to decide; else empty. Both keys live on meanwhile."""
    tries: int = 0
    """The failures in a row of this phase."""
    waits: str = ""
    """What this phase waits for."""
    forced: tuple[str, ...] = ()
    """The processes that a person has told this rotation not to wait for."""
    left_out: tuple[str, ...] = ()
    """Who might still send by a leaked key when its deadline was over."""
    holder: str = ""
    until: float = 0.0
    """Then somebody else may carry the rotation on."""
    entries: tuple[Entry, ...] = ()
    schema: Literal[1] = 1

    @property
    def key_name(self) -> str:
        """The name of the new key at the server."""
        return f"resentry-{self.rotation}"

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.phase in ENDED

    def is_free(self, holder: str, now: float) -> bool:
        """Whether this holder may carry the rotation on."""
        return self.holder in {"", holder} or now >= self.until

    def has_reached(self, phase: Phase) -> bool:
        """Whether this phase has come, or is over."""
        return PHASES.index(self.phase) >= PHASES.index(phase)

    def enter(self, phase: Phase, now: float, text: str, **news: object) -> Journal:
        """Return the journal with the next phase, and an entry that says why."""
        journal = self.note(now, text, phase)
        return replace(
            journal, phase=phase, since=now, tries=0, held="", waits="", **news
        )

    def note(self, now: float, text: str, phase: Phase | None = None) -> Journal:
        """Return the journal with one more entry. The oldest entries go first."""
        entry = Entry(time_text(now, "seconds"), phase or self.phase, text)
        entries = (*self.entries, entry)[-ENTRIES_LIMIT:]
        return replace(self, entries=entries)

    def hold(self, now: float, reason: str) -> Journal:
        """Return the journal of a rotation that waits for a person's decision."""
        journal = self.note(now, f"held: {reason}")
        return replace(journal, held=reason)

    def take(self, holder: str, now: float) -> Journal:
        """Return the journal with this holder, for the next `LEASE_SECONDS`."""
        return replace(self, holder=holder, until=now + LEASE_SECONDS)


def encode(journal: Journal) -> str:
    """Return the journal as text."""
    return msgspec.json.encode(journal).decode()


def decode(text: str | bytes) -> Journal:
    """Read a journal, or raise `JournalUnreadable`."""
    try:
        return msgspec.json.decode(text, type=Journal)
    except (msgspec.MsgspecError, RecursionError) as error:
        kind = type(error).__name__
        raise JournalUnreadable(
            f"what stands at the rotation's path is no journal ({kind})",
            "use a path for rotations alone, and resentry-agent of one version",
        ) from None


def named(names: Iterable[str], limit: int = 5) -> str:
    """Return some of the names for one line, and how many more there are."""
    every = sorted(names)
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more
