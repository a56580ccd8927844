"""The passes so far: the newest outcome, the failures in a row, the outage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.domain.value import Value, replace
from agent.errors import CandidateRefused
from resentry import formats
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.outcome import Outcome

GOOD = ("published", "unchanged", "held", "checking")
"""The kinds of outcomes that show that the source was read."""
REASONS_LIMIT = 20
"""An outage has at most this many reasons that are logged, and one of each new error."""
_NO_ERROR = ""


class Moment(Value, frozen=True):
    """One moment on two clocks, in seconds: since the epoch, and monotonic."""

    wall: float
    monotonic: float


class Passes(Value, frozen=True):
    """One value, replaced as a whole after each pass. Times are those of `Moment`."""

    ended_at: float
    """Monotonic: when the newest pass ended; before the first pass, when the agent began."""
    outcome: Outcome | None = None
    since: float | None = None
    """When the source became good, or first failed with this error in this outage."""
    last_success: float | None = None
    """When the source was last read, by this agent or an earlier one."""
    read_at: float | None = None
    """Monotonic: when this agent last read the source."""
    failures: int = 0
    """The number of passes in a row that failed or whose candidate was refused."""
    seconds: float = 0.0
    """How long the newest pass took."""
    outage: str = ""
    """A sentence on the outage that the newest pass has ended; else empty."""
    is_news: bool = False
    """Whether the newest outcome was not logged before in this outage."""
    _began: Mapping[str, float] = {}
    """When each error of this outage came first, or when the source became good."""
    _logged: frozenset[str] = frozenset()

    @classmethod
    def resumed(cls, saved: Mapping[str, Any], now: float) -> Passes:
        """Continue from the state of an earlier agent: a restart does not end an outage."""
        since = _epoch(saved["since"])
        began = {}
        if saved["error"] and saved["failures"] and since is not None:
            began = {str(saved["error"]): since}
        success = _epoch(saved["last_success_at"])
        return cls(ended_at=now, last_success=success, _began=began)

    @property
    def is_waiting(self) -> bool:
        """Whether a candidate waits for its DSN check."""
        return self.outcome is not None and self.outcome.kind == "checking"

    def after(self, outcome: Outcome, moment: Moment, seconds: float) -> Passes:
        """Return the passes with one more, which ended at `moment` after `seconds`.

        In an outage, each distinct reason is logged once.
        """
        good = outcome.kind in GOOD
        turned = good != (_NO_ERROR in self._began)
        error = _NO_ERROR if good else outcome.error
        began = {} if turned else self._began
        since = began.get(error, moment.wall)
        line = repr((outcome.kind, outcome.sentence, outcome.notes))
        begins = good or turned
        logged: frozenset[str] = frozenset() if begins else self._logged
        is_allowed = len(logged) < REASONS_LIMIT or error not in began
        is_news = line not in self._logged and is_allowed
        return replace(
            self,
            ended_at=moment.monotonic,
            outcome=outcome,
            since=since,
            last_success=moment.wall if good else self.last_success,
            read_at=moment.monotonic if good else self.read_at,
            failures=0 if good else self.failures + 1,
            seconds=seconds,
            outage=self._outage() if turned and good else "",
            is_news=is_news,
            _began={**began, error: since},
            _logged=logged | {line} if is_news or begins else logged,
        )

    def _outage(self) -> str:
        refused = CandidateRefused.__name__
        what = (
            "candidates had been refused"
            if self._began.keys() == {refused}
            else "passes had failed"
        )
        for began in self._began.values():  # the first error of the outage
            return f"{what} since {time_text(began)}"
        return ""


def _epoch(text: object) -> float | None:
    try:
        return formats.moment(text)
    except ValueError:
        return None
