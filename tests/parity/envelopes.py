"""A run as one document that can be compared: whole, but for what no two runs share.

Ids are numbered in the order of their appearance, so that what refers to what is still
compared; times, durations, threads, addresses and lengths have a word each.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from lab.ledger import parse_envelope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from receivers import Request

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]|\b)\d\d:\d\d:\d\d\b([.,]\d+)?(Z|\+00:00)?"
    r"|datetime\.datetime\(\d[\d, ]*"
)
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")
_ID = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9a-f]{32}|[0-9a-f]{16}|"
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?![0-9A-Za-z])"
)
_RANDOM = re.compile(r"(?<=sample_rand=)0\.\d{6}\b|\A0\.\d{6}\Z")
_THREAD = re.compile(r"\b1[2-4]\d{13}\b")
_HOST = re.compile(r"127\.0\.0\.1:\d+")
_BY_KEY = {
    **dict.fromkeys(("timestamp", "start_timestamp", "sent_at", "started"), "TIME"),
    **dict.fromkeys(("startTimeUnixNano", "endTimeUnixNano"), "TIME"),
    **dict.fromkeys(("duration", "relative_start_ns", "relative_end_ns"), "DURATION"),
    **dict.fromkeys(("thread.id", "thread_id", "active_thread_id"), "THREAD"),
    **dict.fromkeys(("chunk_id", "process.pid", "subprocess.pid"), "ID"),
    **dict.fromkeys(("length", "content-length"), "LENGTH"),
}
_GOES_ON = "anyio._backends._asyncio", "run"
"""The thread in which a framework has run a function that failed."""
_BATCHES = {
    *("log", "trace_metric", "span", "session", "sessions", "client_report"),
    "profile_chunk",
}


def document(
    requests: list[Request], outgoing: list[Request], words: Mapping[str, str]
) -> dict[str, Any]:
    """Return what was sent and asked, without what differs from run to run.

    Args:
        requests: what came to Sentry's receiver.
        outgoing: what came to the other service.
        words: texts of this run alone (addresses, keys, folders), and what to call them.

    """
    found: dict[str, Any] = {}
    envelopes = [_envelope(one, words) for one in requests if "/envelope" in one.target]
    spans = [_spans(one) for one in requests if "/otlp/" in one.target]
    for kind, group in itertools.groupby(
        sorted(_joined(envelopes), key=_place), key=_kind
    ):
        found[kind] = list(group)
    found["otlp"] = spans
    found["outgoing"] = [
        {"request": f"{one.method} {one.target}", "headers": one.headers}
        for one in outgoing
        if one.method != "CONNECT"
    ]
    found["tunnels"] = sorted({o.target for o in outgoing if o.method == "CONNECT"})
    rest = [one for one in requests if not re.search("/envelope|/otlp/", one.target)]
    found["rest"] = [f"{one.method} {one.target}" for one in rest]
    return found


def normal(found: Any, words: Mapping[str, str]) -> Any:
    """Return a document with words in place of what no two runs share."""
    return _Words(words).normal(found)


class _Words:
    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words
        self._numbered: dict[tuple[str, str], str] = {}

    def normal(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            items = sorted(value.items(), key=lambda pair: str(pair[0]))
            # An attribute is {"type": …, "value": …}.
            names = {k: key if k == "value" else str(k) for k, _ in items}
            return {self._text(str(k)): self.normal(v, names[k]) for k, v in items}
        if isinstance(value, list):
            return [self.normal(one, key) for one in value]
        if value is None or isinstance(value, bool):
            return value
        if key in _BY_KEY:
            return _BY_KEY[key]
        if isinstance(value, (int, float)):
            return "TIME" if 1.5e9 < value < 3e9 else value
        return self._text(value)

    def _text(self, text: str) -> str:
        text = _TIME.sub("TIME", _told(text, self._words))
        text = _ADDRESS.sub("ADDRESS", text)
        text = _THREAD.sub("THREAD", text)
        text = _ID.sub(lambda found: self._number("id", found[0]), text)
        text = _RANDOM.sub(lambda found: self._number("random", found[0]), text)
        return _HOST.sub(lambda found: self._number("host", found[0]), text)

    def _number(self, kind: str, value: str) -> str:
        number = sum(1 for known, _ in self._numbered if known == kind) + 1
        return self._numbered.setdefault((kind, value), f"{kind}-{number}")


def _envelope(request: Request, words: Mapping[str, str]) -> dict[str, Any]:
    body = request.body
    if request.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    header, items = parse_envelope(body)
    return {
        "http": {"target": request.target, **request.headers},
        "header": json.loads(_told(json.dumps(header), words)),
        "items": [
            {
                "header": one.header,
                "payload": _payload(
                    one.kind, _told(one.payload.decode("latin-1"), words)
                ),
            }
            for one in items
        ],
    }


def _told(text: str, words: Mapping[str, str]) -> str:
    """Return a text with words in place of what is of this run alone."""
    for known in sorted(words, key=len, reverse=True):
        text = text.replace(known, words[known])
    return text


def _payload(kind: str, payload: str) -> Any:
    try:
        read = json.loads(payload)
    except ValueError:
        return payload
    if kind in {"profile", "profile_chunk"}:
        # Which samples were taken is chance.
        read["profile"] = {key: bool(value) for key, value in read["profile"].items()}
    if kind == "event":
        for frame in _frames(read):
            # The thread goes on meanwhile: which of its variables are set is chance.
            if (frame.get("module"), frame.get("function")) == _GOES_ON:
                frame["vars"] = "CHANCE"
    return read


def _frames(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for error in (event.get("exception") or {}).get("values") or ():
        yield from (error.get("stacktrace") or {}).get("frames") or ()


def _spans(request: Request) -> dict[str, Any]:
    body = request.body
    if request.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    message = MessageToDict(ExportTraceServiceRequest.FromString(body))
    for resource in message["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in span.keys() & {"traceId", "spanId", "parentSpanId"}:
                    span[name] = base64.b64decode(span[name]).hex()
    return {"http": {"target": request.target, **request.headers}, **message}


def _kind(envelope: Mapping[str, Any]) -> str:
    return str(envelope["items"][0]["header"].get("type", ""))


def _place(envelope: Mapping[str, Any]) -> tuple[bool, str, str]:
    """Kinds apart, each by the time of its capture; a sort leaves the rest as it came.

    First events and transactions: their ids are numbered first.
    """
    kind = _kind(envelope)
    first = kind in {"event", "transaction"}
    if kind in _BATCHES:  # sent at any time
        captured = [_captured(one) for one in envelope["items"]]
        return not first, kind, min(captured)
    return not first, kind, str(envelope["header"].get("sent_at", ""))


def _captured(item: Mapping[str, Any]) -> str:
    found = item["payload"].get("items", [{}])
    return str(min(_moment(one) for one in found))


def _moment(one: Mapping[str, Any]) -> float:
    return float(one.get("timestamp", one.get("start_timestamp", 0)))


def _joined(envelopes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join what is sent in batches: when a batch ends is a matter of time.

    Of logs, metrics and spans one batch remains for each header, of sessions and client
    reports one at all, of a profile's chunks one for each profiler.
    """
    found: list[dict[str, Any]] = []
    batches: dict[str, dict[str, Any]] = {}
    for one in envelopes:
        kinds = {str(item["header"].get("type")) for item in one["items"]}
        if not kinds <= _BATCHES:
            found.append(one)
            continue
        header = {k: v for k, v in one["header"].items() if k != "sent_at"}
        name = json.dumps([sorted(kinds), header], sort_keys=True)
        if name in batches:
            batches[name]["items"] += one["items"]
        else:
            batches[name] = one
            found.append(one)
    for one in batches.values():
        one["items"] = _joined_items(one["items"])
    return found


def _joined_items(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    sums: dict[str, dict[str, Any]] = {}
    for item in items:
        kind, payload = item["header"].get("type"), item["payload"]
        what = [kind, payload.get("attrs"), payload.get("profiler_id")]
        name = json.dumps(what, sort_keys=True)
        if kind == "session":
            found.append(item)
        elif name not in sums:
            sums[name] = item
            found.append(item)
        else:
            for key in ("items", "aggregates", "discarded_events"):
                payload_of_all = sums[name]["payload"]
                if key in payload_of_all:
                    payload_of_all[key] += payload[key]
    for item in sums.values():
        _add_up(item)
    return found


def _add_up(item: dict[str, Any]) -> None:
    """Count what a batch holds, as if it had been one from the start."""
    payload = item["payload"]
    if "items" in payload:
        payload["items"].sort(key=_moment)
        item["header"]["item_count"] = len(payload["items"])
    elif "aggregates" in payload:
        # A minute may end between two requests.
        total: dict[str, int] = {}
        for one in payload["aggregates"]:
            for name in one.keys() - {"started"}:
                total[name] = total.get(name, 0) + one[name]
        payload["aggregates"] = total
    elif "discarded_events" in payload:
        lost: dict[str, Any] = {}
        for one in payload["discarded_events"]:
            name = f"{one['category']}, {one['reason']}"
            if one["category"].endswith("_byte"):  # times differ in their digits
                lost[name] = "LENGTH"
            else:
                lost[name] = lost.get(name, 0) + one["quantity"]
        payload["discarded_events"] = lost
