"""The agent, `bao agent` and the bare interpreter: started, and measured as they run.

All three run on this machine, now, over TLS, against the same OpenBao and secret.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

from bench import proc
from lab.process import Process, eventually, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from lab.vault import ProductionVault

STARTS = 9
SETTLED_POLLS = 5
MEASURED_POLLS = 15

SECRET = "secret/data/lms"
SETTINGS = {
    "SENTRY_DSN": "http://0123456789abcdef0123456789abcdef@127.0.0.1:9/1",
    "SENTRY_ENVIRONMENT": "production",
    "SENTRY_TRACES_SAMPLE_RATE": "0.1",
}
POLICY = f'path "{SECRET}" {{ capabilities = ["read"] }}'
TARGET = "import resentry, time; resentry.init(role='api'); time.sleep(600)"
IDLE = "import time; print('up', flush=True); time.sleep(600)"
BAO_AGENT = """
vault {{
  address = "{address}"
  ca_cert = "{ca}"
}}
auto_auth {{ method "token_file" {{ config = {{ token_file_path = "{token}" }} }} }}
template_config {{ static_secret_render_interval = "1s" }}
template {{
  contents = "{{{{ with secret \\"{secret}\\" }}}}{{{{ .Data.data | toJSON }}}}{{{{ end }}}}"
  destination = "{out}"
}}
"""


class Steady(NamedTuple):
    """What a process costs once it runs, polling once a second."""

    rss_mb: float
    anon_mib: float
    threads: int
    cpu_ms_per_poll: float = 0.0
    waits_per_poll: float = 0.0
    requests_per_poll: float = 0.0


class Command(NamedTuple):
    """One agent, ready to be started, and the file that it will publish first."""

    args: list[str]
    env: dict[str, str]
    first_file: Path


class Subjects:
    """The two agents and the interpreter, on one OpenBao, in one folder."""

    def __init__(self, vault: ProductionVault, binaries: Path, folder: Path) -> None:
        self._vault = vault
        self._bin = binaries
        self._folder = folder
        self._token = folder / "token"
        self._token.write_text(vault.policy_token(POLICY))
        self._token.chmod(0o600)
        self._names = (f"run-{number}" for number in itertools.count(1))
        vault.write("lms", SETTINGS)

    def agent(self, port: int) -> Command:
        """The agent with a volume of its own, HTTP on that port, the rest default."""
        volume = self._folder / next(self._names)
        env = {
            "RESENTRY_VAULT_ADDR": self._vault.address,
            "RESENTRY_VAULT_CA": str(self._vault.ca),
            "RESENTRY_VAULT_PATHS": SECRET,
            "RESENTRY_VAULT_TOKEN_FILE": str(self._token),
            "RESENTRY_DIR": str(volume),
            "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{port}",
            "RESENTRY_POLL_SECONDS": "1",
        }
        args = [str(self._bin / "resentry-agent"), "run"]
        return Command(args, env, volume / "settings.json")

    def bao_agent(self) -> Command:
        """OpenBao's own agent, rendering the same secret every second."""
        folder = self._folder / next(self._names)
        folder.mkdir()
        config, out = folder / "agent.hcl", folder / "out.json"
        config.write_text(
            BAO_AGENT.format(
                address=self._vault.address,
                ca=self._vault.ca,
                token=self._token,
                secret=SECRET,
                out=out,
            )
        )
        args = [self._vault.binary, "agent", f"-config={config}"]
        return Command(args, {"HOME": str(folder)}, out)

    def python(self, code: str) -> list[str]:
        """The interpreter of the agent's environment, isolated."""
        return [str(self._bin / "python"), "-I", "-c", code]

    def starts(self) -> dict[str, float]:
        """Median time in ms from exec to the first published file, interleaved."""
        found: dict[str, list[float]] = {
            "interpreter": [],
            "agent": [],
            "bao_agent": [],
        }
        for _ in range(STARTS):
            found["interpreter"].append(proc.seconds_to_run(self.python("pass"), {}))
            both = {"agent": self.agent(free_port()), "bao_agent": self.bao_agent()}
            for name, (args, env, file) in both.items():
                found[name].append(proc.seconds_until(file.exists, args, env))
        return {name: 1000 * statistics.median(times) for name, times in found.items()}

    def steady_interpreter(self) -> Steady:
        """The interpreter, idle."""
        with Process(self.python(IDLE), env={}) as process:
            eventually(lambda: "up" in process.log_text(), what="an idle interpreter")
            return _steady(process.pid)

    def steady_agent(self) -> Steady:
        """The agent with one application that has confirmed, after a scrape."""
        port = free_port()
        args, env, file = self.agent(port)
        target_env = {"RESENTRY_DIR": str(file.parent)}
        with (
            Process(args, env=env, ready=file.exists) as process,
            Process(self.python(TARGET), env=target_env) as target,
        ):
            self._after_polls(SETTLED_POLLS)
            if 'resentry_targets{role="api",state="drained"} 1.0' not in _scrape(port):
                logs = process.log_text() + target.log_text()
                raise RuntimeError(f"the application has not confirmed:\n{logs}")
            return self._steady_polling(process.pid)

    def steady_bao_agent(self) -> Steady:
        """OpenBao's agent, after as many polls."""
        args, env, file = self.bao_agent()
        with Process(args, env=env, ready=file.exists) as process:
            self._after_polls(SETTLED_POLLS)
            return self._steady_polling(process.pid)

    def _steady_polling(self, pid: int) -> Steady:
        requests, _ = self._after_polls(0)
        before = proc.usage(pid)
        requests_after, polls = self._after_polls(MEASURED_POLLS)
        after = proc.usage(pid)
        return _steady(pid)._replace(
            cpu_ms_per_poll=(after.cpu_ns - before.cpu_ns) / 1e6 / polls,
            waits_per_poll=(after.waits - before.waits) / polls,
            requests_per_poll=(requests_after - requests) / polls,
        )

    def _after_polls(self, polls: int) -> tuple[int, int]:
        """Wait for so many polls; return all requests until then, and the polls."""
        before = self._vault.requests().count(("read", SECRET))
        deadline = time.monotonic() + 10 + 2 * polls
        while True:
            requests = self._vault.requests()
            seen = requests.count(("read", SECRET)) - before
            if seen >= polls:
                return len(requests), seen
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {seen} of {polls} polls in the audit log")
            time.sleep(0.2)  # seldom: looking costs CPU that the agents lack


def _steady(pid: int) -> Steady:
    rss, anon = proc.memory(pid)
    return Steady(rss * 1024 / 1e6, anon / 1024, proc.threads(pid))


def _scrape(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
