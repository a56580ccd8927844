"""One pass: source, validate, publish, notify, confirm. The only place of this order."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from agent.domain.outcome import Outcome
from agent.domain.rollout import Rollout, assess
from agent.domain.validate import validate
from agent.errors import AgentError

if TYPE_CHECKING:
    from agent.confirm.receipts import Receipts
    from agent.notify.signal import Signals
    from agent.publish.volume import Volume
    from agent.settings import Settings
    from agent.source import Source


class Pipeline:
    """The five stages, and what has to be remembered between two passes.

    `run` belongs to one thread; `rollout` may be asked from another one.
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

    def run(self) -> Outcome:
        """Do one pass. What goes wrong is in the outcome; the last good stays."""
        try:
            return self._run()
        except AgentError as error:
            return self.failed(error)

    def failed(self, error: AgentError) -> Outcome:
        """The outcome of a pass that ended in `error`: the last good stays."""
        return Outcome.kept(error, self.current)

    def _run(self) -> Outcome:
        candidate = self._source.read()
        snapshot, notes = validate(candidate, self._settings.environment, self.current)
        if self.current and self.current.revision == snapshot.revision:
            return Outcome.unchanged(self.current, notes)
        published = self._volume.publish(snapshot)
        with self._lock:
            self.current = published
            self.began = time.monotonic()
        if self._signals:
            self._signals.notify(self._receipts.read())
        return Outcome.published(published, notes)

    def rollout(self) -> Rollout:
        """Say how far the current snapshot has got, from the receipts of now."""
        with self._lock:
            current, began = self.current, self.began
        late = time.monotonic() - began > self._settings.confirm_seconds
        return assess(self._receipts.read(), current, late=late)

    def abort(self) -> None:
        """Make a running pass end soon: its deadline is over, or the agent's time."""
        self._source.abort()
