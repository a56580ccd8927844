"""What an export of OpenTelemetry's spans holds, read without a protobuf library."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# ExportTraceServiceRequest.resource_spans, ResourceSpans.scope_spans, ScopeSpans.spans,
# Span.span_id
_SPAN_ID = (1, 2, 2, 2)


def span_ids(body: bytes) -> list[str]:
    """Return the hexadecimal ids of the spans. Raises ValueError for what is none."""
    found = [body]
    for number in _SPAN_ID:
        found = [part for each in found for part in _parts(each, number)]
    return [part.hex() for part in found]


def _parts(message: bytes, wanted: int) -> Iterator[bytes]:
    """Every value of one field that is a message, a text or bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in {_FIXED64, _FIXED32}:
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"no such kind of field: {kind}")
        if at + size > len(message):
            raise ValueError("a field is cut off")
        if number == wanted and kind == _BYTES:
            yield message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("a number is cut off")
        byte, at = message[at], at + 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ValueError("a number is too long")
