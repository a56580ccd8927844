"""A whole set-up for `doctor`: source, agent, application, Sentry; started once, broken often."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from click.testing import CliRunner

from agent.call import call
from agent.cli import group
from agent.cli.doctor import facts_of
from agent.cli.gather import gather
from agent.doctor.examine import examine
from agent.domain.value import replace
from agent.errors import AgentError
from agent.settings import load_what_can_be
from lab.mount import Mount
from lab.process import Process, eventually
from lab.proxy import Proxy
from lab.receiver import Receiver
from lab.sink import Sink
from lab.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.doctor.results import Finding
    from agent.settings import Settings

APPLICATION = Path(__file__).with_name("part.py")
READ = 'path "secret/data/lms" { capabilities = ["read"] }'


class Site:
    """An agent, and processes of an application, on one volume."""

    def __init__(self, folder: Path, **environ: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.volume = folder / "volume"
        self.receipts = self.volume / "receipts"
        self.environ = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RESENTRY_DIR": str(self.volume),
            "RESENTRY_CONFIRM_SECONDS": "1.5",
            "RESENTRY_HTTP_LISTEN": "off",
            "RESENTRY_DSN_CHECK": "off",
            "VERSION": "1.0.0",
            **environ,
        }
        self.stack = ExitStack()
        self.agent = Process(["resentry-agent", "run"], env=self.environ)

    def start_agent(self) -> None:
        self.agent = Process(["resentry-agent", "run"], env=self.environ)
        self.stack.enter_context(self.agent)

    @contextmanager
    def app(self, oddity: str, role: str = "api", **environ: str) -> Iterator[Process]:
        """Run a process of the application until the end of the context."""
        command = [sys.executable, str(APPLICATION), role, oddity]
        with Process(command, env=self.environ | environ) as process:
            yield process
            # An exit in the middle of `init` is caught there.
            eventually(lambda: not process.alive or "ready" in process.log_text())

    def settings(self, **environ: str) -> Settings:
        return load_what_can_be({}, self._given(environ)).settings

    def _given(self, environ: dict[str, str]) -> dict[str, str]:
        return {k: v for k, v in {**self.environ, **environ}.items() if v}

    def look(self, *, offline: bool = False, **environ: str) -> list[Finding]:
        """Examine, as the command does. An empty variable is taken out."""
        given = self._given(environ)
        facts = facts_of(load_what_can_be({}, given), offline=offline)
        return examine(replace(facts, environ=given))

    def doctor(self, *args: str, **environ: str) -> tuple[int, str]:
        """Run the command, and return the exit code and what it printed."""
        ran = subprocess.run(
            ["resentry-agent", "doctor", *args],
            env=self._given(environ),
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stdout

    def shown(self, *args: str, **environ: str) -> str:
        """Return what the command prints, run in this process, which is faster."""
        given = self._given(environ)
        others = {name: None for name in os.environ if name not in given}
        ran = CliRunner().invoke(group, ["doctor", *args], env={**others, **given})
        return ran.output

    def await_only(self, *ids: str, **how: Any) -> dict[str, Finding]:
        """Wait until these are the problems, apart from what follows from them."""
        seen: dict[str, Finding] = {}

        def look() -> bool:
            seen.clear()
            if not ids:  # what was mended at the source is not known before a pass
                with suppress(AgentError):
                    self.ask(command="refresh")
            problems = [f for f in self.look(**how) if f.verdict == "problem"]
            seen.update({f.id: f for f in problems})
            roots = {f.id for f in problems if f.follows_from is None}
            if roots != set(ids):
                time.sleep(0.1)  # else looking slows down what it waits for
            return roots == set(ids)

        try:
            eventually(look, 20, f"only {ids}")
        except TimeoutError as error:
            shown = [
                (f.id, f.subject, f.detail[:90], f.follows_from) for f in seen.values()
            ]
            status = gather(self.settings())
            agent = f"the agent is {status.agent}; {status.origin.why}"
            raise AssertionError(f"{error}; there are {shown}; {agent}") from None
        return dict(seen)

    def poll(self) -> None:
        self.agent.signal(signal.SIGHUP)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Ask the running agent for something."""
        path = self.settings().control_path
        return call(path, {**request, "request_id": os.urandom(8).hex()}, 10)


class Busy(Site):
    """An application that sends often, and an agent beside Vault."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder,
            RESENTRY_VAULT_PATHS="secret/data/lms",
            RESENTRY_VAULT_KV_VERSION="2",
            RESENTRY_POLL_SECONDS="1",
            RESENTRY_PASS_SECONDS="2",
            RESENTRY_ENVIRONMENT="staging",
            ENVIRONMENT="staging",
        )
        self.vault, self.sink, self.receiver = Vault(), Sink(), Receiver()

    def __enter__(self) -> Self:
        with self.stack:
            for part in (self.vault, self.sink, self.receiver):
                self.stack.enter_context(part)  # type: ignore[arg-type]
            self.proxy = self.stack.enter_context(Proxy(self.vault.address))
            self.token = self.vault.policy_token(READ)
            host = self.sink.address.rpartition("/")[2]
            self.environ |= {
                "RESENTRY_VAULT_ADDR": self.proxy.url,
                "RESENTRY_VAULT_TOKEN": self.token,
                "RESENTRY_ALLOWED_DSNS": f"staging={host},staging=127.0.0.1:9",
                "RESENTRY_NOTIFY_URLS": self.receiver.url,
            }
            self.write()
            self.start_agent()
            self.start_app()
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def start_app(self) -> None:
        self.main = self.stack.enter_context(self.app("plain"))

    def write(self, **values: object) -> None:
        given = {"SENTRY_DSN": self.sink.dsn(1), "SENTRY_TRACES_SAMPLE_RATE": "0.1"}
        self.vault.write(
            "lms", {k: v for k, v in {**given, **values}.items() if v != ""}
        )
        self.poll()


class Quiet(Site):
    """A process that sends nothing, and an agent beside a mounted source, in production."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder,
            RESENTRY_SOURCE_PATH=str(folder / "source"),
            RESENTRY_POLL_SECONDS="60",
            RESENTRY_RECEIPTS=str(folder / "receipts"),
            RESENTRY_ENVIRONMENT="production",
            ENVIRONMENT="production",
            RESENTRY_ALLOWED_DSNS="production=sentry.example.org",
        )
        self.receipts = folder / "receipts"
        self.mount = Mount(folder / "source")

    def __enter__(self) -> Self:
        with self.stack:
            self.write()
            self.start_agent()
            self.main = self.stack.enter_context(self.app("silent"))
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def write(self, **values: str) -> None:
        key = "c0ffee00c0ffee00c0ffee00c0ffee00"
        given = {
            "SENTRY_DSN": f"https://{key}@sentry.example.org/42",
            "SENTRY_TRACES_SAMPLE_RATE": "0.1",
        }
        self.mount.write(**{k: v for k, v in {**given, **values}.items() if v})
        self.poll()
