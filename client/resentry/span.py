"""A test span in OpenTelemetry's own format, made without OpenTelemetry.

The numbers of the fields are those of `opentelemetry/proto/trace/v1/trace.proto`.
"""

from __future__ import annotations

import struct
import time
import uuid
from typing import Any

from resentry.verification import FINGERPRINT, TAG

_TEXT, _FIXED = 2, 1
_SECONDS = 0.01


def encode_span(trace: str, nonce: str, options: dict[str, Any]) -> bytes:
    """Return an export of one span. `trace` is the id of its trace, 32 hexadecimal digits."""
    ended = time.time()
    span = (
        _field(1, bytes.fromhex(trace))
        + _field(2, uuid.uuid4().bytes[:8])
        + _field(5, FINGERPRINT.encode())
        + _nanoseconds(7, ended - _SECONDS)
        + _nanoseconds(8, ended)
        + _attribute(9, TAG, nonce)
    )
    resource = b"".join(
        _attribute(1, name, str(options.get(option) or ""))
        for name, option in (
            ("deployment.environment.name", "environment"),
            ("service.version", "release"),
        )
    )
    spans = _field(2, _field(2, span))
    return _field(1, _field(1, resource) + spans)


def _attribute(number: int, key: str, value: str) -> bytes:
    text = _field(1, value.encode("utf-8", "replace"))
    return _field(number, _field(1, key.encode()) + _field(2, text))


def _nanoseconds(number: int, seconds: float) -> bytes:
    return bytes([number << 3 | _FIXED]) + struct.pack("<Q", int(seconds * 1e9))


def _field(number: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | _TEXT]) + length + bytes([size]) + body
