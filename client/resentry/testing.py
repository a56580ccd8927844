"""Change settings in an application's own tests, without an agent.

A test of an application looks like this:

    import resentry
    import sentry_sdk
    from resentry.testing import FakeVolume, Rule

    LOCAL = {"SENTRY_DSN": "http://key@127.0.0.1:9/1", "SENTRY_ENVIRONMENT": "test"}


    def test_health_checks_are_not_traced() -> None:
        with FakeVolume(**LOCAL, SENTRY_TRACES_SAMPLE_RATE=1.0) as volume:
            resentry.init(role="api")
            assert sentry_sdk.start_transaction(name="GET /health").sampled

            rule = Rule(match="GET /health", traces=0.0)
            volume.swap(**LOCAL, SENTRY_TRACES_SAMPLE_RATE=1.0, rules=[rule])
            assert not sentry_sdk.start_transaction(name="GET /health").sampled
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import resentry
from resentry import clock
from resentry.beside import replace_file
from resentry.contract import (
    RECEIPTS_DIR,
    SETTINGS_FILE,
    Boost,
    Budget,
    Ceiling,
    ErrorRule,
    Rule,
    Snapshot,
    encode_snapshot,
    revision_of,
)
from resentry.values import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType


__all__ = [
    "Boost",
    "Budget",
    "Ceiling",
    "ErrorRule",
    "FakeVolume",
    "Rule",
    "Snapshot",
]

Item = TypeVar("Item", Rule, Boost, Ceiling, ErrorRule, Budget)


class FakeVolume:
    """A directory that stands in for the agent's volume.

    Inside the `with` block, `RESENTRY_DIR` names the directory. At its end the library
    stops following it, and the directory is removed.
    """

    def __init__(self, **settings: Any) -> None:
        self.directory = tempfile.mkdtemp(prefix="resentry-")
        self._sequence = 0
        self._before: str | None = None
        os.mkdir(f"{self.directory}/{RECEIPTS_DIR}")
        if settings:
            self.publish(**settings)

    def __enter__(self) -> FakeVolume:  # noqa: PYI034 - Self is not in Python 3.10
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
        ceilings: Iterable[Ceiling] = (),
        errors: Iterable[ErrorRule] = (),
        budgets: Iterable[Budget] = (),
        **settings: Any,
    ) -> Snapshot:
        """Replace the snapshot by these settings. Unlike the agent, this checks no value.

        Raises `TypeError` for a name that is no setting, and for an item of another type,
        as a rule that is no `Rule`; `ValueError` for a snapshot that no process could read.
        """
        for name in itertools.chain(settings, *(roles or {}).values()):
            if name not in KEYS:
                known = ", ".join(KEYS)
                raise TypeError(f"{name} is not a setting; the settings are {known}")
        self._sequence += 1
        snapshot = Snapshot(
            settings=settings,
            roles=roles or {},
            rules=_all_of(Rule, "rules", rules),
            boosts=_all_of(Boost, "boosts", boosts),
            ceilings=_all_of(Ceiling, "ceilings", ceilings),
            errors=_all_of(ErrorRule, "errors", errors),
            budgets=_all_of(Budget, "budgets", budgets),
            sequence=self._sequence,
            published_at="1970-01-01T00:00:00.000Z",
        )
        snapshot = replace(snapshot, revision=revision_of(snapshot))
        path = f"{self.directory}/{SETTINGS_FILE}"
        replace_file(path, encode_snapshot(snapshot), 0o644)
        return snapshot

    def swap(self, *, within: float = 10.0, **settings: Any) -> Snapshot:
        """Publish a snapshot, and wait until it runs and the old client is drained.

        Takes what `publish` takes. Raises `TimeoutError` with the error that
        `resentry.status()` shows.
        """
        snapshot = self.publish(**settings)
        deadline = clock.monotonic() + within
        while True:
            status = resentry.status()
            ran = (status["revision"], status["sequence"], status["phase"])
            if ran == (snapshot.revision, snapshot.sequence, "drained"):
                return snapshot
            if clock.monotonic() > deadline:
                raise TimeoutError(
                    f"snapshot {snapshot.revision} does not run after {within:g} s: "
                    f"{status['error'] or 'no error is known yet'}"
                )
            time.sleep(0.005)


def _all_of(kind: type[Item], name: str, items: Iterable[Item]) -> tuple[Item, ...]:
    given = tuple(items)
    for item in given:
        if not isinstance(item, kind):
            raise TypeError(
                f"{name} must hold {kind.__name__}, not {type(item).__name__}"
            )
    return given
