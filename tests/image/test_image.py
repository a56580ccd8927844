"""The images: what is in the agent's, and that both run with next to no rights."""

from __future__ import annotations

import json
import os
import re
import stat
from typing import TYPE_CHECKING

import pytest
import requests

from lab.images import COMMIT, obstacle
from lab.process import eventually, free_port, listens
from lab.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.runc import Container, Image

if why := obstacle("runc"):
    pytest.skip(
        f"the image can be neither built nor run: {why}", allow_module_level=True
    )

# The first test that needs the image may have to build it.
# One process builds and unpacks the images, for all tests.
pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("image"),
]

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"

# What `run` imports, and of it what would be compiled anew at every start.
UNCOMPILED = """
import sys, agent.cli.run, agent.daemon, agent.services, agent.source.vault
for name, module in sorted(sys.modules.items()):
    cached = getattr(module, "__cached__", None)  # frozen and built-in ones have none
    if cached:
        try:
            head = open(cached, "rb").read(8)
        except OSError:
            head = b""
        if head[4:] != b"\\x01\\0\\0\\0": print(name)
assert len(sys.modules) > 300
"""


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    with Vault() as vault:
        vault.write("lms", SENTRY_DSN=DSN)
        yield vault


@pytest.fixture
def env(vault: Vault) -> dict[str, str]:
    return {
        "RESENTRY_VAULT_ADDR": vault.address,
        "RESENTRY_VAULT_TOKEN": vault.token,
        "RESENTRY_VAULT_PATHS": "secret/data/lms",
        "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
        "RESENTRY_DSN_CHECK": "off",
    }


def test_it_says_what_it_is_and_runs_as_nobody(image: Image) -> None:
    """Numeric user, so that Kubernetes can tell it from root; labels; no shell form."""
    config = image.config["config"]
    labels = {name.rpartition(".")[2]: text for name, text in config["Labels"].items()}
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["resentry-agent"]
    assert config["Cmd"] == ["run"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert labels["title"] == "resentry-agent"
    assert labels["licenses"] == "Apache-2.0"
    assert re.fullmatch(r"\d+\.\d+\.\d+", labels["version"])
    assert labels["name"].startswith("localhost/resentry-base:")


def test_nothing_in_it_installs_or_decorates(image: Image) -> None:
    """No pip, not even the one that Python brings along, and no rich, which costs 6 MB."""
    unwanted = re.compile(r"pip\d*|ensurepip|setuptools|rich|hatchling|pip-.*|.*\.whl")
    assert [p for p in image.paths() if unwanted.fullmatch(p.name)] == []


def test_no_layer_keeps_what_built_it(image: Image) -> None:
    """No secret, no source and no other cache, not even below another layer."""
    built = re.compile(
        r"etc/pip\.conf|run/secrets|src/|wheels/|opt/build|root/|tmp/."
        r"|.*(\.git|\.cpython-(?!311).*\.pyc$)"
    )
    own = {name for layer in image.layers[1:] for name in layer}
    assert "opt/resentry/bin/resentry-agent" in own
    assert {name for name in own if built.match(name)} == set()
    # Of the folders that Python counts as packages: ours, and nothing of the checkout.
    site = next((image.root / "opt/resentry/lib").glob("python3.*/site-packages"))
    assert not {"lab", "bench", "docs", "tests", "examples"} & set(os.listdir(site))


def test_its_user_owns_the_volume_alone(image: Image) -> None:
    """What it may write is the volume, and what anybody may; nothing lends it rights."""
    mine, lent = [], []
    for path in image.paths():
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            continue
        name = str(path.relative_to(image.root))
        sticky = found.st_mode & stat.S_ISVTX
        if found.st_uid == 65532 or (found.st_mode & stat.S_IWOTH and not sticky):
            mine.append(name)
        if found.st_mode & (stat.S_ISUID | stat.S_ISGID) and name.startswith("opt/"):
            lent.append(name)
    assert (mine, lent) == (["var/run/resentry"], [])


def test_it_adds_two_layers_of_32_mb_at_most(image: Image) -> None:
    """The compiled standard library, and the agent with all that it needs."""
    own = image.layers[1:]
    sizes = [sum(member.size for member in layer.values()) for layer in own]
    assert len(own) <= 2
    assert sum(sizes) <= 32_000_000


def test_what_it_imports_is_compiled(container: Container) -> None:
    """For the level that runs, the standard library's too, and whatever the dates say."""
    done = container.run("python", "-c", UNCOMPILED)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_it_names_the_commit_that_it_was_built_from(container: Container) -> None:
    """There is no git in it: the build's argument REVISION says it."""
    done = container.run("resentry-agent", "--version")
    assert done.stdout.endswith(f", commit {COMMIT}\n"), done.stdout + done.stderr


def test_operators_have_an_image_of_their_own(
    container: Container, tools: Image, tools_container: Container
) -> None:
    """It has the extras, and is else as the agent's, which has none of them."""
    fleet = {"RESENTRY_FLEET": "k8s://shop:19465?resentry=sidecar"}
    ask = ("resentry-agent", "fleet")
    lacks, asks = (one.run(*ask, env=fleet) for one in (container, tools_container))
    assert "use the image resentry-agent-tools" in lacks.stderr, lacks
    assert "no way to the Kubernetes API" in asks.stderr, asks
    bridges = tools_container.run(
        "python", "-c", "import uvicorn, agent.bridge.service"
    )
    assert bridges.returncode == 0, bridges
    store = (tools.root / "var/lib/resentry").stat()
    assert (store.st_uid, stat.S_IMODE(store.st_mode)) == (65532, 0o750)
    config = tools.config["config"]
    assert config["User"] == "65532:65532"
    store = (tools.root / "var/lib/resentry").lstat()
    assert store.st_uid != (tools.root / "var/lib").lstat().st_uid
    assert (store.st_uid, store.st_gid, store.st_mode & 0o777) == (65532, 65532, 0o750)
    assert config["Labels"]["org.opencontainers.image.title"] == "resentry-agent-tools"
    assert not [path for path in tools.paths() if path.name in {"pip", "ensurepip"}]


def test_it_may_write_nowhere_else(container: Container) -> None:
    """With every capability dropped and a read-only root, as the tests below run it."""
    script = """
import pathlib
status = pathlib.Path("/proc/self/status").read_text().split()
print(*(status[status.index(f"{key}:") + 1] for key in ("Uid", "CapEff", "CapBnd", "NoNewPrivs")))
for folder in "/tmp", "/opt/resentry", "/var/run/resentry":
    try:
        pathlib.Path(folder, "x").touch()
        print(folder)
    except OSError as error:
        print(error.strerror)
"""
    zero = "0" * 16
    refused = "Read-only file system"
    done = container.run("python", "-c", script)
    assert done.stdout.splitlines() == [
        f"65532 {zero} {zero} 1",
        refused,
        refused,
        "/var/run/resentry",
    ]


def test_check_reads_the_secret(container: Container, env: dict[str, str]) -> None:
    """`resentry-agent check` answers from inside the image."""
    done = container.run("resentry-agent", "check", env=env)
    assert done.returncode == 0, done.stderr
    assert DSN not in done.stdout


def test_it_publishes_is_healthy_and_ends_when_told(
    container: Container, image: Image, env: dict[str, str]
) -> None:
    """Its own command and its health check need no shell; SIGTERM ends it with 0."""
    health = image.config["config"]["Healthcheck"]["Test"][1:]
    published = container.volume / "settings.json"
    with container.process(env=env, ready=published.exists) as process:
        settings = json.loads(published.read_text())["settings"]
        assert settings == {"SENTRY_DSN": DSN}
        eventually(
            lambda: container.execute(*health).returncode == 0, what="it is healthy"
        )
        assert process.stop() == 0
    assert "Traceback" not in process.log_text()


def test_the_health_check_says_no(
    container: Container, image: Image, env: dict[str, str]
) -> None:
    """It fails where no agent answers."""
    health = image.config["config"]["Healthcheck"]["Test"][1:]
    done = container.run(*health, env=env)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


def test_no_shell_runs_in_these_tests(container: Container) -> None:
    """What they show therefore needs none."""
    done = container.run("sh", "-c", "exit 0")
    assert done.returncode == 1
    assert "executable file not found" in done.stderr


def test_the_example_serves_and_says_where_it_reports(
    example_container: Container,
) -> None:
    """The guide's check, the API, and the worker's command, read-only as well."""
    port = free_port()
    environment = {"SENTRY_DSN": DSN, "RESENTRY_WAIT_SECONDS": "0", "VERSION": "1"}
    call = "from app.core.observability import init_sentry_for_api as i; i()"
    said = example_container.run("python", "-c", call, env=environment)
    assert "sentry.example.org" in said.stdout, said.stderr
    worker = example_container.run("celery", "-A", "app.worker", "report")
    assert "broker_connection_retry_on_startup: True" in worker.stdout, worker.stderr
    serve = ("uvicorn", "app.main:api", "--port", str(port))
    with example_container.process(
        *serve, env=environment, ready=lambda: listens(port)
    ) as process:
        health = requests.get(f"http://127.0.0.1:{port}/health", timeout=10).json()
        assert health["error"] is None
        assert process.stop() == 0
