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

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Settings
    from agent.source.api import Api

FILE_LIMIT_BYTES = 65536


class Login(NamedTuple):
    """One login request: where it goes below the mount, and what it carries."""

    path: str
    body: dict[str, Any]


def credential(secret: Secret, path: str, name: str) -> str:
    """Return what a setting or its file holds, or raise `SourceDenied`."""
    if not path:
        return secret.reveal()
    variable = f"RESENTRY_{name.upper()}_FILE"
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(FILE_LIMIT_BYTES).strip("\r\n")
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
    found = credential(settings.vault_token, path, "vault_token").strip()
    if not (found.isascii() and found.isprintable() and found):
        raise SourceDenied(f"{path or 'RESENTRY_VAULT_TOKEN'} holds no Vault token")
    return found


def _jwt(settings: Settings) -> Login:
    path = settings.vault_jwt_file or SERVICE_ACCOUNT_TOKEN
    jwt = credential(Secret(""), path, "vault_jwt").strip()
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
        found = claims.get("aud", [])
    except (AttributeError, IndexError, ValueError):
        return []
    return [str(one) for one in (found if isinstance(found, list) else [found])]


def _approle(settings: Settings) -> Login:
    secret_id = credential(
        settings.vault_secret_id, settings.vault_secret_id_file, "vault_secret_id"
    ).strip()
    body = {"role_id": settings.vault_role_id}
    if secret_id:
        body["secret_id"] = secret_id
    return Login("login", body)


def _cert(settings: Settings) -> Login:
    return Login("login", {"name": settings.vault_role} if settings.vault_role else {})


def _userpass(settings: Settings) -> Login:
    password = credential(
        settings.vault_password, settings.vault_password_file, "vault_password"
    )
    return Login(f"login/{settings.vault_username}", {"password": password})


class Method(NamedTuple):
    """One auth method: its login, and the settings that it cannot do without."""

    login: Callable[[Settings], Login]
    needs: tuple[tuple[str, ...], ...]
    """Of each group one must be set."""


METHODS = {
    "kubernetes": Method(_jwt, (("vault_role",),)),
    "jwt": Method(_jwt, (("vault_jwt_file",),)),
    "approle": Method(_approle, (("vault_role_id",),)),
    "cert": Method(_cert, (("vault_client_cert",),)),
    "userpass": Method(
        _userpass, (("vault_username",), ("vault_password_file", "vault_password"))
    ),
}


def missing(settings: Settings) -> list[str]:
    """Name the settings without which the chosen method cannot log in."""
    needs: tuple[tuple[str, ...], ...] = ()
    if settings.vault_auth == "token":
        needs = (("vault_token_file", "vault_token"),)
    elif settings.vault_auth != "none":
        needs = METHODS[settings.vault_auth].needs
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
        """Log in; return Vault's `auth` object, or raise a `SourceError`."""
        settings, where = self._settings, mount(self._settings)
        self._api.token = ""
        body = login.body
        if settings.vault_secret_id_wrap_path and settings.vault_auth == "approle":
            body = body | {"secret_id": self._unwrap(body.get("secret_id", ""))}
        try:
            auth = self._api.post(f"{where}/{login.path}", body).get("auth")
        except SourceError as error:
            if error.retry_soon:
                raise
            raise SourceDenied(
                f"Vault refuses the login at {where}",
                f"check that {settings.vault_auth} is mounted there, and the role",
            ) from None
        if not isinstance(auth, dict) or not isinstance(auth.get("client_token"), str):
            raise SourceDenied(
                f"the login at {where} gave no token", "is it response-wrapped?"
            )
        return auth

    def _unwrap(self, wrapping: str) -> str:
        """Return the secret id of a wrapping token, which can be asked for it once."""
        if self._unwrapped is None or self._unwrapped[0] != wrapping:
            wanted = self._settings.vault_secret_id_wrap_path
            looked = self._ask_wrapping("lookup", {"token": wrapping})
            if looked.get("creation_path") != wanted:
                raise SourceDenied(
                    f"the wrapped secret id was not made by {wanted}",
                    "somebody may have put another one in its place",
                )
            self._api.token = wrapping
            try:
                secret_id = self._ask_wrapping("unwrap", {}).get("secret_id", "")
            finally:
                self._api.token = ""
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
