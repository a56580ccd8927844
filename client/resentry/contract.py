"""What agent and library agree on: names, schema, encode, decode.

Standard library only, no I/O. `docs/contract.md` states the same for people.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1

DEFAULT_DIR = "/var/run/resentry"
"""The volume, unless `RESENTRY_DIR` says otherwise."""

SETTINGS_FILE = "settings.json"
ENV_FILE = "sentry.env"
DATA_LINK = "..data"
RECEIPTS_DIR = "receipts"
"""The receipts' place on the volume, unless `RESENTRY_RECEIPTS` says otherwise."""

RECEIPT_SUFFIX = ".json"
LOCK_SUFFIX = ".lock"
RECEIPT_LIMIT_BYTES = 64 * 1024
SETTINGS_LIMIT_BYTES = 1024 * 1024

SIGNAL_OFFSET = 6
"""Targets listen on `SIGRTMIN + 6` unless `RESENTRY_SIGNAL` says otherwise."""

_SIGNAL = re.compile(r"SIGRTMIN(?:\+(\d+))?\Z")

ROLE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
TARGET_ID = re.compile(r"[0-9a-f]{16}\Z")


class ContractError(ValueError):
    """A file of the other side does not have the agreed shape."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The trace rate of every transaction that `match` fits, in one role or all."""

    match: str
    traces: float
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Boost:
    """A trace rate that ends by itself at `until` (seconds since the epoch, UTC)."""

    id: str
    traces: float
    until: str
    match: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One validated, immutable set of Sentry settings, as the volume holds it.

    `revision` names the content (settings, roles, rules, boosts), so equal content
    has an equal revision; `sequence` counts the snapshots published on one volume.
    """

    settings: Mapping[str, Any]
    roles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    boosts: tuple[Boost, ...] = ()
    provenance: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    revision: str = ""
    sequence: int = 0
    published_at: str = ""

    def content(self) -> dict[str, Any]:
        """What the revision is made from."""
        return {
            "schema": SCHEMA,
            "settings": dict(self.settings),
            "roles": {role: dict(values) for role, values in self.roles.items()},
            "rules": [_without_none(rule) for rule in self.rules],
            "boosts": [_without_none(boost) for boost in self.boosts],
        }


def revision_of(snapshot: Snapshot) -> str:
    """Name the snapshot's content: 12 hexadecimal digits of its SHA-256."""
    canonical = json.dumps(snapshot.content(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return `settings.json`."""
    content = snapshot.content()
    document = {
        "schema": content.pop("schema"),
        "revision": snapshot.revision,
        "sequence": snapshot.sequence,
        "published_at": snapshot.published_at,
        **content,
        "provenance": {key: dict(where) for key, where in snapshot.provenance.items()},
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def decode_snapshot(body: bytes) -> Snapshot:
    """Read `settings.json`, or raise `ContractError` without quoting its content."""
    document = _object(body)
    if document.get("schema") != SCHEMA:
        raise ContractError(
            f"{SETTINGS_FILE} has schema {document.get('schema')!r}, "
            f"this version of resentry reads schema {SCHEMA}"
        )
    try:
        return Snapshot(
            settings=dict(document["settings"]),
            roles={role: dict(values) for role, values in document["roles"].items()},
            rules=tuple(Rule(**rule) for rule in document["rules"]),
            boosts=tuple(Boost(**boost) for boost in document["boosts"]),
            provenance=dict(document.get("provenance", {})),
            revision=str(document["revision"]),
            sequence=int(document["sequence"]),
            published_at=str(document["published_at"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise ContractError(f"{SETTINGS_FILE} is not a snapshot") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A target's proof of what runs in it.

    `phase` is `running` from the swap on, and `drained` once the old Sentry client
    has sent what it held. `error` says why the snapshot named in `refused` could not
    be applied; then `revision` and `sequence` are still those of the old one.
    """

    id: str
    role: str
    pid: int
    pidns: int
    start_time: int
    parent: str | None = None
    revision: str | None = None
    sequence: int = 0
    phase: str = "drained"
    since: str = ""
    swap_ms: float = 0.0
    refused: tuple[str, int] | None = None
    error: str | None = None
    signal: int | None = None
    watch: str = "stat"
    tally: Mapping[str, int] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    sdk: str = ""
    library: str = ""


def encode_receipt(receipt: Receipt) -> bytes:
    """Return `<id>.json`."""
    names = Receipt.__dataclass_fields__
    document = {"schema": SCHEMA} | {name: getattr(receipt, name) for name in names}
    return json.dumps(document).encode() + b"\n"


def decode_receipt(body: bytes) -> Receipt:
    """Read `<id>.json`, or raise `ContractError`; fields of later versions are left."""
    document = _object(body)
    known = {k: v for k, v in document.items() if k in Receipt.__dataclass_fields__}
    refused = known.get("refused")
    if isinstance(refused, list):
        known["refused"] = tuple(refused)
        if [type(part) for part in refused] != [str, int]:
            raise ContractError("the receipt's refused is not [revision, sequence]")
    for name, kinds in _RECEIPT_TYPES.items():
        if not isinstance(known.get(name), kinds):
            raise ContractError(f"the receipt's {name} has the wrong type")
    try:  # half a surrogate pair, or NaN: nobody could print it
        json.dumps(known, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise ContractError("the receipt holds what is no text or number") from None
    if not ROLE.match(known["role"]):
        raise ContractError("the receipt's role is not a role")
    if known.get("error"):  # it is shown to people: no escape sequences, no novels
        known["error"] = "".join(
            c if c.isprintable() else "?" for c in known["error"][:1000]
        )
    return Receipt(**known)


_TEXT_OR_NONE = (str, type(None))
_RECEIPT_TYPES: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "role": str,
    "pid": int,
    "pidns": int,
    "start_time": int,
    "parent": _TEXT_OR_NONE,
    "revision": _TEXT_OR_NONE,
    "sequence": int,
    "phase": str,
    "since": str,
    "swap_ms": (int, float),
    "refused": (tuple, type(None)),
    "error": _TEXT_OR_NONE,
    "signal": (int, type(None)),
    "watch": str,
    "tally": dict,
    "origins": dict,
    "sdk": str,
    "library": str,
}


def signal_number(text: str) -> int | None:
    """Read `RESENTRY_SIGNAL`: empty is the default, `off` none; else `SIGRTMIN+n`.

    Only a real-time signal can be chosen: every other one means something to
    uvicorn, gunicorn or Celery. `None` where the platform has none.
    """
    lowest: int | None = getattr(signal, "SIGRTMIN", None)
    if text == "off" or lowest is None:
        return None
    found = _SIGNAL.match(text or f"SIGRTMIN+{SIGNAL_OFFSET}")
    number = lowest + int(found[1] or 0) if found else 0
    if not lowest <= number <= getattr(signal, "SIGRTMAX", 0):
        raise ValueError("RESENTRY_SIGNAL must be SIGRTMIN+n, or off")
    return number


def time_text(moment: float, timespec: str = "milliseconds") -> str:
    """Write a time in seconds since the epoch as every document shows it."""
    found = datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec=timespec)
    return found.replace("+00:00", "Z")


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ContractError("not JSON") from None
    if not isinstance(document, dict):
        raise ContractError("not a JSON object")
    return document


def _without_none(item: Rule | Boost) -> dict[str, Any]:
    values = ((name, getattr(item, name)) for name in item.__dataclass_fields__)
    return {name: value for name, value in values if value is not None}
