"""Where the agent reads Sentry's settings, and how it proves who it is there."""

import re
from typing import Annotated, Literal

from msgspec import Struct

from agent.settings import parse
from agent.settings.kinds import LOGIN, MOUNTED, TLS, VAULT, SecretValue, says

_ADDRESS = re.compile(r"unix:///.*|https?://[\w.:%[\]-]+(?=/|\Z)", re.IGNORECASE)
SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path


class SourceSettings(Struct, frozen=True, kw_only=True):
    """The part of the settings that the source alone needs."""

    vault_addr: Annotated[
        str,
        says(
            VAULT,
            "URL",
            "The address of Vault, of a Vault Agent or of a Vault Proxy, as "
            "`https://vault:8200`; `unix:///PATH` for a socket.",
        ),
    ] = ""
    vault_paths: Annotated[
        tuple[str, ...],
        says(
            VAULT,
            "PATH",
            "The secrets to read. `secret/data/lms` reads all keys of the secret `lms`. "
            "`secret/data/lms/SENTRY_DSN` reads another secret, `lms/SENTRY_DSN`, which "
            "holds that one key. `secret/data/lms?version=7` always reads version 7. If "
            "two secrets have the same key, the later one in this list wins.",
        ),
    ] = ()
    vault_namespace: Annotated[str, says(VAULT, "NAME", "Vault's namespace.")] = ""
    vault_kv_version: Annotated[
        Literal["auto", "1", "2"],
        says(
            VAULT,
            "CHOICE",
            "The version of the KV engine; `auto` asks Vault once per mount.",
        ),
    ] = "auto"
    vault_redirect_hosts: Annotated[
        tuple[str, ...],
        says(
            VAULT,
            "HOST[:PORT]",
            "The hosts that Vault may redirect a request to, as a standby does to its "
            "leader. The agent sends them its token.",
        ),
    ] = ()
    vault_trust_env: Annotated[
        bool,
        says(
            VAULT,
            "BOOLEAN",
            "Use the proxies in `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` for Vault.",
        ),
    ] = False
    vault_auth: Annotated[
        Literal["token", "kubernetes", "approle", "jwt", "cert", "userpass", "none"],
        says(
            LOGIN,
            "CHOICE",
            "How to log in. `token` uses an existing token; `none` sends no token, for a "
            "Vault Agent or Proxy that adds its own.",
        ),
    ] = "token"
    vault_auth_mount: Annotated[
        str,
        says(
            LOGIN,
            "PATH",
            "Where the auth method is mounted (default: the name of the method).",
        ),
    ] = ""
    vault_token_file: Annotated[
        str,
        says(
            LOGIN,
            "FILE",
            "`token`: the file with the Vault token, read again at every pass. If a file "
            "and a value are set, the file wins.",
            read=parse.path,
        ),
    ] = ""
    vault_token: Annotated[
        SecretValue,
        says(
            LOGIN,
            "TEXT",
            "`token`: the Vault token itself. A file is better, because it can change.",
        ),
    ] = SecretValue("")
    vault_role: Annotated[
        str, says(LOGIN, "NAME", "`kubernetes`, `jwt`, `cert`: the role.")
    ] = ""
    vault_jwt_file: Annotated[
        str,
        says(
            LOGIN,
            "FILE",
            "`kubernetes`, `jwt`: the file with the JWT, read again at every login "
            "(default for `kubernetes`: the token of the service account).",
            read=parse.path,
        ),
    ] = ""
    vault_audience: Annotated[
        str,
        says(
            LOGIN,
            "NAME",
            "`kubernetes`, `jwt`: the audience that the JWT must have. A JWT with another "
            "audience is not sent.",
        ),
    ] = ""
    vault_role_id: Annotated[str, says(LOGIN, "ID", "`approle`: the role id.")] = ""
    vault_secret_id_file: Annotated[
        str,
        says(
            LOGIN,
            "FILE",
            "`approle`: the file with the secret id, read again at every login.",
            read=parse.path,
        ),
    ] = ""
    vault_secret_id: Annotated[
        SecretValue, says(LOGIN, "TEXT", "`approle`: the secret id itself.")
    ] = SecretValue("")
    vault_secret_id_wrap_path: Annotated[
        str,
        says(
            LOGIN,
            "PATH",
            "`approle`: set this if the secret id is response-wrapped: the path that must "
            "have made it, as `auth/approle/role/lms/secret-id`. The agent unwraps it "
            "once.",
        ),
    ] = ""
    vault_username: Annotated[str, says(LOGIN, "NAME", "`userpass`: the user.")] = ""
    vault_password_file: Annotated[
        str,
        says(
            LOGIN,
            "FILE",
            "`userpass`: the file with the password, read again at every login.",
            read=parse.path,
        ),
    ] = ""
    vault_password: Annotated[
        SecretValue, says(LOGIN, "TEXT", "`userpass`: the password itself.")
    ] = SecretValue("")
    vault_ca: Annotated[
        str,
        says(
            TLS,
            "PATH",
            "A file, or a directory of files, with the certificates that Vault's "
            "certificate is checked against. It is read again when it changes.",
            read=parse.path,
        ),
    ] = ""
    vault_server_name: Annotated[
        str,
        says(
            TLS,
            "HOST",
            "The name that Vault's certificate must have (default: the host of the "
            "address).",
        ),
    ] = ""
    vault_client_cert: Annotated[
        str,
        says(
            TLS,
            "FILE",
            "The client certificate that the agent shows to Vault, read again when it "
            "changes.",
            read=parse.path,
        ),
    ] = ""
    vault_client_key: Annotated[
        str,
        says(
            TLS,
            "FILE",
            "The key of the client certificate (default: in the certificate's file).",
            read=parse.path,
        ),
    ] = ""
    vault_insecure_skip_tls_verify: Annotated[
        bool,
        says(
            TLS,
            "BOOLEAN",
            "Accept any certificate from Vault. Whoever is on the network can then read "
            "and change everything: only for trying out.",
        ),
    ] = False
    source_path: Annotated[
        str,
        says(
            MOUNTED,
            "PATH",
            "Instead of Vault: a file (JSON or dotenv) or a directory (one file per key) "
            "that something else mounts and keeps up to date.",
            read=parse.path,
        ),
    ] = ""

    tuning_path: Annotated[
        str,
        says(
            MOUNTED,
            "PATH",
            "A file (JSON or dotenv) or a directory (one file per key), as of a ConfigMap, "
            "that holds rates, rules, errors, ceilings, budgets and boosts, on top of the "
            "source. It can hold no DSN, environment, personal data setting or switch.",
            read=parse.path,
        ),
    ] = ""

    @property
    def shown_addr(self) -> str:
        """The address of Vault as everybody may see it.

        Its path is left out, and so is what is no address: both may be a password.
        """
        match = _ADDRESS.match(self.vault_addr)
        if match is None:
            return "the address in RESENTRY_VAULT_ADDR" if self.vault_addr else ""
        return (
            f"{match[0]}/…" if self.vault_addr[match.end() :].strip("/") else match[0]
        )

    @property
    def shown_source(self) -> str:
        """What is read, as everybody may see it. A path of Vault has a slash in it."""
        paths = (path for path in self.vault_paths if "/" in path.strip("/"))
        return self.source_path or f"{self.shown_addr} {', '.join(paths)}".strip()
