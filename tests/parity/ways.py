"""Runs a case in one way, in a process of its own, and returns what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme
from cases import PROGRAMS
from envelopes import document, normal
from receivers import PROJECTS, Encrypted, Other, Recorder

from lab.paths import REPOSITORY
from lab.process import eventually
from lab.sink import key_of
from lab.swaps import publish
from lab.valkey import Valkey
from resentry.contract import Rule

if TYPE_CHECKING:
    from typing import Self

    from cases import Case

PYTHON = REPOSITORY / ".matrix" / "bin" / "python"
HIDDEN = Path(__file__).parent / "hidden"
"""What costs a second to import, and only one program uses."""
SWAP_EVERY_SECONDS = 0.1
"""So long a snapshot runs at least: no machine swaps more often than that."""
TIMEOUT_SECONDS = 90
LEAST_SWAPS = 2


CHANCE = re.compile(r"Sentry is attempting to send|Waiting up to|Press Ctrl-C")
"""What the SDK says on exit if that takes longer than 0.1 s."""
DEBUG = re.compile(r" \[sentry\] DEBUG.*")


class Run:
    """One case in one way: `begin` starts its process, `end` returns its document."""

    def __init__(
        self, case: Case, way: str, folder: Path, *, without: bool = False
    ) -> None:
        self.case = case
        self.way = way
        self.name = f"{way}-without" if without else way
        self.folder = folder / self.name
        self.without = without
        self.sequence = 0
        self.stays = False
        self.encrypted: Encrypted | None = None
        self.broker: Valkey | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.sink = stack.enter_context(Recorder())
            self.other = stack.enter_context(Other(self.sink, self.stay))
            self.folder.mkdir()
            if self.case.needs == "tls":
                self.encrypted = stack.enter_context(self._encrypted())
            if self.case.needs == "valkey":
                self.broker = stack.enter_context(Valkey())
            self._begin()
            stack.callback(self._kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _begin(self) -> None:
        (self.folder / "work").mkdir()
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": "" if "django" in self.case.name else str(HIDDEN),
            "PYTHONHASHSEED": "0",
            "PARITY_WAY": self.way,
            "PARITY_OTHER": self.other.address,
            "PARITY_SINK": self.sink.address,
            "PARITY_FILES": str(self.folder),
            "PARITY_SAID": str(self.folder / "said"),
            "PARITY_SWAPS": str(self.folder / "swaps"),
            **self.case.environ,
        }
        if self.broker is not None:
            environ["PARITY_BROKER"] = self.broker.url
        if self.without:
            environ["PARITY_WITHOUT"] = "1"
        if self.way == "plain":
            environ["PARITY_DSN"] = self._dsn(PROJECTS[0])
        elif self.way == "environment":
            values = {"SENTRY_DSN": self._dsn(PROJECTS[0]), **self.case.variables()}
            environ |= {name: str(value) for name, value in values.items()}
        else:
            environ["RESENTRY_DIR"] = str(self.folder / "volume")
            (self.folder / "volume").mkdir()
            self._publish()
        program = PROGRAMS / self.case.program
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [PYTHON, program, self.case.name],
                env=environ,
                cwd=self.folder / "work",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _dsn(self, project: int) -> str:
        if self.encrypted is None:
            return self.sink.dsn(project)
        return f"https://{key_of(project)}@{self.encrypted.address}/{project}"

    def _encrypted(self) -> Encrypted:
        """TLS in front of the sink; who connects must show a certificate."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        own = authority.issue_cert("client@example.org")
        own.cert_chain_pems[0].write_to_path(self.folder / "client-only.pem")
        own.private_key_and_cert_chain_pem.write_to_path(self.folder / "client.pem")
        own.private_key_pem.write_to_path(self.folder / "client.key")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        return Encrypted(self.sink, context)

    def _publish(self) -> None:
        """Publish the next snapshot: another DSN, another rule that matches nothing."""
        turn = self.sequence % len(PROJECTS)
        rules = (Rule(f"no such transaction {turn} *", 0.0),)
        settings = {"SENTRY_DSN": self._dsn(PROJECTS[turn]), **self.case.variables()}
        self.sequence += 1
        publish(self.folder / "volume", self.sequence, settings, rules)

    def swap(self) -> None:
        """Publish snapshot after snapshot until the program ends."""
        while self._is_running(SWAP_EVERY_SECONDS):
            if self._is_taken_up() and not self.stays:
                self._publish()

    def stay(self) -> None:
        """Publish nothing more; return once the newest snapshot runs alone."""
        self.stays = True
        if self.way == "swaps":
            eventually(lambda: self._is_taken_up("drained"), 30, "drained")

    def _is_running(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _is_taken_up(self, phase: str = "") -> bool:
        for path in (self.folder / "volume" / "receipts").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                receipt = json.loads(path.read_bytes())
                if receipt["sequence"] == self.sequence:
                    return phase in {"", receipt["phase"]}
        return False

    def end(self) -> dict[str, Any]:
        """Return all that it did, once its process and every child of it have ended."""
        if self.way == "swaps":
            self.swap()
        code = self.process.wait(TIMEOUT_SECONDS)
        self.sink.release()
        servers = [self.sink, self.other, *([self.encrypted] if self.encrypted else [])]
        eventually(
            lambda: all(server.is_read for server in servers),
            30,
            "all that the program had sent is read",
        )
        words = self._words()
        found = document(self.sink.requests, self.other.requests, words)
        log = (self.folder / "log").read_text(errors="replace")
        lines = [line for line in log.splitlines() if not CHANCE.match(line)]
        if any(DEBUG.match(line) for line in lines):
            # Each client says so.
            lines = sorted({DEBUG.sub("debugging", line) for line in lines})
        found |= {"code": code, "said": self._lines("said"), "stderr": lines}
        if self.encrypted is not None:
            found["certificate shown"] = sorted({*map(bool, self.encrypted.subjects)})
        return normal(found, words)

    @property
    def swaps(self) -> int:
        """How many swaps the program has seen while it ran."""
        return sum(self._lines("swaps"))

    def _lines(self, name: str) -> list[Any]:
        path = self.folder / name
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def _words(self) -> dict[str, str]:
        words = {
            str(self.folder): "FOLDER",
            self.sink.address: "SINK",
            self.other.address: "OTHER",
            f"PID {self.process.pid}": "PID",
        }
        if self.encrypted is not None:
            words[self.encrypted.address] = "TLS"
        if self.broker is not None:
            words[self.broker.url.partition("//")[2]] = "BROKER"
            words[f"port={self.broker.port}"] = "port=BROKER"
        for project in PROJECTS:
            words[key_of(project)] = "KEY"
            words[f"/api/{project}/"] = "/api/PROJECT/"
            words[f"{self.sink.address}/{project}"] = "SINK/PROJECT"
        return words

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
