"""The tuning file: read apart from the source, with a last good of its own.

A thread of its own reads it, so that a mount that hangs holds up no DSN. What it read is
judged on top of the source's snapshot when that is published.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from agent.domain.tuning_file import conflicts, layered, read_tuning, refused
from agent.domain.view import TUNING_PATH, Problem
from agent.errors import (
    REPORT,
    AgentError,
    CandidateRefused,
    SettingsError,
    SourceDown,
    unexpected,
)
from agent.source import NoTuning
from agent.source.choose import parents
from agent.source.files import SETTLE_SECONDS, FileSource
from resentry.contract import Snapshot, encode_snapshot, time_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Settings

NOTHING = Snapshot(settings={})
"""A tuning file without a key of ours."""

log = structlog.get_logger()


def open_tuning(settings: Settings) -> TuningFile:
    """Return the tuning file that the settings name, or raise `SettingsError`."""
    path, volume = map(os.path.realpath, (settings.tuning_path, settings.dir))
    if volume in (path, *parents(path)):
        raise SettingsError(
            f"{TUNING_PATH} is on the volume of RESENTRY_DIR: the agent would read what it "
            "writes",
            f"set {TUNING_PATH} to a mount that applications do not write to",
        )
    if settings.source_path and path == os.path.realpath(settings.source_path):
        raise SettingsError(
            f"{TUNING_PATH} names the same place as RESENTRY_SOURCE_PATH",
            f"set {TUNING_PATH} to a place of its own, as of a ConfigMap, or unset it",
        )
    return TuningFile(settings)


@dataclass(frozen=True, slots=True)
class Read:
    """What one read of the file came to."""

    tuning: Snapshot | None = None
    """`None` if the file could not be read, or was refused."""
    fingerprint: str = ""
    notes: tuple[str, ...] = ()
    error: AgentError | None = None


class KeptTuning(NoTuning):
    """The last good tuning stays until the agent is restarted with good settings."""

    def __init__(self, error: SettingsError | None = None) -> None:
        self._good = NOTHING
        if error is not None:
            self.problems = (Problem(TUNING_PATH, error.what, error.hint),)

    def restore(self, last_good: Snapshot | None) -> None:
        """Begin with the last good tuning of an earlier agent."""
        self._good = last_good or NOTHING

    def over(self, of_source: Snapshot | None, _now: float) -> Snapshot | None:
        """Return the source's snapshot, if there is one, with the last good tuning on top."""
        if of_source is None or not self._good.provenance:
            return of_source
        return layered(of_source, self._good)


class TuningFile(KeptTuning):
    """Reads and judges the tuning file.

    Any thread may call `look` and `wait`. The loop's thread calls everything else.
    """

    def __init__(self, settings: Settings, settle: float = SETTLE_SECONDS) -> None:
        super().__init__()
        self._path = settings.tuning_path
        self._rails = settings.guard_rails
        self._pass_seconds = settings.pass_seconds
        self._alone_at = time.monotonic() + settings.startup_seconds
        self._source = FileSource(settings, settle, TUNING_PATH)
        self._changed: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_wanted = False
        self._is_late = False
        self._newest: Read | None = None
        self._told = ""
        self._in_force = NOTHING
        self._fits: tuple[str, ...] = ()
        self.error: AgentError | None = None
        """Why the newest content of the file is not in force."""
        self._noted, self._since = "", 0.0

    def restore(self, last_good: Snapshot | None) -> None:
        """Begin with the last good tuning of an earlier agent, unless a newer one is known."""
        if self.kept is None:
            super().restore(last_good)

    def look(self) -> None:
        """Have the file read, in a thread of its own; again, if a read is running."""
        with self._lock:
            if self._thread is not None:
                self._is_wanted = True
                return
            thread = threading.Thread(target=self._run, name="tuning", daemon=True)
            try:
                thread.start()
            except RuntimeError as problem:  # the system has no thread left
                hint = "raise the limit of processes or PIDs of the container"
                error = SourceDown(f"cannot start a thread: {problem}", hint)
                self._newest = Read(error=error)
            else:
                self._thread = thread

    def wait(self, seconds: float) -> None:
        """Wait for the running read. A read that was late before is not waited for again."""
        thread = self._thread
        if thread is not None and not self._is_late:
            thread.join(seconds)
            with self._lock:
                self._is_late = self._thread is thread

    def over(self, of_source: Snapshot | None, now: float) -> Snapshot | None:
        """Return the source's snapshot with the newest tuning that is good on top of it.

        The tuning alone is published if there is still nothing of the source when
        applications no longer wait for it.
        """
        base = of_source or Snapshot({}, judged_by=self._rails.environment)
        newest = self._newest
        error: AgentError | None = None
        if newest is not None and newest.tuning is not None:
            if problems := self._conflicts(base, newest.tuning, now):
                error = refused(problems, newest.fingerprint)
            elif self.kept is None or newest.tuning != self._good:
                self._good = newest.tuning
                self.kept = encode_snapshot(newest.tuning)
        elif newest is not None:
            error = newest.error
        self._in_force = self._good
        if problems := self._conflicts(base, self._good, now):
            self._in_force = NOTHING
            error = error or refused(problems, self._good.revision)
        if error is None and self._is_late:
            error = SourceDown(
                f"{self._path} could not be read in time: its mount hangs",
                "check what mounts the file, and its server",
            )
        self._note(error)
        if of_source is None and time.monotonic() < self._alone_at:
            return None
        return layered(base, self._in_force) if self._in_force.provenance else of_source

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called when something else was read. The file is watched."""
        self._changed = changed
        self._source.on_change(self.look)

    def report(self) -> dict[str, Any]:
        """Return what `status` shows: the file, whether it is in force, and its keys."""
        newest, error = self._newest, self.error
        state = "in force" if newest is not None else "not read yet"
        if error is not None:
            is_refused = isinstance(error, CandidateRefused)
            state = "refused" if is_refused else "failed"
        return {
            "path": self._path,
            "watch": self._source.report()["watch"],
            "state": state,
            "keys": sorted(self._in_force.provenance),
            "roles": {role: sorted(own) for role, own in self._in_force.roles.items()},
            "notes": list(newest.notes) if newest is not None else [],
            "since": time_text(self._since) if self._since else None,
        }

    def close(self) -> None:
        """End a running read, and stop watching."""
        self._source.abort()
        self._source.close()

    def _run(self) -> None:
        is_wanted = True
        while is_wanted:
            read = self._read()
            with self._lock:
                # A restart finds what the agent before had, and the pass waits for it.
                is_restart = not self._told and read.tuning == self._good
                is_same = repr(read) == self._told or (is_restart and not self._is_late)
                self._newest, self._is_late, self._told = read, False, repr(read)
                is_wanted, self._is_wanted = self._is_wanted, False
                if not is_wanted:
                    self._thread = None
            if not is_same:
                self._changed()

    def _read(self) -> Read:
        try:
            candidate = self._source.read(time.monotonic() + self._pass_seconds)
            tuning, notes = read_tuning(candidate)
        except AgentError as error:
            return Read(error=error)
        except Exception:  # a bug must not end the reading
            log.exception("reading the tuning file failed with an internal error")
            return Read(error=AgentError(unexpected().what, REPORT))
        return Read(tuning, candidate.fingerprint, notes)

    def _conflicts(self, base: Snapshot, tuning: Snapshot, now: float) -> list[str]:
        """Return why the tuning cannot lie on this snapshot. What once could, still can."""
        names = base.revision, base.judged_by, tuning.revision
        if not tuning.provenance or names == self._fits:
            return []
        problems = conflicts(base, tuning, self._rails, now)
        if not problems:
            self._fits = names
        return problems

    def _note(self, error: AgentError | None) -> None:
        """Keep why the file is not in force, and since when this and the rest are so."""
        noted = repr((error, self._in_force.revision))
        if noted != self._noted:
            self._noted, self._since = noted, time.time()
        self.error = error
        self.problems = ()
        if error is not None:
            has_some = bool(self._in_force.provenance)
            stays = "its last good content" if has_some else "nothing of it"
            what = f"the tuning file {self._path} is not in force: {error.what}"
            what += f"; {stays} is in force"
            self.problems = (Problem(TUNING_PATH, what, error.hint),)
