"""A pass in two halves: `read` changes nothing that others see, `publish` does.

Only this module knows the order of the stages: source, guard rails, DSN check, volume,
signals, receivers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.domain.newest import decode_marks, encode_marks
from agent.domain.outcome import Outcome
from agent.domain.provenance import is_tuned
from agent.domain.validate import validate
from agent.domain.view import Known
from agent.domain.wishes import (
    Wishes,
    decode_wishes,
    encode_wishes,
    lasting_revision,
    overlay,
    resume_hint,
)
from agent.errors import REPORT, AgentError, CandidateRefused, VolumeBusy, unexpected
from agent.publish.memory import LAST_GOOD, NEWEST, TUNING, WISHES
from resentry.contract import encode_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.candidate import Candidate
    from agent.domain.newest import Mark
    from agent.parts import Parts
    from resentry.contract import Snapshot


@dataclass(frozen=True, slots=True)
class Reading:
    """What a pass read: a candidate that passed the guard rails, or the error."""

    snapshot: Snapshot | None = None
    notes: tuple[str, ...] = ()
    error: AgentError | None = None
    newest: Mapping[str, Mark] | None = None
    """The newest version of each secret; `None` if the source was not read."""


GLANCE_SECONDS = 2.0
"""The longest wait of a pass for the first answer to the check of a new DSN, and for the
tuning file."""

NOT_READ = Reading()
"""Nothing was read: an operator asks for something between two passes."""


class Pipeline:
    """Reads and publishes. `read` and `publish` may each run in a thread of its own.

    With `is_patient`, the first publication waits for the DSN check, too: nobody else
    would show what it says.
    """

    def __init__(self, parts: Parts, *, is_patient: bool = False) -> None:
        self._parts = parts
        self._is_patient = is_patient
        self._is_foreign = False
        """Whether another agent had the volume at the last look."""
        newest = decode_marks(parts.volume.memory.read(NEWEST))
        self._newest: Mapping[str, Mark] = newest
        parts.source.remember(newest)
        self.known = self._found()
        """Replaced as a whole by `publish` alone."""

    def _found(self) -> Known:
        """Return what is on the volume."""
        memory = self._parts.volume.memory
        current = self._parts.volume.intact()
        has_tuning = is_tuned(current)
        of_source = memory.read_snapshot(LAST_GOOD) or (None if has_tuning else current)
        tuning = self._parts.tuning
        tuning.restore(memory.read_snapshot(TUNING) if has_tuning else None)
        return Known(
            current,
            tuning.over(of_source, time.time()),
            of_source,
            decode_wishes(memory.read(WISHES)),
            time.monotonic(),
        )

    def read(
        self, until: float, *, forget_backoff: bool = False, accept_older: bool = False
    ) -> Reading:
        """Read the source, and judge the candidate by guard rails and DSN check.

        Args:
            until: the deadline, as a monotonic time.
            forget_backoff: ask the source at once, whatever failed before.
            accept_older: take what the source holds, even if it is older than before.

        """
        source, tuning = self._parts.source, self._parts.tuning
        tuning.look()
        if forget_backoff:
            source.forget_backoff()
        if accept_older:
            source.accept_older()
        try:
            candidate = source.read(until)
        except AgentError as error:
            return Reading(error=error)
        finally:
            tuning.wait(GLANCE_SECONDS)
        try:
            return self._judge(candidate)
        except AgentError as error:
            return Reading(error=error, newest=candidate.newest)

    def _judge(self, candidate: Candidate) -> Reading:
        known, gate = self.known, self._parts.gate
        rails = self._parts.settings.guard_rails
        snapshot, notes = validate(candidate, rails, known.of_source, time.time())
        gate.admit(snapshot, candidate.fingerprint, known.of_source, known.current)
        if known.wishes.held is None:
            # Processes wait for the first snapshot, and the check must not delay them.
            waits = self._is_patient or known.current is not None
            seconds = GLANCE_SECONDS if waits else 0.0
            gate.glance(snapshot, known.current, seconds)
        return Reading(snapshot, candidate.notes + notes, newest=candidate.newest)

    def publish(self, reading: Reading, wishes: Wishes | None = None) -> Outcome:
        """Publish the last good snapshot under an operator's wishes, and notify processes.

        Without `wishes` the wishes stay as they are. Whatever was read, the volume is repaired. An error is part of the outcome: the last
        good snapshot then stays published.
        """
        try:
            outcome = self._publish(reading, wishes or self.known.wishes)
        except AgentError as error:
            self._announce()  # the error may have come after the switch
            outcome = Outcome.kept(error, self.known.current)
        finally:
            self._parts.gate.retain(self.known.current)
        volume = self._parts.volume
        repaired, volume.repairs = tuple(volume.repairs), []
        if repaired:
            number = self.known.repairs + len(repaired)
            self.known = replace(self.known, repairs=number, repaired=repaired)
        unkept = (volume.problem,) if volume.problem else ()
        notes = outcome.notes + repaired + unkept
        if reading.snapshot is None or self.known.wishes.held is not None:
            notes += tuple(n for n in self._rails_note() if n != outcome.sentence)
        return replace(outcome, notes=notes)

    def grant(self, wishes: Wishes) -> Outcome:
        """Publish under what an operator asks for now: all of it, or nothing.

        After an error the wishes are as before, so that no later pass does what the
        operator was told had failed. If only a later step failed, the request is done.
        """
        before = self.known.wishes
        outcome = self.publish(NOT_READ, wishes)
        last_good, current = self.known.last_good, self.known.current
        if outcome.exit_code == 0 or last_good is None or current is None:
            return outcome
        if current.is_same(overlay(last_good, wishes, time.time())):
            return Outcome.published(current, (*outcome.notes, outcome.sentence))
        self.known = replace(self.known, wishes=before)
        try:
            self._keep_wishes(before)
        except AgentError as error:
            hint = "the next pass that can write to the volume forgets the request"
            return replace(outcome, notes=(*outcome.notes, f"{error.what}; {hint}"))
        return replace(
            outcome, notes=(*outcome.notes, "nothing was changed: try again")
        )

    def _publish(self, reading: Reading, wishes: Wishes) -> Outcome:
        volume = self._parts.volume
        wishes = self._open(wishes)
        self._keep_wishes(wishes)
        self._keep_newest(reading.newest)
        self._keep_last_good(reading.snapshot)
        if self.known.last_good is None:
            raise reading.error or AgentError("there is nothing to publish", REPORT)
        now = time.time()
        cap = self._parts.settings.boost_cap
        self._keep_wishes(wishes.pruned(self.known.last_good, now, cap))
        wanted = overlay(self.known.last_good, self.known.wishes, now)
        current, outcome, notes = self.known.current, Outcome.unchanged, reading.notes
        error = reading.error
        if current is not None and current.is_same(wanted):
            current = volume.repair(current)
        elif refusal := self._refusal(current, wanted):
            error = error or refusal
            current = current and volume.repair(current)
        else:
            outcome = Outcome.published
            notes += self._parts.gate.glance(wanted, current)
            known = current.sequence if current else 0
            current = volume.publish(replace(wanted, sequence=known))
        self._announce()
        if error is not None or current is None:
            raise error or unexpected()
        if (held := self.known.wishes.held) is None:
            return outcome(current, notes)
        if reading.snapshot is not None:
            return Outcome.held(held, reading.snapshot, current, notes)
        hint = resume_hint(held.names_in(self.known.last_good))
        held_note = f"a rollback holds revision {held.snapshot.revision}; {hint}"
        return outcome(current, (*notes, held_note))

    def _refusal(
        self, current: Snapshot | None, wanted: Snapshot
    ) -> CandidateRefused | None:
        """Return why the guard rails of now forbid to publish this; `None` if they do not.

        They may be others than those that an earlier agent judged by. What is published
        already stays, with other boosts as well.
        """
        name = lasting_revision(wanted)
        if current is not None and lasting_revision(current) == name:
            return None
        note = self._rails_note()
        return CandidateRefused(note, "") if note else None

    def _rails_note(self) -> tuple[str, ...]:
        """Return a note if the guard rails of now refuse what is last good, or held."""
        held, base = self.known.wishes.held, self.known.last_good
        base = held.snapshot if held else base
        if base is None or self._parts.problem is not None:  # no rails are known then
            return ()
        rails = self._parts.settings.guard_rails
        # Boosts end by themselves.
        problems = rails.problems(replace(base, boosts=()), time.time())
        listed = "; ".join(f"{name} {text}" for name, text in problems.items())
        kind = "held" if held else "last good"
        note = (
            f"the guard rails refuse the {kind} revision {base.revision} now: {listed}"
        )
        return (note,) if problems else ()

    def _open(self, wishes: Wishes) -> Wishes:
        """Take the volume, if it is not taken, and return the wishes that count."""
        try:
            self._parts.volume.open()
        except VolumeBusy:
            self._is_foreign = True
            raise
        if not self._is_foreign:
            return wishes
        self._is_foreign = False
        self.known = self._found()  # another agent has published meanwhile
        return self.known.wishes

    def _announce(self) -> None:
        """Note what was published, and notify processes and receivers, if it is new."""
        published = self._parts.volume.published
        if published is None or published is self.known.current:
            return
        self.known = replace(
            self.known, current=published, published_at=time.monotonic(), is_own=True
        )
        self._parts.signals.notify(self._parts.receipts.read())
        self._parts.receivers.notify(published)

    def _keep_wishes(self, wishes: Wishes) -> None:
        body, kept = encode_wishes(wishes), self._parts.volume.memory.read(WISHES)
        if body != kept and (kept is not None or wishes != Wishes()):
            self._parts.volume.keep(WISHES, body)
        self.known = replace(self.known, wishes=wishes)

    def _keep_newest(self, newest: Mapping[str, Mark] | None) -> None:
        self._newest = self._newest if newest is None else newest
        body = encode_marks(self._newest)
        if self._newest and body != self._parts.volume.memory.read(NEWEST):
            self._parts.volume.keep(NEWEST, body)

    def _keep_last_good(self, snapshot: Snapshot | None) -> None:
        of_source = snapshot or self.known.of_source
        volume = self._parts.volume
        if of_source is not None:
            kept = volume.memory.read_snapshot(LAST_GOOD)
            if kept is None or not kept.is_same(of_source):
                volume.keep(LAST_GOOD, encode_snapshot(of_source))
        last_good = self._parts.tuning.over(of_source, time.time())
        tuning = self._parts.tuning.kept
        if tuning is not None and tuning != volume.memory.read(TUNING):
            volume.keep(TUNING, tuning)
        self.known = replace(self.known, last_good=last_good, of_source=of_source)
