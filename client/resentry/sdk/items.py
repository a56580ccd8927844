"""Makes test items as the SDK makes its own. Sampling and hooks do not see them."""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.envelope import Envelope, Item, PayloadRef
from sentry_sdk.utils import event_from_exception, format_timestamp

from resentry.verification import FINGERPRINT, TAG

if TYPE_CHECKING:
    from collections.abc import Callable

_LOGS = "application/vnd.sentry.items.log+json"


class VerificationError(Exception):
    """A test error, which an operator asked for. Nothing is wrong."""


class TestItem(Envelope):
    """An envelope that is sent once, by one DSN only. `answered` gets what became of it.

    `answered` gets a state of `Sent`, and the HTTP status or `None`.
    """

    __test__ = False  # to pytest

    def __init__(self, event: str, answered: Callable[[str, int | None], None]) -> None:
        sent_at = format_timestamp(datetime.now(timezone.utc))
        super().__init__(headers={"event_id": event, "sent_at": sent_at})
        self.answered = answered


def make(
    kind: str,
    nonce: str,
    options: dict[str, Any],
    answered: Callable[[str, int | None], None],
) -> TestItem:
    """Return a test item; `answered` gets its state and its HTTP status."""
    event = uuid.uuid4().hex
    envelope = TestItem(event, answered)
    if kind == "log":
        envelope.add_item(_log(nonce, options))
        return envelope
    now = time.time()
    content: Any = {
        "event_id": event,
        "timestamp": format_timestamp(datetime.now(timezone.utc)),
        "platform": "python",
        "level": "info",
        "environment": options.get("environment"),
        "release": options.get("release"),
        "server_name": options.get("server_name"),
        "fingerprint": [FINGERPRINT],
        "tags": {TAG: nonce},
        "sdk": {"name": "sentry.python", "version": sentry_sdk.VERSION},
    }
    if kind == "error":
        content |= _error(options)
    elif kind == "message":
        content["message"] = (
            "A test message, which an operator asked for. Nothing is wrong."
        )
    else:
        content |= _transaction(now)
    if kind == "transaction":
        envelope.add_transaction(content)
    else:
        envelope.add_event(content)
    return envelope


def _error(options: dict[str, Any]) -> dict[str, Any]:
    try:
        raise VerificationError(VerificationError.__doc__)
    except VerificationError as error:
        # Without variables: the options are among them, and so is the DSN.
        shown = {**options, "include_local_variables": False}
        made, _ = event_from_exception(error, client_options=shown)
    return {**made, "level": "info"}


def _transaction(now: float) -> dict[str, Any]:
    trace, root, child = uuid.uuid4().hex, uuid.uuid4().hex[16:], uuid.uuid4().hex[16:]
    began = format_timestamp(datetime.fromtimestamp(now - 0.01, timezone.utc))
    ended = format_timestamp(datetime.fromtimestamp(now, timezone.utc))
    span = {
        "trace_id": trace,
        "start_timestamp": began,
        "timestamp": ended,
        "op": "test",
    }
    return {
        "type": "transaction",
        "transaction": FINGERPRINT,
        "transaction_info": {"source": "custom"},
        "start_timestamp": began,
        "timestamp": ended,
        "contexts": {
            "trace": {"trace_id": trace, "span_id": root, "op": "test", "status": "ok"}
        },
        "spans": [{**span, "span_id": child, "parent_span_id": root}],
    }


def _log(nonce: str, options: dict[str, Any]) -> Item:
    attributes = {
        TAG: nonce,
        "sentry.environment": options.get("environment") or "",
        "sentry.release": options.get("release") or "",
    }
    log = {
        "timestamp": time.time(),
        "trace_id": uuid.uuid4().hex,
        "level": "info",
        "body": "A test log, which an operator asked for. Nothing is wrong.",
        "attributes": {
            name: {"value": value, "type": "string"}
            for name, value in attributes.items()
        },
    }
    body = json.dumps({"items": [log]}).encode()
    headers = {"item_count": 1}
    return Item(PayloadRef(body), headers, "log", _LOGS)
