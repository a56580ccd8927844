"""The ways to log in to Vault: for each, what it needs and the request it makes.

Files are read at every login, so that credentials can be rotated under the agent.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.errors import SourceDenied, SourceError
from agent.settings import Secret
from agent.settings.source import SERVICE_ACCOUNT_TOKEN
from agent.source.mount import opened_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Settings
    from agent.source.api import Api

FILE_LIMIT_BYTES = 65536


class Login(NamedTuple):
    """One login request: where it goes below the mount, and what it carries."""

    path: str
    body: dict[str, Any]
    proof: str = ""
    """What it rests on besides: with another one it is another login."""


def credential(secret: Secret, path: str, name: str) -> str:
    """Return what a setting or its file holds; `name` is the setting of the file.

    Raises `SourceDenied`.
    """
    if not path:
        return secret.reveal()
    variable = f"RESENTRY_{name.upper()}"
    try:
        with opened_file(path) as file:
            text = file.read(FILE_LIMIT_BYTES).decode().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SourceDenied(
            f"cannot read {path}: {reason}", f"check {variable}"
        ) from None
    if not text.strip():
        raise SourceDenied(f"{path} is empty", f"check {variable}")
    return text


def token(settings: Settings) -> str:
    """Return the token that is there, or raise `SourceDenied`."""
    path = settings.vault_token_file
    found = credential(settings.vault_token, path, "vault_token_file").strip()
    if not (found.isascii() and found.isprintable() and found):
        raise SourceDenied(f"{path or 'RESENTRY_VAULT_TOKEN'} holds no Vault token")
    return found


def _jwt(settings: Settings) -> Login:
    path = settings.vault_jwt_file or SERVICE_ACCOUNT_TOKEN
    jwt = credential(Secret(""), path, "vault_jwt_file").strip()
    wanted = settings.vault_audience
    if wanted and wanted not in (found := _audiences(jwt)):
        raise SourceDenied(
            f"the JWT in {path} is for {', '.join(found) or 'nobody'}, not {wanted}",
            "project a token with this audience, or change RESENTRY_VAULT_AUDIENCE",
        )
    body = {"jwt": jwt}
    if settings.vault_role:
        body["role"] = settings.vault_role
    return Login("login", body)


def _audiences(jwt: str) -> list[str]:
    """Whom an unverified JWT is for; nobody if it cannot be read."""
    try:
        payload = jwt.split(".")[1]
        claims = json.loads(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        )
        found = claims.get("aud") or []
    except (AttributeError, IndexError, RecursionError, ValueError):
        return []
    return [str(one) for one in (found if isinstance(found, list) else [found])]


def _approle(settings: Settings) -> Login:
    secret_id = credential(
        settings.vault_secret_id, settings.vault_secret_id_file, "vault_secret_id_file"
    ).strip()
    body = {"role_id": settings.vault_role_id}
    if secret_id:
        body["secret_id"] = secret_id
    return Login("login", body)


def _cert(settings: Settings) -> Login:
    body = {"name": settings.vault_role} if settings.vault_role else {}
    path = settings.vault_client_cert
    return Login("login", body, credential(Secret(""), path, "vault_client_cert"))


def _userpass(settings: Settings) -> Login:
    password = credential(
        settings.vault_password, settings.vault_password_file, "vault_password_file"
    )
    return Login(f"login/{settings.vault_username}", {"password": password})


class Method(NamedTuple):
    """One auth method: its login, the settings it cannot do without, and what to check.

    Of each group of settings one must be set.
    """

    login: Callable[[Settings], Login]
    needs: tuple[tuple[str, ...], ...]
    check: str
    pause_seconds: float = 0.0
    """How long, at least, a login that was refused is not repeated as it is."""


# After five wrong secrets within a quarter of an hour Vault refuses the user, or the role
# of an AppRole, for as long, the right secret too: the same one is tried more rarely.
LOCKOUT_SECONDS = 1000.0
METHODS = {
    "kubernetes": Method(
        _jwt, (("vault_role",),), "the role, its service accounts and its audience"
    ),
    "jwt": Method(
        _jwt, (("vault_jwt_file",),), "the role, its bound claims, and the JWT's end"
    ),
    "approle": Method(
        _approle,
        (("vault_role_id",),),
        "the role id, and whether the secret id is used up or expired",
        LOCKOUT_SECONDS,
    ),
    "cert": Method(
        _cert, (("vault_client_cert",),), "the role, and who signed the certificate"
    ),
    "userpass": Method(
        _userpass,
        (("vault_username",), ("vault_password_file", "vault_password")),
        "the user and the password",
        LOCKOUT_SECONDS,
    ),
}


def missing(settings: Settings) -> list[str]:
    """Name the settings without which the chosen method cannot log in."""
    needs: tuple[tuple[str, ...], ...] = ()
    if settings.vault_auth == "token":
        needs = (("vault_token_file", "vault_token"),)
    elif settings.vault_auth != "none":
        needs = METHODS[settings.vault_auth].needs
    if settings.vault_auth == "approle" and settings.vault_secret_id_wrap_path:
        needs += (("vault_secret_id_file", "vault_secret_id"),)
    unset = [group for group in needs if not any(getattr(settings, n) for n in group)]
    return [" or ".join(f"RESENTRY_{n.upper()}" for n in group) for group in unset]


def mount(settings: Settings) -> str:
    """Where the auth method is, as in `auth/kubernetes`."""
    return f"auth/{settings.vault_auth_mount.strip('/') or settings.vault_auth}"


class Credentials:
    """Reads what the next login carries; unwraps a secret id that comes wrapped."""

    def __init__(self, settings: Settings, api: Api) -> None:
        self._settings = settings
        self._api = api
        self._unwrapped: tuple[str, str] | None = None

    def read(self) -> Login:
        """Return the login of now, as it stands in files and settings."""
        return METHODS[self._settings.vault_auth].login(self._settings)

    def log_in(self, login: Login) -> dict[str, Any]:
        """Log in without a token; return Vault's `auth`, or raise a `SourceError`."""
        before = self._api.token
        try:
            return self._log_in(login)
        finally:
            self._api.token = before

    def _log_in(self, login: Login) -> dict[str, Any]:
        settings, where = self._settings, mount(self._settings)
        body = login.body
        if settings.vault_auth == "approle" and settings.vault_secret_id_wrap_path:
            body = body | {"secret_id": self._unwrap(body.get("secret_id", ""))}
        self._api.token = ""
        try:
            auth = self._api.post(f"{where}/{login.path}", body).get("auth")
        except SourceError as error:
            if error.retry_soon:
                raise
            check = METHODS[settings.vault_auth].check
            raise SourceDenied(
                f"Vault refuses the login at {where}",
                f"check that {settings.vault_auth} is mounted there, {check}",
            ) from None
        if not isinstance(auth, dict) or not auth.get("client_token"):
            raise SourceDenied(
                f"the login at {where} gave no token",
                "neither a wrapped one nor a second factor is understood here",
            )
        return auth

    def _unwrap(self, wrapping: str) -> str:
        """Return the secret id of a wrapping token, which can be asked for it once."""
        if self._unwrapped is None or self._unwrapped[0] != wrapping:
            wanted = self._settings.vault_secret_id_wrap_path.strip("/")
            self._api.token = ""
            looked = self._ask_wrapping("lookup", {"token": wrapping})
            if looked.get("creation_path") != wanted:
                raise SourceDenied(
                    f"the wrapped secret id was not made by {wanted}",
                    "somebody may have put another one in its place: find out, and "
                    "replace it; or correct RESENTRY_VAULT_SECRET_ID_WRAP_PATH",
                )
            self._api.token = wrapping
            secret_id = self._ask_wrapping("unwrap", {}).get("secret_id", "")
            self._unwrapped = wrapping, str(secret_id)
        return self._unwrapped[1]

    def _ask_wrapping(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            data = self._api.post(f"sys/wrapping/{what}", body).get("data")
        except SourceError as error:
            if error.retry_soon:
                raise
            raise SourceDenied(
                "the wrapped secret id cannot be unwrapped: used already, or expired",
                "if this agent has not used it, somebody else has; wrap a new one",
            ) from None
        return data if isinstance(data, dict) else {}
