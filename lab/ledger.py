"""What a Sentry envelope holds, and the exact account of all that have arrived."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import Any, NamedTuple

import msgspec

from lab.otlp import span_ids


class Received(msgspec.Struct, frozen=True, gc=False):
    """One event or transaction as it arrived."""

    kind: str
    project: int
    key: str
    event_id: str
    environment: str
    release: str
    message: str
    """The message, else the exception as `Type: value`; a transaction's name."""
    tags: dict[str, str]
    trace_key: str
    """The public key in the envelope's trace header, empty without one."""
    server_name: str


class Item(NamedTuple):
    """One item of an envelope."""

    kind: str
    header: dict[str, Any]
    payload: bytes


class _Event(msgspec.Struct):
    event_id: Any = ""
    environment: Any = ""
    release: Any = ""
    transaction: Any = ""
    message: Any = ""
    logentry: Any = None
    exception: Any = None
    tags: Any = None
    server_name: Any = ""


_decode_event = msgspec.json.Decoder(_Event).decode


def parse_envelope(body: bytes) -> tuple[dict[str, Any], list[Item]]:
    """Return the header and the items; raises ValueError when it is not an envelope."""
    first, _, rest = body.partition(b"\n")
    header, items = _object(first), []
    while rest:
        line, _, rest = rest.partition(b"\n")
        if not line.strip():
            continue
        about = _object(line)
        length = about.get("length")
        if length is None:
            payload, _, rest = rest.partition(b"\n")
        elif length > len(rest):
            raise ValueError("an item is cut off")
        else:
            # The line break after a payload is skipped as an empty line.
            payload, rest = rest[:length], rest[length:]
        items.append(Item(str(about.get("type", "")), about, payload))
    return header, items


def _object(line: bytes) -> dict[str, Any]:
    decoded = msgspec.json.decode(line)
    if not isinstance(decoded, dict):
        raise ValueError("not an object")
    return decoded


class Ledger:
    """An account that any thread may read while another one books."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget everything booked so far."""
        with self._lock:
            self._received: list[Received] = []
            self._spans: list[tuple[int, str, str]] = []
            self._seen: dict[str, Counter[str]] = {}
            self._counts: Counter[tuple[int, str, str]] = Counter()
            self._sessions: set[str] = set()
            self._reports: Counter[tuple[str, str]] = Counter()

    def book(self, project: int, key: str, body: bytes) -> str:
        """Book one envelope; return its event id. Raises ValueError, booking nothing."""
        header, items = parse_envelope(body)
        trace = header.get("trace") or {}
        trace_key = str(trace.get("public_key", ""))
        events = [
            _received(item, project, key, trace_key)
            for item in items
            if item.kind in {"event", "transaction"}
        ]
        with self._lock:
            for event in events:
                self._received.append(event)
                self._counts[project, key, event.kind] += 1
                ids = self._seen.setdefault(event.kind, Counter())
                ids[event.event_id] += 1
            for item in items:
                if item.kind not in {"event", "transaction"}:
                    self._book_other(project, key, item)
        return str(header.get("event_id", ""))

    def book_spans(self, project: int, key: str, body: bytes) -> None:
        """Book one export of OpenTelemetry's. Raises ValueError, booking nothing."""
        found = span_ids(body)
        with self._lock:
            self._spans += [(project, key, span) for span in found]
            self._counts[project, key, "otlp"] += len(found)
            self._seen.setdefault("otlp", Counter()).update(found)

    def spans(self, project: int | None = None, key: str | None = None) -> list[str]:
        """Return the ids of OpenTelemetry's spans as they arrived, duplicates included."""
        with self._lock:
            spans = list(self._spans)
        return [
            span
            for in_project, with_key, span in spans
            if project in {None, in_project} and key in {None, with_key}
        ]

    def _book_other(self, project: int, key: str, item: Item) -> None:
        kind, amount = item.kind, 1
        if kind in {"log", "trace_metric", "span"}:
            amount = len(json.loads(item.payload).get("items", [None]))
        elif kind == "sessions":
            kind, amount = "session", _aggregated(json.loads(item.payload))
        elif kind == "session":
            # Updates of one session carry one id.
            sid = str(json.loads(item.payload).get("sid", ""))
            amount = int(sid not in self._sessions)
            self._sessions.add(sid)
        elif kind == "client_report":
            for lost in json.loads(item.payload).get("discarded_events", []):
                self._reports[lost["reason"], lost["category"]] += lost["quantity"]
        self._counts[project, key, kind] += amount

    def events(
        self, project: int | None = None, key: str | None = None
    ) -> list[Received]:
        """Return the error events in the order of their arrival, duplicates included."""
        return self._select("event", project, key)

    def transactions(
        self, project: int | None = None, key: str | None = None
    ) -> list[Received]:
        """Return the transactions in the order of their arrival, duplicates included."""
        return self._select("transaction", project, key)

    def _select(
        self, kind: str, project: int | None, key: str | None
    ) -> list[Received]:
        with self._lock:
            received = list(self._received)
        return [
            one
            for one in received
            if one.kind == kind
            and project in {None, one.project}
            and key in {None, one.key}
        ]

    def event_ids(
        self, project: int | None = None, key: str | None = None
    ) -> list[str]:
        """Return the ids of the error events, duplicates included."""
        return [event.event_id for event in self.events(project, key)]

    def count(
        self, kind: str, project: int | None = None, key: str | None = None
    ) -> int:
        """Return how many arrived of one item type.

        `event`, `transaction`, `session`, `log`, `trace_metric`, `client_report`,
        `profile`, `profile_chunk`, ...: the contents of a container, not containers.
        """
        with self._lock:
            counts = list(self._counts.items())
        return sum(
            amount
            for (in_project, with_key, of_kind), amount in counts
            if of_kind == kind
            and project in {None, in_project}
            and key in {None, with_key}
        )

    def client_reports(self) -> dict[tuple[str, str], int]:
        """Return what clients say they lost: how many per (reason, category)."""
        with self._lock:
            return dict(self._reports)

    def duplicates(self) -> int:
        """Return how many deliveries repeated an id of the same type, anywhere."""
        with self._lock:
            return sum(ids.total() - len(ids) for ids in self._seen.values())


def _received(item: Item, project: int, key: str, trace_key: str) -> Received:
    event = _decode_event(item.payload)
    transaction = item.kind == "transaction"
    return Received(
        kind=item.kind,
        project=project,
        key=key,
        event_id=str(event.event_id),
        environment=str(event.environment or ""),
        release=str(event.release or ""),
        message=str(event.transaction or "") if transaction else _message(event),
        tags={str(name): str(value) for name, value in _pairs(event.tags)},
        trace_key=trace_key,
        server_name=str(event.server_name or ""),
    )


def _message(event: _Event) -> str:
    entry = event.logentry or event.message or ""
    if isinstance(entry, dict):
        entry = entry.get("formatted") or entry.get("message") or ""
    if not entry and event.exception:
        chain = event.exception
        last = (chain.get("values", []) if isinstance(chain, dict) else chain)[-1:]
        entry = ", ".join(
            f"{error.get('type')}: {error.get('value')}" for error in last
        )
    return str(entry)


def _pairs(tags: Any) -> list[tuple[Any, Any]]:
    return list(tags.items()) if isinstance(tags, dict) else list(tags or [])


def _aggregated(sessions: dict[str, Any]) -> int:
    ends = ("exited", "errored", "abnormal", "crashed")
    return sum(
        row.get(end, 0) for row in sessions.get("aggregates", []) for end in ends
    )
