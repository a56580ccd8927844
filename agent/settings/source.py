"""Where the agent reads Sentry's settings, and how it proves who it is there."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from agent.settings.kinds import Secret, says

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path


class SourceSettings(Struct, frozen=True, kw_only=True):
    """The part of the settings that the source alone needs."""

    source_path: Annotated[
        str,
        says(
            "Instead of Vault: a file (JSON or dotenv) or a directory (a file per key) "
            "that something else mounts and keeps up to date."
        ),
    ] = ""
    vault_addr: Annotated[
        str,
        says(
            "Vault's address, as in `https://vault:8200`, or that of a Vault Agent or "
            "Proxy; `unix:///PATH` for a socket."
        ),
    ] = ""
    vault_paths: Annotated[
        tuple[str, ...],
        says(
            "The secrets to read, separated by commas: `secret/data/lms` holds all keys, "
            "`secret/data/lms/SENTRY_DSN` holds that one, `secret/data/lms?version=7` is "
            "pinned. Of two that hold the same key the later counts."
        ),
    ] = ()
    vault_namespace: Annotated[str, says("Vault's namespace.")] = ""
    vault_kv_version: Annotated[
        Literal["auto", "1", "2"],
        says("The KV engine's version, `1` or `2`; `auto` asks Vault once per mount."),
    ] = "auto"
    vault_auth: Annotated[
        Literal["token", "kubernetes", "approle", "jwt", "cert", "userpass", "none"],
        says(
            "How to log in: with `kubernetes`, `approle`, `jwt`, `cert` or `userpass`; "
            "`token` takes one that is there, `none` sends none, for a Vault Agent or "
            "Proxy that adds its own."
        ),
    ] = "token"
    vault_auth_mount: Annotated[
        str, says("Where the auth method is mounted; else at its own name.")
    ] = ""
    vault_token_file: Annotated[
        str,
        says(
            "`token`: a file that holds the Vault token; read anew at every pass. "
            "A file counts before a value."
        ),
    ] = ""
    vault_token: Annotated[
        Secret,
        says("`token`: the Vault token itself; a file is better, it can change."),
    ] = Secret("")
    vault_role: Annotated[str, says("`kubernetes`, `jwt`, `cert`: the role.")] = ""
    vault_jwt_file: Annotated[
        str,
        says(
            "`kubernetes`, `jwt`: a file that holds the JWT, read anew at every login; "
            "for `kubernetes` else the service account's."
        ),
    ] = ""
    vault_audience: Annotated[
        str,
        says(
            "`kubernetes`, `jwt`: the audience that the JWT must be for; one for "
            "somebody else is never sent."
        ),
    ] = ""
    vault_role_id: Annotated[str, says("`approle`: the role id.")] = ""
    vault_secret_id_file: Annotated[
        str,
        says("`approle`: a file that holds the secret id, read anew at every login."),
    ] = ""
    vault_secret_id: Annotated[Secret, says("`approle`: the secret id itself.")] = (
        Secret("")
    )
    vault_secret_id_wrap_path: Annotated[
        str,
        says(
            "`approle`: says that the secret id is response-wrapped, and the path that "
            "must have made it, as in `auth/approle/role/lms/secret-id`. It is unwrapped "
            "once."
        ),
    ] = ""
    vault_username: Annotated[str, says("`userpass`: the user.")] = ""
    vault_password_file: Annotated[
        str,
        says("`userpass`: a file that holds the password, read anew at every login."),
    ] = ""
    vault_password: Annotated[Secret, says("`userpass`: the password itself.")] = (
        Secret("")
    )
    vault_ca: Annotated[
        str,
        says(
            "A file, or a directory of files, with the certificates that Vault's is "
            "checked against; read anew when it changes."
        ),
    ] = ""
    vault_server_name: Annotated[
        str,
        says("The name that Vault's certificate must be for; else the address's host."),
    ] = ""
    vault_client_cert: Annotated[
        str,
        says("The certificate to show to Vault, a file; read anew when it changes."),
    ] = ""
    vault_client_key: Annotated[
        str, says("Its key, a file; else in the certificate's file.")
    ] = ""
    vault_insecure_skip_tls_verify: Annotated[
        bool,
        says(
            "Take any certificate for Vault's: whoever is between can read and change "
            "everything. For trying out only."
        ),
    ] = False
    vault_redirect_hosts: Annotated[
        tuple[str, ...],
        says(
            "The hosts, as `HOST` or `HOST:PORT`, that Vault may redirect a request to, "
            "token and all, as a standby does to its leader."
        ),
    ] = ()
    vault_trust_env: Annotated[
        bool,
        says(
            "Whether the proxies in `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` count for "
            "Vault."
        ),
    ] = False
