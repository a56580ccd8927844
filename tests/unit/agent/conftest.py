"""What the agent's tests share: settings without a machine's own, and receipts."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.confirm.receipts import Receipts
from agent.domain.candidate import Candidate
from agent.domain.dsn_check import Times
from agent.dsn_check.checker import Checker
from agent.dsn_check.gate import Gate
from agent.notify.http import Receivers
from agent.notify.signal import Signals
from agent.parts import Parts
from agent.publish.volume import Volume
from agent.settings import Settings, load
from agent.source import NoTuning
from agent.source.tuning import TuningFile
from resentry.contract import Receipt

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Make settings from these values alone, with a volume of the test's own."""

    def make(**values: Any) -> Settings:
        given = {
            "dir": str(tmp_path / "volume"),
            "vault_addr": "http://127.0.0.1:9",
            "vault_paths": ("secret/data/lms",),
            "vault_token": "root",
            **values,
        }
        return load(given, {}).settings

    return make


@pytest.fixture
def python(tmp_path: Path) -> Command:
    """Run a program in a process of its own."""

    def run(program: Path, *args: object, **environ: str) -> Any:
        return subprocess.run(
            [sys.executable, program, *map(str, args)],
            env={"PATH": os.environ["PATH"], **environ},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `resentry-agent` with exactly that environment."""

    def run(*args: object, **environ: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "agent", *map(str, args)],
            env={
                "PATH": os.environ["PATH"],
                "RESENTRY_DIR": str(tmp_path / "volume"),
                **environ,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def receipt() -> Callable[..., Receipt]:
    """Make a receipt of this process."""

    def make(**values: Any) -> Receipt:
        given = {
            "id": "0123456789abcdef",
            "role": "api",
            "pid": os.getpid(),
            "pidns": os.stat("/proc/self/ns/pid").st_ino,
            "start_time": 1,
            **values,
        }
        return Receipt(**given)

    return make


class Shelf:
    """A source that holds what a test puts there, or raises what it is told to."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.error: Exception | None = None

    def read(self, _until: float = 0.0) -> Candidate:
        if self.error is not None:
            raise self.error
        return Candidate(dict(self.values))

    def abort(self) -> None:
        """Nothing waits here."""

    close = forget_backoff = accept_older = abort

    def remember(self, _newest: object) -> None:
        """Nothing here has a version."""

    def on_change(self, _changed: Callable[[], None]) -> None:
        """Nobody is told."""

    def due_seconds(self) -> float | None:
        return None

    def report(self) -> dict[str, Any]:
        return {"kind": "shelf"}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def volume(settings: Callable[..., Settings]) -> Iterator[Volume]:
    """The volume of `settings`, open."""
    made = settings()
    opened = Volume(made.dir, made.receipts_dir)
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def parts(
    settings: Callable[..., Settings], volume: Volume, shelf: Shelf
) -> Callable[..., Parts]:
    """Make parts on that volume, with the shelf for a source; nobody is asked."""

    def make(**values: Any) -> Parts:
        made = settings(**values)
        return Parts(
            made,
            shelf,
            Gate(Checker(Times(), lambda _dsn, _seconds: "none"), "off"),
            volume,
            Signals(is_on=False),
            Receivers((), lambda _url, _headers: 200),
            Receipts(made.receipts_dir, tidy=True),
            tuning=TuningFile(made, 0.01) if made.tuning_path else NoTuning(),
        )

    return make
