"""What the servers of a process's DSNs answer to its envelopes, as its receipt shows it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from resentry import clock, formats

if TYPE_CHECKING:
    from collections.abc import Iterable

ANSWERS_LIMIT = 8
"""A process remembers this many DSNs, the ones that were used last."""
REFRESH_SECONDS = 30.0
"""The counts in a receipt are at most this old. A change of kind is shown at once."""

Kind = Literal["accepted", "refused", "limited", "failed", "unreached"]
"""2xx; 401, 403, 404; 429; any other status; no answer."""
KINDS: tuple[Kind, ...] = get_args(Kind)
REFUSED = frozenset({401, 403, 404})
"""What a server answers to a DSN that is revoked, or that never was one."""
_KINDS: dict[int, Kind] = {**dict.fromkeys(REFUSED, "refused"), 429: "limited"}
_TEXTS = ("dsn", "kind", "since", "accepted_at")


class Answer(NamedTuple):
    """The newest answer of one DSN's server, and how many of each kind there were.

    `dsn` is the fingerprint of the DSN. `kind` is a `Kind`, or another word of a newer
    library, and has been the same `since` then. `status`
    is the HTTP status; `None` if nothing answered. `accepted_at` is when an envelope was
    accepted last; empty if none was.
    """

    dsn: str
    kind: str
    status: int | None
    since: str
    accepted_at: str = ""
    accepted: int = 0
    refused: int = 0
    limited: int = 0
    failed: int = 0
    unreached: int = 0


class Answers:
    """The answers in one process. Any thread may note one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, Answer] = {}
        self._shown: tuple[Answer, ...] = ()
        self._shown_at = 0.0
        self._turned = False

    def note(self, dsn: str, status: int | None) -> None:
        """Note that the server of this DSN gave this status; `None` is no answer."""
        kind, now = kind_of(status), formats.time_text(time.time(), "seconds")
        with self._lock:
            before = self._newest.pop(dsn, None)
            if before is None or before.kind != kind:
                self._turned = True
            answer = before or Answer(dsn, kind, status, now)
            self._newest[dsn] = answer._replace(
                kind=kind,
                status=status,
                since=answer.since if answer.kind == kind else now,
                accepted_at=now if kind == "accepted" else answer.accepted_at,
                **{kind: getattr(answer, kind) + 1},
            )
            for oldest in list(self._newest)[:-ANSWERS_LIMIT]:
                del self._newest[oldest]

    def shown(self) -> tuple[Answer, ...]:
        """Return the answers for the receipt, which need not be written for each event."""
        now = clock.monotonic()
        with self._lock:
            if self._turned or now >= self._shown_at + REFRESH_SECONDS:
                self._shown, self._shown_at = tuple(self._newest.values()), now
                self._turned = False
        return self._shown


def kind_of(status: int | None) -> Kind:
    """Return what an HTTP status means for a DSN."""
    if status is None:
        return "unreached"
    return "accepted" if 200 <= status < 300 else _KINDS.get(status, "failed")


def is_answer(value: Any) -> bool:
    """Whether a receipt's value can be read as an `Answer`."""
    return (
        type(value) is dict
        and all(type(value.get(name)) is str for name in _TEXTS)
        and type(value.get("status")) in (int, type(None))
        and all(type(value.get(kind, 0)) is int for kind in KINDS)
        and all(value.get(kind, 0) >= 0 for kind in KINDS)
    )


def read_answers(values: Iterable[dict[str, Any]]) -> tuple[Answer, ...]:
    """Return answers from a receipt's checked values. Unknown fields are skipped."""
    return tuple(
        Answer(**{name: value[name] for name in Answer._fields if name in value})
        for value in values
    )
