"""Drive a swap in an application's own tests, without an agent.

from resentry.testing import Volume

def test_the_dsn_can_change():
with Volume(SENTRY_DSN="", SENTRY_ENVIRONMENT="test") as volume:
resentry.init(role="api")
volume.swap(SENTRY_DSN=other, SENTRY_ENVIRONMENT="test")
...                      # this process runs the new settings here
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import resentry
from resentry import clock
from resentry.beside import replace_file
from resentry.contract import (
    RECEIPTS_DIR,
    SETTINGS_FILE,
    Boost,
    Rule,
    Snapshot,
    encode_snapshot,
    revision_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType


class Volume:
    """A directory with snapshots, named by RESENTRY_DIR while the context lasts."""

    def __init__(self, **settings: Any) -> None:
        self.directory = tempfile.mkdtemp(prefix="resentry-")
        self._sequence = 0
        self._before: str | None = None
        os.mkdir(f"{self.directory}/{RECEIPTS_DIR}")
        if settings:
            self.publish(**settings)

    def __enter__(self) -> Volume:  # noqa: PYI034 - Self is not in Python 3.10
        self._before = os.environ.get("RESENTRY_DIR")  # noqa: TID251 - a test's edge
        os.environ["RESENTRY_DIR"] = self.directory  # noqa: TID251
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        resentry.close()
        os.environ.pop("RESENTRY_DIR", None)  # noqa: TID251
        if self._before is not None:
            os.environ["RESENTRY_DIR"] = self._before  # noqa: TID251
        shutil.rmtree(self.directory, ignore_errors=True)

    def publish(
        self,
        *,
        roles: Mapping[str, Mapping[str, Any]] | None = None,
        rules: Iterable[Rule] = (),
        boosts: Iterable[Boost] = (),
        **settings: Any,
    ) -> Snapshot:
        """Replace the snapshot by these settings, as an agent would, unvalidated."""
        self._sequence += 1
        snapshot = Snapshot(
            settings=settings,
            roles=roles or {},
            rules=tuple(rules),
            boosts=tuple(boosts),
            sequence=self._sequence,
            published_at="1970-01-01T00:00:00.000Z",
        )
        snapshot = replace(snapshot, revision=revision_of(snapshot))
        path = f"{self.directory}/{SETTINGS_FILE}"
        replace_file(path, encode_snapshot(snapshot), 0o644)
        return snapshot

    def swap(self, *, within: float = 10.0, **settings: Any) -> Snapshot:
        """Publish, and return once this process runs it and its old client is drained.

        Raises `TimeoutError` with the reason that stands in `resentry.status()`.
        """
        snapshot = self.publish(**settings)
        deadline = clock.monotonic() + within
        while True:
            status: dict[str, Any] = resentry.status()
            ran = (status["revision"], status["sequence"], status["phase"])
            if ran == (snapshot.revision, snapshot.sequence, "drained"):
                return snapshot
            if clock.monotonic() > deadline:
                raise TimeoutError(f"not swapped: {status['error'] or 'no reason yet'}")
            time.sleep(0.005)
