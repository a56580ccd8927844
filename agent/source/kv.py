"""Vault's KV engine: finds the path of a secret, and reads its answer.

Both versions of the engine are read. A deleted or missing secret is a 404, which `api`
handles.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from agent.domain.newest import mark_of
from agent.domain.validate import PREFIXES
from agent.domain.value import Value
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

    from agent.domain.newest import Mark
    from agent.source.api import Api

KEYS_LIMIT = 1000
SECRET_LIMIT_BYTES = 1024 * 1024
PIECE = 64 * 1024
_PATH = re.compile(
    r"/?(?:v1/)?+(?P<path>[^?/]+/[^?]*[^?/])/?(?:\?version=(?P<pin>[0-9]{1,9}))?"
)


class Location(Value, frozen=True):
    """One secret to read.

    `key` is set if the secret holds just this key; `pin` if one version is to be read.
    """

    path: str
    key: str | None
    version: int
    pin: int | None = None


class Secret(Value, frozen=True):
    """The keys of one secret, their provenance, and notes for an operator.

    `mark` is its version; `None` if it has no versions, or one version is pinned.
    """

    held: dict[str, Any]
    provenance: Mapping[str, Any]
    notes: tuple[str, ...]
    mark: Mark | None
    digest: bytes = b""
    """The digest of Vault's answer; empty if the answer cannot be told by it."""


def parse_path(configured: str) -> tuple[str, int | None]:
    """Split one configured path from its pin, or raise `SettingsError`."""
    match = _PATH.fullmatch(configured)
    is_url = "://" in configured
    if not match or is_url:
        # What has no slash may be anything: a password, for one.
        shown = configured if "/" in configured.strip("/") else "an entry"
        shown = "a URL" if is_url else shown
        raise SettingsError(
            f"RESENTRY_VAULT_PATHS: {shown} is not the path of a secret",
            "write mount and path, as in secret/data/lms or secret/data/lms?version=7",
        )
    return match["path"], int(match["pin"]) if match["pin"] else None


def locate(api: Api, configured: str, kv_version: str) -> Location:
    """Return how one configured path is read. With `auto`, Vault is asked."""
    path, pin = parse_path(configured)
    last = path.rpartition("/")[2]
    key = last if last in KEYS or last in STRUCTURED else None
    if kv_version == "auto":
        mount, version = _mount_of(api, path)
    else:
        mount, version = _first_part(path, int(kv_version)), int(kv_version)
    inside = path.removeprefix(mount)
    if version == 2 and not inside.startswith("data/"):
        inside = "data/" + inside
    if pin is not None and version == 1:
        raise SettingsError(
            f"RESENTRY_VAULT_PATHS: {configured} pins a version, and KV version 1 has none",
            f"remove ?version={pin}",
        )
    return Location(mount + inside, key, version, pin)


def _first_part(path: str, version: int) -> str:
    """Return the mount of a path, which ends at `data/`, or else at the first slash."""
    before, marker, _ = path.partition("/data/")
    return f"{before if marker and version == 2 else path.partition('/')[0]}/"


def _mount_of(api: Api, path: str) -> tuple[str, int]:
    """Ask Vault which mount holds the path, and its KV version."""
    try:
        answer = api.get(f"sys/internal/ui/mounts/{path}")
    except SourceDenied as error:
        raise SourceDenied(
            f"cannot find the mount of {path}: {error.what}",
            "check RESENTRY_VAULT_PATHS, and that the token may read the secret "
            "(resentry-agent check --policy prints the policy); or set "
            "RESENTRY_VAULT_KV_VERSION, and Vault is not asked for the mount",
        ) from None
    try:
        data = answer["data"]
        options = data.get("options") or {}
        return str(data["path"]), formats.whole(str(options.get("version", 1)))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise SourceDown(
            f"cannot understand Vault's answer about the mount of {path}",
            "set RESENTRY_VAULT_KV_VERSION, and Vault is not asked for the mount",
        ) from None


def read(api: Api, location: Location, before: Secret | None = None) -> Secret:
    """Read one secret, or raise a `SourceError` or `CandidateRefused`.

    Returns `before`, what was read there last, if Vault answers the same.
    """
    params = {"version": str(location.pin)} if location.pin else None
    try:
        answer, digest = api.get_new(
            location.path, params, before.digest if before else b""
        )
    except SourceMissing as error:
        raise SourceMissing(error.what, f"{_advice(location)}{error.hint}") from None
    if before is not None and answer is None:
        return before
    data = (answer or {}).get("data")
    provenance: dict[str, Any] = {"source": "vault", "path": location.path}
    notes: tuple[str, ...] = ()
    mark = None
    held = data
    if location.version == 2:
        outer = data if isinstance(data, dict) else {}
        held, metadata = outer.get("data"), outer.get("metadata")
        if isinstance(metadata, dict):
            held = {} if held is None else held  # an empty version is null
            read = mark_of(metadata)
            provenance |= {"version": read.version} if read else {}
            if read is not None and read.created:
                provenance["created_time"] = time_text(read.created)
            if custom := _texts(metadata.get("custom_metadata")):
                provenance["custom_metadata"] = custom
            notes = _notes(location, metadata)
            mark = None if location.pin else read
    if not isinstance(held, dict):
        raise SourceDown(
            f"Vault's answer for {location.path} is not a KV secret",
            "check the path and RESENTRY_VAULT_KV_VERSION",
        )
    _limit(held, location)
    if location.key is not None:
        held = {location.key: _only_value(held, location)}
    # Of other keys, the names alone count: their values would cost memory.
    held = {k: v if k.startswith(PREFIXES) else "" for k, v in held.items()}
    return Secret(held, provenance, notes, mark, digest)


def _advice(location: Location) -> str:
    """Return what a path is often meant to be, if it is mistyped in a usual way."""
    path = location.path
    if "#" in path:
        return (
            "# selects no key: leave it out to read all keys, or name the secret of one key, "
            "as secret/data/lms/SENTRY_DSN; "
        )
    if ";" in path:
        return "a comma or a space separates two paths, not a semicolon; "
    if location.version == 1 and "/data/" in path:
        return (
            f"this mount has KV version 1, whose paths have no data/: write "
            f"{path.replace('/data/', '/', 1)}; "
        )
    return ""


def _texts(metadata: Any) -> dict[str, str]:
    """Return custom metadata. Vault keeps only texts there."""
    given = metadata if isinstance(metadata, dict) else {}
    return {name: text for name, text in given.items() if isinstance(text, str)}


def _notes(location: Location, metadata: dict[str, Any]) -> tuple[str, ...]:
    """Return a note if Vault will delete this version later. Until then it counts."""
    try:
        ends = formats.moment(metadata.get("deletion_time"))
    except ValueError:
        return ()  # no deletion is planned
    return (f"Vault will delete {location.path} at {time_text(ends, 'seconds')}",)


def _limit(held: dict[str, Any], location: Location) -> None:
    """Refuse an empty or a too large secret."""
    if not held:
        raise SourceMissing(
            f"the secret {location.path} is empty",
            "write its keys, or delete the secret",
        )
    # Key by key: the text of all at once would need as much memory again.
    size = 1 + sum(_size(name) + _size(value) + 2 for name, value in held.items())
    problems = []
    if len(held) > KEYS_LIMIT:
        problems.append(
            f"{location.path} holds {len(held)} keys; the limit is {KEYS_LIMIT}"
        )
    if size > SECRET_LIMIT_BYTES:
        problems.append(
            f"{location.path} holds more than 1 MiB of JSON; that is the limit"
        )
    if problems:
        raise CandidateRefused(problems, "too large")


def _size(value: Any) -> int:
    """Return the bytes of a value as JSON. A long text is measured piece by piece."""
    if isinstance(value, str) and len(value) > PIECE:
        pieces = range(0, len(value), PIECE)
        return 2 + sum(_size(value[start : start + PIECE]) - 2 for start in pieces)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode(errors="replace"))


def _only_value(held: dict[str, Any], location: Location) -> Any:
    """Return the value of a secret that holds one key.

    Its field has the name of the key or `value`, or is the only field.
    """
    for name in (location.key, "value"):
        if name in held:
            return held[name]
    if len(held) == 1:
        return next(iter(held.values()))
    raise SourceMissing(
        f'{location.path} has no field {location.key} or "value", and more than one other '
        "field",
        f"rename the field to {location.key}",
    )
