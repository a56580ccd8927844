"""The source that reads a mounted file or directory."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from agent.domain.bounded_json import loads
from agent.domain.candidate import Candidate
from agent.domain.validate import PREFIXES
from agent.domain.value import replace
from agent.errors import CandidateRefused, SourceDown, SourceMissing
from agent.source.dotenv import parse_dotenv
from agent.source.mount import (
    KEYS_LIMIT,
    SOURCE_PATH,
    TRIES_AGAIN,
    read_directory,
    read_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.domain.newest import Mark
    from agent.settings import Settings
    from agent.source.watch import MountWatch

SETTLE_SECONDS = 1.0
"""The time between two reads, which must agree if files change one by one."""
LEFTOVERS = (
    "files whose names can be no keys are not read, though they begin like one, as "
    "SENTRY_DSN.bak would"
)
UNWATCHED = (
    "a change is seen at the next poll: no inotify instance is left on this node "
    "(raise fs.inotify.max_user_instances)"
)


class FileSource:
    """Reads the files at `source_path`. Nothing there is written or locked.

    With another `setting`, reads the files that the setting names; no file is then no error.
    """

    def __init__(
        self,
        settings: Settings,
        settle: float = SETTLE_SECONDS,
        setting: str = SOURCE_PATH,
    ) -> None:
        path: str = getattr(settings, setting.removeprefix("RESENTRY_").lower())
        self._path = path.rstrip("/") or "/"
        self._settle = settle
        self._setting = setting
        self._cut = threading.Event()
        self._watch: MountWatch | None = None
        self._is_watched = False
        self._accepted: dict[str, Any] = {}

    def read(self, until: float = math.inf) -> Candidate:
        """Return all keys as one candidate, or raise a `SourceError`.

        Files that do not change in one step are read twice, and both reads must agree.
        """
        self._arm()  # first, so that a change after this read is noticed
        candidate, is_whole = self._read()
        ours = _ours(candidate)
        if not is_whole and ours != self._accepted:
            remaining = until - time.monotonic()
            if self._cut.wait(min(self._settle, remaining)) or remaining < self._settle:
                raise SourceDown(
                    f"no second read of {self._path} in the time that a pass may take",
                    "raise RESENTRY_PASS_SECONDS",
                )
            if _ours(self._read()[0]) != ours:
                raise SourceDown(
                    f"{self._path} was changing while it was read", TRIES_AGAIN
                )
        self._accepted = ours
        if self._watch is not None and not self._is_watched:
            return replace(candidate, notes=(*candidate.notes, UNWATCHED))
        return candidate

    def abort(self) -> None:
        """End the pause between two reads."""
        self._cut.set()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` once per burst of changes, from the next `read` on."""
        from agent.source.watch import MountWatch  # noqa: PLC0415 - `run` alone watches

        self._watch = MountWatch(self._path, changed)

    def due_seconds(self) -> float | None:
        """Return `None`: nothing here expires."""
        return None

    def forget_backoff(self) -> None:
        """Do nothing: there is no back-off here."""

    def remember(self, newest: Mapping[str, Mark]) -> None:
        """Do nothing: files have no versions."""

    def accept_older(self) -> None:
        """Do nothing: files have no versions."""

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
        """Return the candidate of now, and whether its files surely belong together."""
        if os.path.isdir(self._path):
            mounted = read_directory(self._path, self._setting)
            values: dict[str, Any] = {
                name: _decode(f"{self._path}/{name}", body).removesuffix("\n")
                for name, body in mounted.files.items()
            }
            paths = {name: f"{self._path}/{name}" for name in values}
        else:
            mounted = read_file(self._path, self._setting)
            (body,) = mounted.files.values()
            values = _parse(self._path, _decode(self._path, body))
            paths = dict.fromkeys(values, self._path)
        if not values and self._setting == SOURCE_PATH:
            raise SourceMissing(
                f"{self._path} is empty",
                "check what mounts the files; it may not have written them yet",
            )
        provenance = {
            key: {"source": "file", "path": path} for key, path in paths.items()
        }
        notes = (LEFTOVERS,) if mounted.has_leftovers else ()
        return Candidate(values, provenance, notes), mounted.is_whole


def _ours(candidate: Candidate) -> dict[str, Any]:
    """Return the keys of ours. Files of others may come and go at any time."""
    values = candidate.values.items()
    return {name: value for name, value in values if name.startswith(PREFIXES)}


def _decode(path: str, body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise CandidateRefused([f"{path} is not UTF-8"], "not UTF-8") from None


def _parse(path: str, text: str) -> dict[str, Any]:
    """Read JSON or dotenv. A text that begins with `{` is JSON."""
    text = text.removeprefix("\ufeff")
    is_json = text.lstrip().startswith("{")
    try:
        values = loads(text) if is_json else parse_dotenv(text)
        json.dumps(values, ensure_ascii=False).encode()
    except ValueError as error:
        why = "it is not JSON, or has a name twice" if is_json else error
        raise SourceDown(
            f"cannot read {path}: {why}",
            "correct the file, unless it is being written right now",
        ) from None
    if len(values) > KEYS_LIMIT:
        problem = f"{path} holds {len(values)} keys; the limit is {KEYS_LIMIT}"
        raise CandidateRefused([problem], "too large")
    return dict(values)
