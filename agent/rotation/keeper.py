"""Carries a rotation on: takes the lock, does a step, saves the journal.

Lock and journal are one document, so one check-and-set writes both: a holder that has lost
the lock cannot save what it did, and whoever has it finds that done.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from agent.errors import AgentError
from agent.rotation.fence import FencedWorld, Lock
from agent.rotation.journal import LEASE_SECONDS, Journal
from agent.rotation.parts import SecretChanged, Waiting
from agent.rotation.steps import step
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.rotation.parts import World
    from agent.rotation.vault import JournalFile


TRIES_LIMIT = 12
"""With the pauses between them, about half an hour."""


class RotationBusy(AgentError):
    """Somebody else carries this rotation on, or another one has not ended."""

    exit_code = 75


class RotationMissing(AgentError):
    """There is no rotation to resume or to abort."""

    exit_code = 66


class Turn(NamedTuple):
    """What one turn came to. `waits_for` is why the phase goes on; else empty."""

    journal: Journal
    waits_for: str = ""
    retry_after: float | None = None
    """The seconds that a server asks for before the next turn, if one failed."""


class Keeper:
    """Carries the rotations of one secret on.

    Args:
        file: the journal.
        world: what the rotation reads and changes.
        holder: the name of this process in the lock.
        clock: seconds since the epoch.

    """

    def __init__(
        self,
        file: JournalFile,
        world: World,
        holder: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = file
        self._world = world
        self._holder = holder
        self._clock = clock

    def begin(self, journal: Journal) -> Journal:
        """Write the first journal of a rotation. Nothing else is changed.

        Raises `RotationBusy` if an earlier one has not ended, or its key still lives.
        """
        version = self.must_be_free(journal.secret)
        taken = journal.take(self._holder, self._clock())
        self._file.save(taken, version)
        return taken

    def must_be_free(self, secret: str) -> int:
        """Return the journal's version; raise `RotationBusy` as `begin` does."""
        earlier, version = self._file.load()
        if earlier is not None and not earlier.has_ended:
            raise RotationBusy(
                f"rotation {earlier.rotation} is {earlier.phase}",
                "resentry-agent rotate --watch shows how it goes; --resume goes on with "
                "it, also with --leaked; --abort ends it",
            )
        if earlier is not None and earlier.secret != secret:
            raise RotationBusy(
                f"the journal is of rotations of {earlier.secret}",
                "set RESENTRY_ROTATION_PATH to another path: each secret has a journal "
                "of its own",
            )
        self._must_be_over(earlier)
        return version

    def _must_be_over(self, earlier: Journal | None) -> None:
        if earlier is None:
            return
        left = earlier.new if earlier.phase == "aborted" else earlier.old
        if left and self._world.keys.is_alive(left):
            raise RotationBusy(
                f"the key {left} of rotation {earlier.rotation} is active again",
                "deactivate it at the server, then rotate",
            )

    def take(self) -> Journal:
        """Take the lock of a rotation that has not ended.

        Raises `RotationMissing`, or `RotationBusy` while somebody else has it.
        """
        journal, version = self._load()
        return self._take(journal, version)

    def _load(self) -> tuple[Journal, int]:
        journal, version = self._file.load()
        if journal is None or journal.has_ended:
            raise RotationMissing(
                "no rotation of this secret is under way",
                "resentry-agent rotate begins one",
            )
        return journal, version

    def _take(self, journal: Journal, version: int) -> Journal:
        now = self._clock()
        if not journal.is_free(self._holder, now):
            raise RotationBusy(
                f"{journal.holder} carries rotation {journal.rotation} on",
                "wait for it, or end that process: the lock ends at "
                f"{time_text(journal.until, 'seconds')}",
            )
        taken = journal.take(self._holder, now)
        self._file.save(taken, version)
        return taken

    def decide(self, decision: Callable[[Journal], Journal]) -> Journal:
        """Write what a person decides, and take the lock if it is free.

        Else the holder of the lock goes on by the decision: each turn begins with the
        journal, and a turn that is under way cannot save one without the decision.
        """
        for _ in range(TRIES_LIMIT):
            journal, version = self._load()
            decided, now = decision(journal), self._clock()
            if journal.is_free(self._holder, now):
                decided = decided.take(self._holder, now)
            if decided == journal:
                return journal
            with contextlib.suppress(SecretChanged):  # the holder has saved meanwhile
                self._file.save(decided, version)
                return decided
        raise SecretChanged("the journal changes all the time", "try again")

    def turn(self) -> Turn:
        """Do one step. Raises `AgentError` only if the journal cannot be kept."""
        journal, version = self._load()
        now = self._clock()
        is_ours = journal.holder == self._holder
        if not is_ours or journal.until - now < LEASE_SECONDS / 2:
            journal = self._take(journal, version)
            journal, version = self._load()
        lock = Lock(self._file, journal, version, self._holder, self._clock)
        try:
            came = step(journal, FencedWorld(self._world, lock.must_hold), now)
        except AgentError as error:
            came = failed(journal, error, now)
            self._save(came, lock.version)
            return Turn(came, error.what, error.retry_after)
        if isinstance(came, Waiting):
            waits = waiting(journal, came.reason)
            if waits != journal:
                self._save(waits, lock.version)
            return Turn(waits, came.reason)
        self._save(came, lock.version)
        return Turn(came)

    def _save(self, journal: Journal, version: int) -> None:
        self._file.save(journal.take(self._holder, self._clock()), version)

    def leave(self) -> None:
        """Give the lock back: somebody else may go on at once."""
        journal, version = self._file.load()
        if journal is not None and journal.holder == self._holder:
            self._file.save(replace(journal, holder="", until=0.0), version)


def waiting(journal: Journal, reason: str) -> Journal:
    """Return the journal after a step that waits: it did not fail."""
    return replace(journal, waits=reason, tries=0)


def failed(journal: Journal, error: AgentError, now: float) -> Journal:
    """Return the journal after a step that raised: once more, or held."""
    tries = journal.tries + 1
    counted = replace(journal, tries=tries)
    is_leaked = journal.deadline is not None  # what may pass must not put the end off
    if not error.retry_soon or (tries >= TRIES_LIMIT and not is_leaked):
        return counted.hold(now, error.what)
    return counted.note(now, error.what) if tries == 1 else counted
