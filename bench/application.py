"""Processes of bench/beside.py, as benchmarks start them and talk to them."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from lab.swaps import publish

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = Path(__file__).parent / "beside.py"


class Bench(NamedTuple):
    """Where the applications run, and where they send."""

    python: Path
    folder: Path
    dsn: str

    def start(
        self,
        name: str,
        *,
        pii: bool = True,
        traces: float = 0.0,
        own: Mapping[str, object] = MappingProxyType({}),
    ) -> Application:
        """Start the application. The options `own` are the same for both libraries."""
        options: dict[str, object] = {
            "dsn": self.dsn,
            "environment": "bench",
            "release": "1",
            "traces_sample_rate": traces,
            "send_default_pii": pii,
        }
        settings = {f"SENTRY_{key.upper()}": value for key, value in options.items()}
        settings["SENTRY_SEND_PII"] = settings.pop("SENTRY_SEND_DEFAULT_PII")
        volume = Path(tempfile.mkdtemp(dir=self.folder))
        (volume / "receipts").mkdir()
        publish(volume, 1, settings)
        command: list[str | Path] = [self.python, "-I", "-W", "ignore", PROGRAM, name]
        given = own if name == "resentry" else {**options, **own}
        return Application([*command, json.dumps(dict(given))], volume, settings)


class Application:
    """One process of bench/beside.py."""

    def __init__(
        self, command: list[str | Path], volume: Path, settings: dict[str, Any]
    ) -> None:
        self._volume, self._settings, self._sequence = volume, settings, 1
        environ = {"RESENTRY_DIR": str(volume), "PATH": os.environ["PATH"]}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe)
        self.pid = self._process.pid
        self.started: dict[str, float] = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def tell(self, work: str, number: int) -> None:
        """Have it do that."""
        assert self._process.stdin
        self._process.stdin.write(f"{work} {number}\n".encode())
        self._process.stdin.flush()

    def swap(self, dsn: str) -> None:
        """Publish a snapshot with that DSN."""
        self._sequence += 1
        publish(self._volume, self._sequence, self._settings | {"SENTRY_DSN": dsn})

    @property
    def is_current(self) -> bool:
        """Whether it has confirmed the newest snapshot."""
        receipts = list((self._volume / "receipts").glob("*.json"))
        found = [json.loads(receipt.read_bytes())["sequence"] for receipt in receipts]
        return found == [self._sequence]

    def ask(self, work: str, number: int) -> list[float]:
        """Have it do that so many times; return what each has taken, when all is sent."""
        self.tell(work, number)
        times: list[float] = self._answer()
        return times
