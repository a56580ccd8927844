"""One pass: source, validate, publish, notify, confirm. The only place of this order."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.domain.outcome import Outcome
from agent.domain.rollout import Rollout, assess
from agent.domain.validate import validate
from agent.domain.wishes import (
    Held,
    Wishes,
    against,
    decode_wishes,
    encode_wishes,
    name_of,
    overlay,
)
from agent.errors import (
    AgentError,
    CandidateRefused,
    CandidateWaits,
    PublishError,
    SourceError,
)
from agent.publish.memory import BASE, WISHES
from resentry import formats
from resentry.contract import encode_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.confirm.receipts import Receipts
    from agent.domain.probe import Found
    from agent.domain.receiver import Delivery
    from agent.domain.rollout import Target
    from agent.notify.http import Receivers
    from agent.notify.signal import Signals
    from agent.probe.gate import Gate
    from agent.publish.volume import Volume
    from agent.settings import Settings
    from agent.source import Source
    from resentry.contract import Snapshot


class Pipeline:
    """The five stages, and what has to be remembered between two passes.

    `run` belongs to one thread at a time; the rest may be asked from another one.
    """

    def __init__(  # noqa: PLR0913 - the parts that it puts in order
        self,
        settings: Settings,
        source: Source,
        volume: Volume,
        signals: Signals | None,
        receipts: Receipts,
        *,
        receivers: Receivers | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._settings = settings
        self._source = source
        self._volume = volume
        self._signals = signals
        self._receipts = receipts
        self._receivers = receivers
        self._gate = gate
        self._lock = threading.Lock()
        self.current = volume.current()
        self.began = time.monotonic()
        """When the current snapshot was published, or taken over from the volume."""
        self._base = volume.memory.read_snapshot(BASE) or self.current
        self._wishes = decode_wishes(volume.memory.read(WISHES))

    def run(self) -> Outcome:
        """Do one pass. What goes wrong is in the outcome; the last good stays."""
        try:
            return self._run()
        except AgentError as error:
            return self.failed(error)
        finally:
            if self._gate:
                self._gate.retain(self.current)

    def failed(self, error: AgentError) -> Outcome:
        """The outcome of a pass that ended in `error`: the last good stays."""
        if isinstance(error, PublishError):
            # It may have come after the switch: the volume is the truth.
            self.current = self._volume.current() or self.current
        return Outcome.kept(error, self.current)

    def _run(self) -> Outcome:
        error: AgentError | None = None
        notes: tuple[str, ...] = ()
        try:
            notes = self._read()
        except (SourceError, CandidateRefused, CandidateWaits) as problem:
            # What an operator asks for does not wait for the source, nor for a probe.
            error = problem
        wanted, wishes_notes = self._wanted()
        if wanted is not None and not self._is_current(wanted):
            if self._gate:
                notes += self._gate.glance(wanted, self.current)
            published = self._volume.publish(wanted)
            with self._lock:
                self.current = published
                self.began = time.monotonic()
            if self._signals:
                self._signals.notify(self._receipts.read())
            self.tell_receivers()
            if error is None:
                return Outcome.published(published, notes + wishes_notes)
        if error is not None or self.current is None:
            raise error or SourceError("there is nothing to publish")
        self._volume.finish(self.current)
        return Outcome.unchanged(self.current, notes + wishes_notes)

    def _is_current(self, wanted: Snapshot) -> bool:
        return self.current is not None and self.current.revision == wanted.revision

    def _read(self) -> tuple[str, ...]:
        """Take in what the source holds, if it is good; return what to note."""
        candidate = self._source.read()
        base, notes = validate(candidate, self._settings.policy, self._base)
        if self._gate:
            self._gate.admit(base, candidate.fingerprint, self._base, self.current)
        if self._base is None or self._base.content() != base.content():
            self._volume.keep(BASE, encode_snapshot(base))
        self._base = base
        return candidate.notes + notes

    def _wanted(self) -> tuple[Snapshot | None, tuple[str, ...]]:
        """What is to be published now, and what to say of an operator's wishes."""
        if self._base is None:
            return None, ()
        now = time.time()
        with self._lock:
            self._wish(lambda wishes: wishes.pruned(self._base, now))
            wishes = self._wishes
        notes: tuple[str, ...] = ()
        if wishes.held is not None:
            revision = wishes.held.snapshot.revision
            notes = (f"an operator's rollback holds revision {revision}",)
        return overlay(self._base, wishes, now), notes

    # What an operator asks for

    @property
    def wishes(self) -> Wishes:
        """What an operator has asked for."""
        return self._wishes

    def wish(self, change: Callable[[Wishes], Wishes]) -> None:
        """Change what an operator asks for; it counts from the next pass on."""
        with self._lock:
            self._wish(change)

    def _wish(self, change: Callable[[Wishes], Wishes]) -> None:
        changed = change(self._wishes)
        if changed != self._wishes:
            self._volume.keep(WISHES, encode_wishes(changed))
            self._wishes = changed

    def hold(self, snapshot: Snapshot) -> None:
        """Publish it until the source holds nothing that was rolled back from."""
        present = [one for one in (self.current, self._base) if one is not None]
        held = Held(snapshot, against(snapshot, *present))
        self.wish(lambda wishes: replace(wishes, held=held))

    def history(self) -> list[Snapshot]:
        """Return the published snapshots of late, newest first."""
        return self._volume.memory.history()

    def due_seconds(self) -> float | None:
        """In how many seconds a pass is due by itself: a boost or a token ends."""
        boosts = self.current.boosts if self.current else ()
        ends = [formats.moment(boost.until) - time.time() for boost in boosts]
        if (due := self._source.due_seconds()) is not None:
            ends.append(due)
        return max(0.0, min(ends)) if ends else None

    def hurry(self) -> None:
        """Have the next pass ask the source whatever failed before."""
        self._source.hurry()

    def source_report(self) -> dict[str, Any]:
        """Say what is known of the source."""
        return self._source.report()

    # Between passes

    def watch(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, from any thread, when the source has changed."""
        self._source.listen(changed)

    def listen(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, from any thread, when a report has changed."""
        if self._gate:
            self._gate.prober.changed = changed
        if self._receivers:
            self._receivers.changed = changed

    def probes(self) -> Sequence[Found]:
        """Say what is known of the DSNs that were probed; remember rejected ones."""
        found = self._gate.report() if self._gate else ()
        with contextlib.suppress(PublishError):  # the next look tries again
            self.wish(lambda wishes: _judging(wishes, found))
        return found

    def deliveries(self) -> Sequence[Delivery]:
        """Say how far each HTTP receiver has got."""
        return self._receivers.report() if self._receivers else ()

    def tell_receivers(self) -> None:
        """Have the HTTP receivers told of the current snapshot, once for each."""
        if self._receivers and self.current:
            self._receivers.notify(self.current)

    def await_receivers(self, seconds: float) -> None:
        """Give each receiver that has to be told the time of one try."""
        if self._receivers:
            self._receivers.wait(seconds)

    def remind(self, waiting: Sequence[Target]) -> None:
        """Signal targets once more."""
        if self._signals:
            self._signals.notify(waiting)

    # Confirm

    def rollout(self) -> Rollout:
        """Say how far the current snapshot has got, from the receipts of now."""
        with self._lock:
            current, began = self.current, self.began
        late = time.monotonic() - began > self._settings.confirm_seconds
        seen = self._receipts.look()
        found = assess(
            seen.targets,
            current,
            late=late,
            minimum=self._settings.minimum,
            unknown=seen.unknown,
        )
        if found.state == "refused" and current is not None:
            with contextlib.suppress(PublishError):  # the next look tries again
                self.wish(lambda wishes: _rejecting(wishes, name_of(current)))
        return found

    def abort(self) -> None:
        """Make a running pass end soon: its deadline is over, or the agent's time."""
        self._source.abort()

    def close(self) -> None:
        """Leave the source as it was found."""
        self._source.close()


def _judging(wishes: Wishes, found: Sequence[Found]) -> Wishes:
    for one in found:
        if one.verdict == "rejected":
            wishes = _rejecting(wishes, one.fingerprint)
        elif one.verdict == "accepted":
            kept = tuple(name for name in wishes.rejected if name != one.fingerprint)
            wishes = replace(wishes, rejected=kept)
    return wishes


def _rejecting(wishes: Wishes, revision: str) -> Wishes:
    rejected = dict.fromkeys((*wishes.rejected, revision))
    return replace(wishes, rejected=tuple(rejected)[-10:])
