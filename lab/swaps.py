"""Four ways to change a running process's Sentry configuration, and what each costs.

One is the library's; the others are what people do without it.
"""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.client import Client

import resentry
from resentry.contract import (
    RECEIPTS_DIR,
    Rule,
    Snapshot,
    encode_snapshot,
    revision_of,
)
from resentry.sdk import build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

METHODS = ("resentry", "init", "init-close", "init-flush-close")


def publish(
    directory: Path,
    sequence: int,
    settings: Mapping[str, Any],
    rules: tuple[Rule, ...] = (),
) -> Snapshot:
    """Replace `settings.json` as an agent would, for programs that need no agent."""
    (directory / RECEIPTS_DIR).mkdir(exist_ok=True)
    snapshot = Snapshot(settings, {}, rules, sequence=sequence, published_at="now")
    snapshot = dataclasses.replace(snapshot, revision=revision_of(snapshot))
    temporary = directory / ".next"
    temporary.write_bytes(encode_snapshot(snapshot))
    temporary.replace(directory / "settings.json")
    return snapshot


def settings_for(number: int, dsn: str) -> dict[str, Any]:
    """Settings whose events say, by environment and release, where they belong."""
    return {
        "SENTRY_DSN": dsn,
        "SENTRY_ENVIRONMENT": f"env-{number}",
        "SENTRY_RELEASE": f"release-{number}",
        "SENTRY_TRACES_SAMPLE_RATE": 1.0,
    }


class Swaps:
    """Changes this process's configuration, and knows how long it took each time."""

    def __init__(self, method: str, options: Mapping[str, Any]) -> None:
        self.build_ms: list[float] = []
        """To make the new client."""
        self.swap_ms: list[float] = []
        """To put it in the old one's place."""
        self.done_ms: list[float] = []
        """From the wish to the end of all: the old client has sent what it held."""
        self._options = options
        self._sequence = 0
        self._change = {
            "resentry": self._publish,
            "init": self._init,
            "init-close": self._close,
            "init-flush-close": self._flush_and_close,
        }[method]
        # The library and `sentry_sdk.init` both do these two things.
        scope: Any = sentry_sdk.Scope
        scope.set_client = timed(scope.set_client, self.swap_ms)
        client: Any = Client
        client.__init__ = timed(client.__init__, self.build_ms)
        made: Any = build
        made.successor = timed(made.successor, self.build_ms)

    def to(self, number: int, dsn: str) -> None:
        """Return once this is in place, and the old client is done."""
        began = time.perf_counter()
        self._change(settings_for(number, dsn))
        self.done_ms.append((time.perf_counter() - began) * 1000)

    def _publish(self, settings: Mapping[str, Any]) -> None:
        self._sequence += 1
        publish(Path(os.environ["RESENTRY_DIR"]), self._sequence, settings)
        if self._sequence == 1:
            resentry.init(role="api", **self._options)
        while not self._is_done():
            time.sleep(0.005)

    def _is_done(self) -> bool:
        now = resentry.status()
        return (now["sequence"], now["phase"]) == (self._sequence, "drained")

    def _init(self, settings: Mapping[str, Any]) -> None:
        values = {
            name.removeprefix("SENTRY_").lower(): value
            for name, value in settings.items()
        }
        sentry_sdk.init(**values, **self._options)

    def _close(self, settings: Mapping[str, Any]) -> None:
        old = sentry_sdk.get_client()
        self._init(settings)
        old.close()

    def _flush_and_close(self, settings: Mapping[str, Any]) -> None:
        old = sentry_sdk.get_client()
        self._init(settings)
        old.flush()
        old.close()


def timed(function: Callable[..., Any], into: list[float]) -> Callable[..., Any]:
    """Return the function, noting the milliseconds of each call."""

    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        result = function(*args, **kwargs)
        into.append((time.perf_counter() - began) * 1000)
        return result

    return call
