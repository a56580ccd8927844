"""The agent, and what people use instead of it, each ready to be started.

All of them poll the same OpenBao over TLS, each a secret of its own, and write what they
read to a file. HashiCorp's two are built from their Go modules, or are absent.
"""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING, NamedTuple

from lab import golang
from lab.paths import REPOSITORY
from lab.process import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lab.vault import ProductionVault

NAMES = {
    "agent": "agent",
    "reporting": "agent, reporting",
    "bao_agent": "bao agent",
    "vault_agent": "vault agent",
    "consul_template": "consul-template",
}
"""All subjects; `reporting` is the agent that also reports its own errors to Sentry."""

FOLDER = REPOSITORY / "lab/peers"
PACKAGES = {
    "vault_agent": "./vault-agent",
    "consul_template": "github.com/hashicorp/consul-template",
}
SETTINGS = {
    "SENTRY_DSN": "http://0123456789abcdef0123456789abcdef@127.0.0.1:9/1",
    "SENTRY_ENVIRONMENT": "production",
    "SENTRY_TRACES_SAMPLE_RATE": "0.1",
}
TEMPLATE = """
template {{
  contents = "{{{{ with secret \\"{secret}\\" }}}}{{{{ .Data.data | toJSON }}}}{{{{ end }}}}"
  destination = "{out}"
}}
"""
AGENT_OF_VAULT = (
    """
vault {{
  address = "{address}"
  ca_cert = "{ca}"
}}
auto_auth {{ method "token_file" {{ config = {{ token_file_path = "{token}" }} }} }}
template_config {{ static_secret_render_interval = "{seconds:g}s" }}
"""
    + TEMPLATE
)
CONSUL_TEMPLATE = (
    """
vault {{
  address = "{address}"
  vault_agent_token_file = "{token}"
  renew_token = false
  default_lease_duration = "{seconds:g}s"
  ssl {{ ca_cert = "{ca}" }}
}}
"""
    + TEMPLATE
)


class Command(NamedTuple):
    """One subject, ready to be started."""

    args: list[str]
    env: dict[str, str]
    first_file: Path
    """What it publishes first."""
    secret: str
    """The path that it alone reads."""
    port: int = 0
    """Where the agent answers probes; 0 for the others."""


class Peers:
    """Makes the subjects ready, on one OpenBao, in one folder.

    `binaries` are those of the agent's environment, `programs` those of `built`.
    """

    def __init__(
        self,
        vault: ProductionVault,
        binaries: Path,
        folder: Path,
        programs: Mapping[str, str],
    ) -> None:
        self._vault = vault
        self._bin = binaries
        self._folder = folder
        self._programs = programs
        self._numbers = itertools.count(1)

    def python(self, code: str) -> list[str]:
        """The interpreter of the agent's environment, isolated."""
        return [str(self._bin / "python"), "-I", "-c", code]

    def command(self, name: str, seconds: float) -> Command:
        """Return the subject that polls every so many seconds, in a new folder."""
        run = f"{name}-{next(self._numbers)}"
        self._vault.write(run, SETTINGS)
        secret, folder = f"secret/data/{run}", self._folder / run
        folder.mkdir()
        token = folder / "token"
        policy = f'path "{secret}" {{ capabilities = ["read"] }}'
        token.write_text(self._vault.policy_token(policy))
        token.chmod(0o600)
        if name in {"agent", "reporting"}:
            return self._agent(secret, folder, seconds, reports=name == "reporting")
        config, out = folder / "config.hcl", folder / "out.json"
        text = CONSUL_TEMPLATE if name == "consul_template" else AGENT_OF_VAULT
        config.write_text(
            text.format(
                address=self._vault.address,
                ca=self._vault.ca,
                token=token,
                seconds=seconds,
                secret=secret,
                out=out,
            )
        )
        args = {
            "bao_agent": [self._vault.binary, "agent", f"-config={config}"],
            "vault_agent": [self._programs.get(name, ""), str(config)],
            "consul_template": [self._programs.get(name, ""), f"-config={config}"],
        }[name]
        return Command(args, {"HOME": str(folder)}, out, secret)

    def _agent(
        self, secret: str, folder: Path, seconds: float, *, reports: bool
    ) -> Command:
        port, volume = free_port(), folder / "volume"
        env = {
            "RESENTRY_VAULT_ADDR": self._vault.address,
            "RESENTRY_VAULT_CA": str(self._vault.ca),
            "RESENTRY_VAULT_PATHS": secret,
            "RESENTRY_VAULT_TOKEN_FILE": str(folder / "token"),
            "RESENTRY_DIR": str(volume),
            "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{port}",
            "RESENTRY_POLL_SECONDS": f"{seconds:g}",
            "RESENTRY_REPORT_ERRORS": str(reports).lower(),
        }
        args = [str(self._bin / "resentry-agent"), "run"]
        return Command(args, env, volume / "settings.json", secret, port)


def built() -> tuple[dict[str, str], dict[str, str]]:
    """Return the programs of HashiCorp by name, and why others are absent."""
    programs, absent = {}, {}
    if on_path := shutil.which("consul-template"):
        programs["consul_template"] = on_path
    for name in PACKAGES.keys() - programs:
        try:
            folder = golang.built(FOLDER, [PACKAGES[name]], name=name)
            programs[name] = str(next(folder.iterdir()))
        except (RuntimeError, OSError) as error:
            absent[name] = f"cannot be built: {str(error).splitlines()[0][:200]}"
    return programs, absent
