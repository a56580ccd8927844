"""The auth methods of Vault: the settings that each needs, and its login request.

Files are read at every login, so that credentials can be rotated without a restart.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from agent.domain.value import Value
from agent.errors import SourceDenied, SourceError
from agent.settings import SecretValue
from agent.settings.source import SERVICE_ACCOUNT_TOKEN
from agent.source.mount import opened_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Settings
    from agent.source.api import Api

FILE_LIMIT_BYTES = 65536


class Login(Value, frozen=True):
    """One login request: its path below the mount, and its body."""

    path: str
    body: dict[str, Any]
    proof: str = ""
    """The certificate that the login depends on. A new one makes it a new login."""


def credential(secret: SecretValue, path: str, name: str) -> str:
    """Return the content of a credential's file, or of its setting if it has no file.

    `name` is the setting that names the file. Raises `SourceDenied`.
    """
    if not path:
        return secret.reveal()
    variable = f"RESENTRY_{name.upper()}"
    try:
        with opened_file(path) as file:
            text = file.read(FILE_LIMIT_BYTES).decode().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SourceDenied(
            f"cannot read {path}: {reason}", f"check {variable}"
        ) from None
    if not text.strip():
        raise SourceDenied(f"{path} is empty", f"check {variable}")
    return text


def token(settings: Settings) -> str:
    """Return the existing token, or raise `SourceDenied`."""
    path = settings.vault_token_file
    text = credential(settings.vault_token, path, "vault_token_file").strip()
    if not (text.isascii() and text.isprintable() and text):
        raise SourceDenied(
            f"{path or 'RESENTRY_VAULT_TOKEN'} holds no Vault token",
            "a Vault token is one line of printable ASCII",
        )
    return text


def _jwt(settings: Settings) -> Login:
    path = settings.vault_jwt_file or SERVICE_ACCOUNT_TOKEN
    jwt = credential(SecretValue(""), path, "vault_jwt_file").strip()
    wanted = settings.vault_audience
    if wanted and wanted not in (audiences := _audiences(jwt)):
        raise SourceDenied(
            f"the JWT in {path} is for the audience {', '.join(audiences) or 'none'}, "
            f"not {wanted}",
            f"project a token with the audience {wanted}, or change "
            "RESENTRY_VAULT_AUDIENCE",
        )
    body = {"jwt": jwt}
    if settings.vault_role:
        body["role"] = settings.vault_role
    return Login("login", body)


def _claims(jwt: str) -> dict[str, Any]:
    """Return the claims of an unverified JWT; none if it cannot be read."""
    try:
        payload = jwt.split(".")[1]
        return dict(
            json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        )
    except (IndexError, RecursionError, TypeError, ValueError):
        return {}


def _audiences(jwt: str) -> list[str]:
    audience = _claims(jwt).get("aud") or []
    return list(map(str, audience if isinstance(audience, list) else [audience]))


def _holder(jwt: str) -> str:
    """Say whose JWT this is, for an error; empty if it does not say."""
    subject = str(_claims(jwt).get("sub") or "")
    if not (subject.isprintable() and 0 < len(subject) <= 200):
        return ""
    audiences = ", ".join(_audiences(jwt)) or "none"
    return f"; the JWT is of {subject}, for the audience {audiences}"


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
    return Login("login", body, credential(SecretValue(""), path, "vault_client_cert"))


def _userpass(settings: Settings) -> Login:
    password = credential(
        settings.vault_password, settings.vault_password_file, "vault_password_file"
    )
    return Login(f"login/{settings.vault_username}", {"password": password})


class Method(Value, frozen=True):
    """One auth method: its login, the settings that it needs, and what to check.

    Of each group of settings, one must be set.
    """

    login: Callable[[Settings], Login]
    needs: tuple[tuple[str, ...], ...]
    check: str
    pause_seconds: float = 0.0
    """The least pause before a refused login is repeated with the same credentials."""


# After five wrong secrets within 15 minutes, Vault locks out the user or AppRole for 15
# minutes, also with the right secret. So the same secret is tried less often than that.
LOCKOUT_SECONDS = 1000.0
METHODS = {
    "kubernetes": Method(
        _jwt,
        (("vault_role",),),
        "the role, and its bound service accounts, namespaces and audience",
    ),
    "jwt": Method(
        _jwt,
        (("vault_jwt_file",),),
        "the role, its bound claims, and the expiry of the JWT",
    ),
    "approle": Method(
        _approle,
        (("vault_role_id",),),
        "the role id, and that the secret id is neither used up nor expired",
        LOCKOUT_SECONDS,
    ),
    "cert": Method(
        _cert,
        (("vault_client_cert",),),
        "the role, and the authority of the client certificate",
    ),
    "userpass": Method(
        _userpass,
        (("vault_username",), ("vault_password_file", "vault_password")),
        "the user and the password",
        LOCKOUT_SECONDS,
    ),
}


def missing(settings: Settings) -> list[str]:
    """Return the settings that the chosen auth method needs and that are not set."""
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
    """Return the path of the auth method, as in `auth/kubernetes`."""
    given = settings.vault_auth_mount.strip("/").removeprefix("auth/")
    return f"auth/{given or settings.vault_auth}"


class Credentials:
    """Reads the credentials of the next login. Unwraps a wrapped secret id."""

    def __init__(self, settings: Settings, api: Api) -> None:
        self._settings = settings
        self._api = api
        self._unwrapped: tuple[str, str] | None = None

    def read(self) -> Login:
        """Return the login request, made from the files and settings of now."""
        return METHODS[self._settings.vault_auth].login(self._settings)

    def log_in(self, login: Login) -> dict[str, Any]:
        """Log in without a token. Return Vault's `auth`, or raise a `SourceError`."""
        before = self._api.token
        try:
            return self._log_in(login)
        finally:
            self._api.token = before

    def _log_in(self, login: Login) -> dict[str, Any]:
        settings, method = self._settings, mount(self._settings)
        body = login.body
        if settings.vault_auth == "approle" and settings.vault_secret_id_wrap_path:
            body = body | {"secret_id": self._unwrap(body.get("secret_id", ""))}
        self._api.token = ""
        try:
            auth = self._api.post(f"{method}/{login.path}", body).get("auth")
        except SourceError as error:
            if error.retry_soon:
                raise
            check = METHODS[settings.vault_auth].check
            raise SourceDenied(
                f"Vault denies the login at {method}",
                f"check that {settings.vault_auth} is enabled at this path; check {check}"
                f"{_holder(body.get('jwt', ''))}",
            ) from None
        if not isinstance(auth, dict) or not auth.get("client_token"):
            raise SourceDenied(
                f"the login at {method} succeeded, but gave no token",
                "remove response wrapping and a second factor from this login",
            )
        return auth

    def _unwrap(self, wrapping: str) -> str:
        """Return the secret id from a wrapping token, which Vault gives out once."""
        if self._unwrapped is None or self._unwrapped[0] != wrapping:
            wanted = self._settings.vault_secret_id_wrap_path.strip("/")
            self._api.token = ""
            wrapped = self._ask_wrapping("lookup", {"token": wrapping})
            if wrapped.get("creation_path") != wanted:
                raise SourceDenied(
                    f"the wrapped secret id was not made at {wanted}",
                    "find out whether somebody has replaced it, and wrap a new one; or "
                    "correct RESENTRY_VAULT_SECRET_ID_WRAP_PATH",
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
                "cannot unwrap the secret id: it was unwrapped already, or has expired",
                "wrap a new one; if this agent never unwrapped it, somebody else has",
            ) from None
        return data if isinstance(data, dict) else {}
