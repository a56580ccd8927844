"""A pass in two halves: `read` changes nothing that others see, `publish` does.

Only this module knows the order of the stages: source, guard rails, DSN check, volume,
signals, receivers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agent.domain.judge import Judge
from agent.domain.newest import decode_marks
from agent.domain.outcome import Outcome
from agent.domain.provenance import is_tuned
from agent.domain.value import Value, replace
from agent.domain.view import Known
from agent.domain.wishes import (
    Wishes,
    decode_wishes,
    is_lasting,
    lasting_revision,
    overlay,
    resume_hint,
)
from agent.errors import REPORT, AgentError, CandidateRefused, VolumeBusy, unexpected
from agent.publish import kept
from agent.publish.memory import LAST_GOOD, NEWEST, TUNING, WISHES
from agent.publish.seal import Seal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.candidate import Candidate
    from agent.domain.newest import Mark
    from agent.parts import Parts
    from resentry.contract import Snapshot


class Reading(Value, frozen=True):
    """What a pass read: a candidate that passed the guard rails, or the error."""

    snapshot: Snapshot | None = None
    notes: tuple[str, ...] = ()
    error: AgentError | None = None
    newest: Mapping[str, Mark] | None = None
    """The newest version of each secret; `None` if the source was not read."""


GLANCE_SECONDS = 2.0
"""How long a pass waits for the first answer about a new DSN, and for the tuning file."""

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
        self._judgement = Judge(parts.settings.guard_rails)
        self._seal = Seal(parts.settings.dir, parts.settings.receipts_dir)
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
        judge = self._judgement.judge
        snapshot, notes = judge(candidate, known.of_source, time.time())
        if gate.is_strict:  # else nobody needs the fingerprint
            gate.admit(snapshot, candidate.fingerprint, known.of_source, known.current)
        if known.wishes.held is None:
            # Processes wait for the first snapshot, and the check must not delay them.
            waits = self._is_patient or known.current is not None
            seconds = GLANCE_SECONDS if waits else 0.0
            gate.glance(snapshot, known.current, seconds)
        return Reading(snapshot, candidate.notes + notes, newest=candidate.newest)

    def publish(self, reading: Reading, wishes: Wishes | None = None) -> Outcome:
        """Publish the last good snapshot under an operator's wishes, and notify processes.

        Without `wishes` the wishes stay as they are. Whatever was read, the volume is
        repaired. An error is part of the outcome: the last good snapshot stays published.
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
        tuning = tuple(each.what for each in self._parts.tuning.problems)
        notes = outcome.notes + repaired + unkept + tuning
        if reading.snapshot is None or self.known.wishes.held is not None:
            notes += tuple(n for n in self._rails_note() if n != outcome.sentence)
        return replace(outcome, notes=notes) if notes != outcome.notes else outcome

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
        notes = *outcome.notes, "nothing was changed: try again"
        return replace(outcome, notes=notes)

    def _is_settled(self, reading: Reading, wishes: Wishes) -> bool:
        """Whether a pass would find all as the last one has left it: nothing to do."""
        known, read = self.known, reading.snapshot
        if read is None or read is not known.of_source or self._parts.volume.problem:
            return False
        is_same = reading.newest == self._newest and wishes == known.wishes == Wishes()
        last_good = self._parts.tuning.over(read, time.time()) if is_same else None
        if last_good is None:
            return False
        if last_good is not known.last_good and last_good != known.last_good:
            return False
        return is_lasting(last_good) and self._seal.holds(read)

    def _publish(self, reading: Reading, wishes: Wishes) -> Outcome:
        if self._is_settled(reading, wishes) and self.known.current is not None:
            return Outcome.unchanged(self.known.current, reading.notes)
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
            self._seal.take(reading.snapshot)
            return outcome(current, notes)
        if reading.snapshot is not None:
            return Outcome.held(held, self.known.last_good, current, notes)
        hint = resume_hint(held.names_in(self.known.last_good))
        note = f"a rollback holds revision {held.snapshot.revision}; {hint}"
        return outcome(current, (*notes, note))

    def _refusal(
        self, current: Snapshot | None, wanted: Snapshot
    ) -> CandidateRefused | None:
        """Return why the guard rails of now forbid to publish this; `None` if they do not.

        They may be others than those that an earlier agent judged by. What is published
        already stays, with other boosts as well.
        """
        if current and lasting_revision(current) == lasting_revision(wanted):
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
        base = replace(base, boosts=())  # which end by themselves
        problems = rails.problems(base, time.time())
        listed = "; ".join(f"{name} {text}" for name, text in problems.items())
        kind = f"{'held' if held else 'last good'} revision {base.revision}"
        note = f"the guard rails refuse the {kind} now: {listed}"
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
        kept.keep_wishes(self._parts.volume, wishes)
        self.known = replace(self.known, wishes=wishes)

    def _keep_newest(self, newest: Mapping[str, Mark] | None) -> None:
        self._newest = self._newest if newest is None else newest
        kept.keep_newest(self._parts.volume, self._newest)

    def _keep_last_good(self, snapshot: Snapshot | None) -> None:
        of_source, volume = snapshot or self.known.of_source, self._parts.volume
        if of_source is not None:
            kept.keep_last_good(volume, of_source)
        last_good = self._parts.tuning.over(of_source, time.time())
        kept.keep_tuning(volume, self._parts.tuning.kept)
        self.known = replace(self.known, last_good=last_good, of_source=of_source)
