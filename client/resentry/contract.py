"""What agent and library agree on: names, schema, encode, decode.

Standard library only, no I/O. `docs/contract.md` states the same for people.
"""

from __future__ import annotations

import hashlib
import re
import signal
from urllib.parse import urlsplit

from resentry import formats
from resentry.formats import MATCH_LIMIT, ROLE, time_text
from resentry.receipt import (
    ENTRIES_LIMIT,
    ERROR_LIMIT,
    HOLDERS_LIMIT,
    RECEIPT_LIMIT_BYTES,
    TEXT_LIMIT,
    Holder,
    Receipt,
    decode_receipt,
    encode_receipt,
)
from resentry.schema import SCHEMA, ContractError
from resentry.snapshot import (
    BOOSTS_LIMIT,
    BUDGETS_LIMIT,
    CEILINGS_LIMIT,
    ERROR_RULES_LIMIT,
    NAME_LIMIT,
    NAMED_LIMIT,
    ROLES_LIMIT,
    RULES_LIMIT,
    SETTING,
    SETTINGS_FILE,
    SETTINGS_LIMIT_BYTES,
    TUNING,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
    revision_of,
)
from resentry.tuning import (
    KEEP,
    NUMBERS,
    Boost,
    Budget,
    Ceiling,
    ErrorRule,
    Rule,
    check,
    per_minute_of,
    read_items,
    required,
)

__all__ = [  # what is defined elsewhere and belongs to the contract, too
    "BOOSTS_LIMIT",
    "BUDGETS_LIMIT",
    "CEILINGS_LIMIT",
    "ENTRIES_LIMIT",
    "ERROR_LIMIT",
    "ERROR_RULES_LIMIT",
    "HOLDERS_LIMIT",
    "KEEP",
    "MATCH_LIMIT",
    "NAMED_LIMIT",
    "NAME_LIMIT",
    "NUMBERS",
    "RECEIPT_LIMIT_BYTES",
    "ROLE",
    "ROLES_LIMIT",
    "RULES_LIMIT",
    "SCHEMA",
    "SETTING",
    "SETTINGS_FILE",
    "SETTINGS_LIMIT_BYTES",
    "TEXT_LIMIT",
    "TUNING",
    "Boost",
    "Budget",
    "Ceiling",
    "ContractError",
    "ErrorRule",
    "Holder",
    "Receipt",
    "Rule",
    "Snapshot",
    "check",
    "decode_receipt",
    "decode_snapshot",
    "encode_receipt",
    "encode_snapshot",
    "per_minute_of",
    "read_items",
    "required",
    "revision_of",
    "time_text",
]

DEFAULT_DIR = "/var/run/resentry"
"""The volume, unless `RESENTRY_DIR` says otherwise."""

ENV_FILE = "sentry.env"
DATA_LINK = "..data"
RECEIPTS_DIR = "receipts"
"""The receipts' place on the volume, unless `RESENTRY_RECEIPTS` says otherwise."""

RECEIPT_SUFFIX = ".json"
LOCK_SUFFIX = ".lock"

SIGNAL_OFFSET = 6
"""Targets listen on `SIGRTMIN + 6` unless `RESENTRY_SIGNAL` says otherwise."""

TRANSACTION_LIMIT = 500
"""Patterns are compared with this many characters of a transaction's name or path."""

_SIGNAL = re.compile(r"SIGRTMIN(?:\+([0-9]{1,3}))?\Z")

TARGET_ID = re.compile(r"[0-9a-f]{16}\Z")

_DEFAULT_PORTS = {"https": 443, "http": 80}


def fingerprint(dsn: str) -> str:
    """Return 12 hexadecimal digits that stand for a DSN; empty if the text is no DSN.

    The fingerprint does not reveal the DSN. It is the same over http and https.
    """
    try:
        parts = urlsplit(dsn)
        port = parts.port if parts.port != _DEFAULT_PORTS[parts.scheme] else None
        path, _, project = parts.path.rpartition("/")
        named = (parts.username, parts.hostname, port, path, formats.whole(project))
        texts = ["" if part is None else f"{part}" for part in named]
        canonical = "\n".join(texts).encode()
    except (KeyError, ValueError):  # another scheme, a bad port, a bad project
        return ""
    if not parts.username or not parts.hostname:
        return ""
    return hashlib.sha256(canonical).hexdigest()[:12]


def signal_number(text: str) -> int | None:
    """Read `RESENTRY_SIGNAL`: `SIGRTMIN+n`, `off`, or empty for the default.

    Only a real-time signal can be chosen, because uvicorn, gunicorn and Celery use the
    others. Returns `None` for `off`, and on a platform without real-time signals.
    """
    lowest: int | None = getattr(signal, "SIGRTMIN", None)
    if text == "off" or lowest is None:
        return None
    match = _SIGNAL.match(text or f"SIGRTMIN+{SIGNAL_OFFSET}")
    number = lowest + int(match[1] or 0) if match else 0
    if not lowest <= number <= getattr(signal, "SIGRTMAX", 0):
        raise ValueError("RESENTRY_SIGNAL must be SIGRTMIN+n, or off")
    return number
