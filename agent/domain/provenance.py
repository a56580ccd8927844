"""Where each value of a candidate comes from, in the form in which a snapshot shows it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from resentry.schema import plain
from resentry.values import KEYS, STRUCTURED, VALUE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.candidate import Candidate
    from resentry.contract import Snapshot

METADATA_LIMIT_BYTES = 4096
TUNING_FILE = "tuning"
"""The `source` of what a tuning file holds; with a source's value, what is on top of it."""


def provenance_of(
    candidate: Candidate,
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Return where each known key comes from, and notes.

    The `custom_metadata` of a secret stands with the first of its keys alone.
    """
    provenance: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    paths = set()
    for key in (*KEYS, *STRUCTURED):
        given = candidate.provenance.get(key)
        if given is None:
            continue
        origin: dict[str, Any] = {
            name: plain(given[name], VALUE_LIMIT)
            for name in ("source", "path", "created_time")
            if isinstance(given.get(name), str)
        }
        provenance[key] = origin
        version, custom = given.get("version"), given.get("custom_metadata")
        if type(version) is int:
            origin["version"] = version
        path = origin.get("path", "")
        if custom is None or path in paths:
            continue
        paths.add(path)
        if _is_metadata(custom):
            origin["custom_metadata"] = custom
        else:
            notes.append(
                f"the custom_metadata of {path} is left out: it must be texts of together "
                f"at most {METADATA_LIMIT_BYTES} bytes"
            )
    return provenance, tuple(notes)


def _is_metadata(custom: object) -> bool:
    is_dict = isinstance(custom, dict) and all(
        isinstance(text, str) for text in custom.values()
    )
    try:
        body = json.dumps(custom, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return is_dict and len(body) <= METADATA_LIMIT_BYTES


def origin_of(origin: Mapping[str, Any]) -> str:
    """Return where a value comes from, in words."""
    words = str(origin.get("path", origin.get("source", "")))
    if origin.get("version"):
        words += f" version {origin['version']}"
    if origin.get("created_time"):
        words += f" of {origin['created_time']}"
    if origin.get(TUNING_FILE):
        words += f" and {origin[TUNING_FILE]}"
    return words


def is_tuned(snapshot: Snapshot | None) -> bool:
    """Whether a tuning file lies on top of this snapshot."""
    origins = snapshot.provenance.values() if snapshot else ()
    return any(
        each.get("source") == TUNING_FILE or TUNING_FILE in each for each in origins
    )
