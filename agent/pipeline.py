"""One pass: source, validate, publish, notify, confirm. The only place of this order."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.domain.outcome import Outcome
from agent.domain.rollout import Rollout, assess
from agent.domain.validate import validate
from agent.domain.wishes import (
    Held,
    Wishes,
    decode_wishes,
    encode_wishes,
    epoch,
    overlay,
)
from agent.errors import AgentError, CandidateRefused, PublishError, SourceError
from agent.publish.memory import BASE, HELD, WISHES
from resentry.contract import encode_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.confirm.receipts import Receipts
    from agent.notify.signal import Signals
    from agent.publish.volume import Volume
    from agent.settings import Settings
    from agent.source import Source
    from resentry.contract import Snapshot


class Pipeline:
    """The five stages, and what has to be remembered between two passes.

    `run` belongs to one thread at a time; the rest may be asked from another one.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        volume: Volume,
        signals: Signals | None,
        receipts: Receipts,
    ) -> None:
        self._settings = settings
        self._source = source
        self._volume = volume
        self._signals = signals
        self._receipts = receipts
        self._lock = threading.Lock()
        self.current = volume.current()
        self.began = time.monotonic()
        """When the current snapshot was published, or taken over from the volume."""
        self._base = volume.memory.read_snapshot(BASE) or self.current
        self._wishes = decode_wishes(volume.memory.read(WISHES))
        self._held = volume.memory.read_snapshot(HELD)

    def run(self) -> Outcome:
        """Do one pass. What goes wrong is in the outcome; the last good stays."""
        try:
            return self._run()
        except AgentError as error:
            return self.failed(error)

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
        except (SourceError, CandidateRefused) as problem:
            # What an operator asks for does not wait for the source.
            error = problem
        wanted, wishes_notes = self._wanted()
        if wanted is not None and not self._is_current(wanted):
            published = self._volume.publish(wanted)
            with self._lock:
                self.current = published
                self.began = time.monotonic()
            if self._signals:
                self._signals.notify(self._receipts.read())
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
        base, notes = validate(self._source.read(), self._settings.policy, self._base)
        if self._base is None or self._base.content() != base.content():
            self._volume.keep(BASE, encode_snapshot(base))
        self._base = base
        return notes

    def _wanted(self) -> tuple[Snapshot | None, tuple[str, ...]]:
        """What is to be published now, and what to say of an operator's wishes."""
        if self._base is None:
            return None, ()
        now = time.time()
        with self._lock:
            self._wish(lambda wishes: wishes.pruned(self._base, now))
            wishes = self._wishes
        held = None
        notes: tuple[str, ...] = ()
        if wishes.held is not None:
            held = self._held
            notes = (f"an operator's rollback holds revision {wishes.held.revision}",)
        return overlay(self._base, held, wishes, now), notes

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

    def hold(self, snapshot: Snapshot, against: Mapping[str, str]) -> None:
        """Publish that snapshot from now on, until the source holds none of `against`."""
        self._volume.keep(HELD, encode_snapshot(snapshot))
        self._held = snapshot
        held = Held(snapshot.revision, against)
        self.wish(lambda wishes: replace(wishes, held=held))

    def history(self) -> list[Snapshot]:
        """Return the published snapshots of late, newest first."""
        return self._volume.memory.history()

    def next_end(self) -> float | None:
        """In how many seconds a boost ends, and with it the current snapshot."""
        boosts = self.current.boosts if self.current else ()
        ends = [epoch(boost.until) - time.time() for boost in boosts]
        return max(0.0, min(ends)) if ends else None

    # Confirm

    def rollout(self) -> Rollout:
        """Say how far the current snapshot has got, from the receipts of now."""
        with self._lock:
            current, began = self.current, self.began
        late = time.monotonic() - began > self._settings.confirm_seconds
        found = assess(
            self._receipts.read(), current, late=late, minimum=self._settings.minimum
        )
        if found.state == "refused" and current is not None:
            with contextlib.suppress(PublishError):  # the next look tries again
                self.wish(lambda wishes: _rejecting(wishes, current.revision))
        return found

    def abort(self) -> None:
        """Make a running pass end soon: its deadline is over, or the agent's time."""
        self._source.abort()


def _rejecting(wishes: Wishes, revision: str) -> Wishes:
    rejected = dict.fromkeys((*wishes.rejected, revision))
    return replace(wishes, rejected=tuple(rejected)[-10:])
