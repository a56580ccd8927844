"""A file or a directory that something else mounts, as a source."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.domain.candidate import Candidate
from agent.errors import CandidateRefused, SourceDown, SourceMissing
from agent.source.dotenv import parse_dotenv
from agent.source.mount import KEYS_LIMIT, read_directory, read_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Settings
    from agent.source.watch import MountWatch

SETTLE_SECONDS = 1.0
"""Between the two reads that must agree where a change is not one step."""
UNWATCHED = "no inotify instance is left on the node: a change waits for the next poll"


class FileSource:
    """Reads what stands at `source_path` now. Nothing there is written or locked."""

    def __init__(self, settings: Settings, settle: float = SETTLE_SECONDS) -> None:
        self._path = settings.source_path.rstrip("/") or "/"
        self._settle = settle
        self._cut = threading.Event()
        self._watch: MountWatch | None = None
        self._is_watched = False
        self._accepted = ""

    def read(self, until: float = math.inf) -> Candidate:
        """Return all keys as one candidate, or raise a `SourceError`.

        What does not change in one step has changed when a second read agrees.
        """
        self._arm()  # first, so that what comes after this read is told
        candidate, is_whole = self._read()
        if not is_whole and candidate.fingerprint != self._accepted:
            left = until - time.monotonic()
            if self._cut.wait(min(self._settle, left)) or left < self._settle:
                raise SourceDown("the pass is over time")
            if self._read()[0] != candidate:
                raise SourceDown(f"{self._path} was changing while it was read")
        self._accepted = candidate.fingerprint
        if self._watch is not None and not self._is_watched:
            return replace(candidate, notes=(UNWATCHED,))
        return candidate

    def abort(self) -> None:
        """End the wait between two reads."""
        self._cut.set()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called once per burst of changes after the next `read`."""
        from agent.source.watch import MountWatch  # noqa: PLC0415 - `run` alone watches

        self._watch = MountWatch(self._path, changed)

    def due_seconds(self) -> float | None:
        """Never: nothing here ends by itself."""
        return None

    def forget_backoff(self) -> None:
        """Nothing is waited for."""

    def report(self) -> dict[str, Any]:
        """Return what `status` shows of the source."""
        return {
            "kind": "files",
            "path": self._path,
            "watch": "inotify" if self._is_watched else "poll",
        }

    def close(self) -> None:
        """Stop watching."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def _arm(self) -> None:
        if self._watch is not None:
            self._is_watched = self._watch.arm()

    def _read(self) -> tuple[Candidate, bool]:
        """Return what stands there now, and whether it is sure to be whole."""
        if os.path.isdir(self._path):
            found = read_directory(self._path)
            values: dict[str, Any] = {
                name: _decode(f"{self._path}/{name}", body).removesuffix("\n")
                for name, body in found.files.items()
            }
            paths = {name: f"{self._path}/{name}" for name in values}
        else:
            found = read_file(self._path)
            (body,) = found.files.values()
            values = _parse(self._path, _decode(self._path, body))
            paths = dict.fromkeys(values, self._path)
        if not values:
            raise SourceMissing(
                f"{self._path} is empty", "what mounts it may not have written yet"
            )
        where = {key: {"source": "file", "path": path} for key, path in paths.items()}
        return Candidate(values, where), found.is_whole


def _decode(path: str, body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise CandidateRefused([f"{path} is not UTF-8"], "not UTF-8") from None


def _parse(path: str, text: str) -> dict[str, Any]:
    """Read JSON or dotenv; which it is shows in the first character."""
    text = text.removeprefix("\ufeff")
    is_json = text.lstrip().startswith("{")
    try:
        values = json.loads(text) if is_json else parse_dotenv(text)
        json.dumps(values, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        why = "it is not JSON" if is_json else error
        raise SourceDown(
            f"cannot read {path}: {why}", "half-written, or to be corrected"
        ) from None
    if len(values) > KEYS_LIMIT:
        problem = f"{path} holds {len(values)} keys; {KEYS_LIMIT} are the limit"
        raise CandidateRefused([problem], "too large")
    return dict(values)
