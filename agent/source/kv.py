"""Vault's KV engine: where a secret is, and what its answer holds.

Both versions are read; what is deleted or was never there is `api`'s matter, a 404.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.errors import (
    CandidateRefused,
    SettingsError,
    SourceDenied,
    SourceDown,
    SourceMissing,
)
from resentry import formats
from resentry.contract import time_text
from resentry.values import KEYS, STRUCTURED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.source.api import Api

KEYS_LIMIT = 1000
SECRET_LIMIT_BYTES = 1024 * 1024
_PATH = re.compile(
    r"/?(?:v1/)?+(?P<path>[^?/]+/[^?]*[^?/])/?(?:\?version=(?P<pin>[0-9]{1,9}))?"
)


class Location(NamedTuple):
    """One secret to read: its API path, the key it holds if just one, its pin."""

    path: str
    key: str | None
    version: int
    pin: int | None = None


class Secret(NamedTuple):
    """What one secret holds, where that stands, and what to know of it."""

    held: dict[str, Any]
    provenance: Mapping[str, Any]
    notes: tuple[str, ...]


def parse_path(configured: str) -> tuple[str, int | None]:
    """Split one configured path from its pin, or raise `SettingsError`."""
    found = _PATH.fullmatch(configured)
    if not found:
        raise SettingsError(
            f"RESENTRY_VAULT_PATHS: {configured} is not the path of a secret",
            "as in secret/data/lms, or secret/data/lms?version=7",
        )
    return found["path"], int(found["pin"]) if found["pin"] else None


def locate(api: Api, configured: str, kv_version: str) -> Location:
    """Say where and how one configured path is read, asking Vault if need be."""
    path, pin = parse_path(configured)
    last = path.rpartition("/")[2]
    key = last if last in KEYS or last in STRUCTURED else None
    if kv_version == "auto":
        mount, version = _mount_of(api, path)
    else:
        mount, version = path.partition("/")[0] + "/", int(kv_version)
    inside = path.removeprefix(mount)
    if version == 2 and not inside.startswith("data/"):
        inside = "data/" + inside
    if pin is not None and version == 1:
        raise SettingsError(f"{configured}: KV version 1 has no versions to pin")
    return Location(mount + inside, key, version, pin)


def _mount_of(api: Api, path: str) -> tuple[str, int]:
    """Ask Vault which mount holds the path, and its KV version."""
    try:
        answer = api.get(f"sys/internal/ui/mounts/{path}")
    except SourceDenied as error:
        raise SourceDenied(
            f"Vault does not tell which mount holds {path}: {error.what}",
            "check RESENTRY_VAULT_PATHS; the token needs read on the secret; or set "
            "RESENTRY_VAULT_KV_VERSION",
        ) from None
    try:
        data = answer["data"]
        options = data.get("options") or {}
        return str(data["path"]), formats.whole(str(options.get("version", 1)))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise SourceDown(f"Vault's answer about the mount of {path} is odd") from None


def read(api: Api, at: Location) -> Secret:
    """Read one secret, or raise a `SourceError` or `CandidateRefused`."""
    params = {"version": str(at.pin)} if at.pin else None
    data = api.get(at.path, params).get("data")
    provenance: dict[str, Any] = {"source": "vault", "path": at.path}
    notes: tuple[str, ...] = ()
    held = data
    if at.version == 2:
        outer = data if isinstance(data, dict) else {}
        held, metadata = outer.get("data"), outer.get("metadata")
        if isinstance(metadata, dict):
            held = {} if held is None else held  # a version may be written so
            kept = ("version", "custom_metadata")
            provenance |= {name: metadata[name] for name in kept if metadata.get(name)}
            notes = _notes(at, metadata)
    if not isinstance(held, dict):
        raise SourceDown(
            f"Vault's answer for {at.path} is not a KV secret",
            "check the path and RESENTRY_VAULT_KV_VERSION",
        )
    _limit(held, at)
    if at.key is not None:
        held = {at.key: _only_value(held, at)}
    return Secret(held, provenance, notes)


def _notes(at: Location, metadata: dict[str, Any]) -> tuple[str, ...]:
    """Warn of an end that is set already; until then the version is as good as any."""
    try:
        ends = formats.moment(metadata.get("deletion_time"))
    except ValueError:
        return ()  # none is set
    return (f"Vault deletes {at.path} at {time_text(ends, 'seconds')}",)


def _limit(held: dict[str, Any], at: Location) -> None:
    """Refuse what no configuration can be, before anything is made of it."""
    if not held:
        raise SourceMissing(f"{at.path} is empty", "write the keys, or delete it")
    text = json.dumps(held, ensure_ascii=False, separators=(",", ":"))
    problems = []
    if len(held) > KEYS_LIMIT:
        problems.append(f"{at.path} holds {len(held)} keys; {KEYS_LIMIT} are the limit")
    if len(text.encode(errors="replace")) > SECRET_LIMIT_BYTES:
        problems.append(f"{at.path} holds more than 1 MiB of JSON, which is the limit")
    if problems:
        raise CandidateRefused(problems, "too large")


def _only_value(held: dict[str, Any], at: Location) -> Any:
    """The value of a secret that holds one key: in its name, `value`, or alone."""
    for name in (at.key, "value"):
        if name in held:
            return held[name]
    if len(held) == 1:
        return next(iter(held.values()))
    raise SourceMissing(
        f"{at.path} holds neither {at.key} nor value, and not one field",
        f"name the field {at.key}",
    )
