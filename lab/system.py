"""The whole product at work: Vault, agent, the example's processes, a receiver.

Demo, end-to-end tests and benchmarks start it, break parts of it, and ask it what the
agent would say.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import msgspec
import requests

from agent.cli.gather import gather
from agent.settings import load
from lab.paths import REPOSITORY
from lab.process import Process, eventually, free_port, listens
from lab.valkey import Valkey
from lab.vault import Vault

COMMANDS = REPOSITORY / ".venv" / "bin"
EXAMPLE = REPOSITORY / "examples" / "lms"
SECRET = "lms"


class System:
    """A Vault and a volume; `agent`, `api` and `worker` are started when asked for.

    `environ` is what every process gets, on top of what names the parts.
    """

    def __init__(self, vault: Vault | None = None, **environ: str) -> None:
        self.vault = vault or Vault()
        self.folder = Path(tempfile.mkdtemp(prefix="lab-system-"))
        self.directory = self.folder / "volume"
        self.api_port = free_port()
        self.http_port = free_port()
        self.environ = {
            "PATH": f"{COMMANDS}{os.pathsep}{os.environ.get('PATH', '')}",
            "HOME": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            "RESENTRY_DIR": str(self.directory),
            "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{self.http_port}",
            "RESENTRY_POLL_SECONDS": "1",
            "RESENTRY_VAULT_PATHS": f"secret/data/{SECRET}",
            "VERSION": "1.0.0",
            "ENVIRONMENT": "production",
            **environ,
        }
        self.agent: Process | None = None
        self.api: Process | None = None
        self.worker: Process | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            stack.enter_context(self.vault)
            self.environ["RESENTRY_VAULT_ADDR"] = self.vault.address
            self.environ["RESENTRY_VAULT_TOKEN"] = self.vault.token
            if self.vault.ca:
                self.environ["RESENTRY_VAULT_CA"] = str(self.vault.ca)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, **fields: object) -> None:
        """Make the secret hold exactly these fields."""
        self.vault.write(SECRET, fields)

    def launch_agent(self, **environ: str) -> Process:
        """Start the agent, also again; return once its probes answer.

        On a slow machine, or if Vault hangs, they do so before the first pass has ended.
        """
        self.agent = self.spawn(
            "resentry-agent", "run", ready=self.http_port, environ=environ
        )
        return self.agent

    def start_agent(self, **environ: str) -> Process:
        """Start the agent, also again; return once its first pass has ended."""
        agent = self.launch_agent(**environ)
        eventually(self._has_passed, what="the agent's first pass")
        return agent

    def _has_passed(self) -> bool:
        source = self.get("/status").json()["result"]["source"]
        return bool(source["outcome"])

    def start_api(self, workers: int = 2, **environ: str) -> Process:
        """Start uvicorn with the example's API."""
        port = str(self.api_port)
        self.api = self.spawn(
            *("uvicorn", "app.main:api", "--host", "127.0.0.1", "--port", port),
            *("--workers", str(workers), "--no-access-log"),
            ready=self.api_port,
            environ={"BROKER_URL": self.broker.url, **environ},
        )
        return self.api

    def start_worker(self, *options: str, **environ: str) -> Process:
        """Start the example's Celery worker, with two children unless told otherwise."""
        self.worker = self.spawn(
            *("celery", "-A", "app.worker", "worker", "--loglevel", "WARNING"),
            *(options or ("--concurrency", "2")),
            environ={"BROKER_URL": self.broker.url, **environ},
        )
        return self.worker

    @property
    def broker(self) -> Valkey:
        """The broker, started when it is first needed."""
        if "_broker" not in vars(self):
            self._broker = self._stack.enter_context(Valkey())
        return self._broker

    def spawn(
        self,
        *command: str,
        ready: int | None = None,
        environ: dict[str, str] | None = None,
    ) -> Process:
        """Start a command in the example's folder; `ready` names its port."""
        process = Process(
            command,
            env=self.environ | (environ or {}),
            cwd=EXAMPLE,
            ready=None if ready is None else lambda: listens(ready),
        )
        return self._stack.enter_context(process)

    def run(
        self, *command: str, within: float = 60.0, **environ: str
    ) -> tuple[int, str]:
        """Run a command to its end; return its exit code and all it printed."""
        process = self.spawn(*command, environ=environ)
        ended = f"the end of {' '.join(command)}"
        eventually(lambda: not process.alive, within, ended)
        return process.returncode or 0, process.log_text()

    def poll_now(self) -> None:
        """Have the agent look at Vault at once."""
        if self.agent is not None:
            self.agent.signal(signal.SIGHUP)

    def status(self) -> dict[str, Any]:
        """Return the result of `resentry-agent status --json`."""
        found = gather(load({}, self.environ).settings)
        return dict(msgspec.to_builtins(found))

    def settled(self, targets: int, sequence: int) -> dict[str, Any] | None:
        """Return the status if so many targets run that snapshot, and are drained."""
        found = self.status()
        current, rollout = found["current"], found["rollout"]
        good = (
            current
            and current["sequence"] == sequence
            and len(rollout["targets"]) == targets
            and rollout["state"] == "drained"
        )
        return found if good else None

    def converge(
        self, targets: int, sequence: int, within: float = 60.0
    ) -> dict[str, Any]:
        """Wait until so many targets run that snapshot, and return the status."""
        try:
            return eventually(
                lambda: self.settled(targets, sequence),
                within,
                f"{targets} targets at sequence {sequence}",
            )
        except TimeoutError as exc:
            exc.add_note(f"the status is {self.status()}")
            running = {"agent": self.agent, "api": self.api, "worker": self.worker}
            for name, process in running.items():
                if process is not None:
                    exc.add_note(f"the {name} says: {process.log_text()[-4000:]}")
            raise

    def get(self, path: str) -> requests.Response:
        """Ask the agent's HTTP endpoints."""
        return requests.get(f"http://127.0.0.1:{self.http_port}{path}", timeout=5)
