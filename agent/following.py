"""Follows the rollout: reads the receipts when they may say something new, and only then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.confirm.receipts import Receipts
    from agent.domain.rollout import Rollout
    from agent.domain.view import Known
    from agent.settings import Settings

UNFINISHED_SECONDS = 1.0
"""The time between two looks at the receipts while a rollout is not finished."""
FINISHED_SECONDS = 10.0
"""The time between two looks after that: a change or a death makes an event before."""


class Following:
    """The newest rollout. Only the loop's thread calls `look`; any thread `changed`."""

    def __init__(self, receipts: Receipts, settings: Settings, known: Known) -> None:
        self._receipts = receipts
        self._settings = settings
        self._has_changed = self._is_watched = False
        self._known = known
        self.rollout = read_rollout(receipts, settings, known)
        self.again_at = time.monotonic() + UNFINISHED_SECONDS
        """When `look` reads the receipts again, as a monotonic time."""

    def changed(self) -> None:
        """Have the next `look` read the receipts: one of them may have changed.

        Whoever watches them calls this, also when the watch begins. Until then they are
        read more often.
        """
        self._has_changed = self._is_watched = True

    def look(self, known: Known) -> Rollout:
        """Return the rollout of what is published: the same object if it is as before."""
        now = time.monotonic()
        is_published = known.published_at != self._known.published_at
        if not is_published and not self._has_changed and now < self.again_at:
            return self.rollout
        # Before: a receipt may change meanwhile, and reading may fail.
        self._known, self._has_changed = known, False
        self.again_at = now + UNFINISHED_SECONDS
        found = read_rollout(self._receipts, self._settings, known)
        if found != self.rollout:
            self.rollout = found
        if self._is_watched and not found.is_unfinished:
            self.again_at = now + FINISHED_SECONDS
        late_at = known.published_at + self._settings.confirm_seconds
        if now <= late_at < self.again_at:
            self.again_at = late_at
        return self.rollout


def read_rollout(receipts: Receipts, settings: Settings, known: Known) -> Rollout:
    """Return how far what is published has got, by the receipts of now."""
    late = time.monotonic() - known.published_at > settings.confirm_seconds
    return receipts.rollout(known.current, settings.min_targets, late=late)
