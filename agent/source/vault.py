"""Vault's KV secrets as a source: versions 1 and 2, one secret or one per key."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import hvac
import requests
from hvac import exceptions as vault_errors

from agent.domain.candidate import Candidate
from agent.errors import SettingsError, SourceDenied, SourceDown, SourceMissing
from agent.source.session import CONNECT_SECONDS, READ_SECONDS, CuttableSession
from resentry.values import KEYS, STRUCTURED

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Settings

SETTLE_SECONDS = 1.0
"""Between the two reads that must agree when several secrets make one candidate."""


class Location(NamedTuple):
    """One secret to read: its API path, and the key it holds if it holds just one."""

    path: str
    key: str | None
    version: int


class VaultSource:
    """Reads the listed secrets with one token over one kept connection."""

    def __init__(
        self,
        settings: Settings,
        user_agent: str,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        _require(settings)
        self._settings = settings
        self._wait = wait
        self._session = CuttableSession(settings.vault_ca, user_agent)
        self._client = hvac.Client(
            url=settings.vault_addr,
            token="",  # never ~/.vault-token or VAULT_TOKEN
            namespace=settings.vault_namespace or None,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
            session=self._session,
        )
        self._locations: dict[str, Location] = {}
        self._accepted: dict[str, Any] | None = None

    def read(self) -> Candidate:
        """Return all secrets as one candidate, or raise a `SourceError`."""
        self.log_in()
        candidate = self._read_all()
        several = len(self._settings.vault_paths) > 1
        if several and candidate.values != self._accepted:
            # Somebody may be in the middle of writing them.
            self._wait(SETTLE_SECONDS)
            second = self._read_all()
            if second.values != candidate.values:
                raise SourceDown("the secrets were changing while they were read")
        self._accepted = dict(candidate.values)
        return candidate

    def log_in(self) -> None:
        """Take the token that every later request carries."""
        self._session.is_cut = False
        self._client.token = self._token()

    def abort(self) -> None:
        """Cut the connection that a `read` may be waiting on."""
        self._session.cut()

    def locate(self, path: str) -> Location:
        """Say where and how one configured path is read. A success is remembered."""
        if path not in self._locations:
            self._locations[path] = self._locate(path.strip("/").removeprefix("v1/"))
        return self._locations[path]

    def _token(self) -> str:
        file = self._settings.vault_token_file
        if not file:
            return self._settings.vault_token.reveal()
        try:
            with open(file, encoding="utf-8") as opened:
                token = opened.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise SourceDenied(
                f"no Vault token in {file}: {reason}", "check RESENTRY_VAULT_TOKEN_FILE"
            ) from None
        if not (token.isascii() and token.isprintable() and token):
            raise SourceDenied(f"{file} does not hold a Vault token")
        return token

    def _locate(self, path: str) -> Location:
        last = path.rpartition("/")[2]
        key = last if last in KEYS or last in STRUCTURED else None
        chosen = self._settings.vault_kv_version
        if chosen == "auto":
            mount, version = self._mount_of(path)
        else:
            mount, version = path.partition("/")[0] + "/", int(chosen)
        inside = path.removeprefix(mount)
        if version == 2 and not inside.startswith("data/"):
            inside = "data/" + inside
        return Location(mount + inside, key, version)

    def _mount_of(self, path: str) -> tuple[str, int]:
        """Ask Vault which mount holds the path, and its KV version."""
        try:
            data = self._get(f"sys/internal/ui/mounts/{path}")["data"]
            options = data.get("options") or {}
            return str(data["path"]), int(options.get("version", 1))
        except SourceDenied as error:
            raise SourceDenied(
                f"Vault does not tell which mount holds {path}: {error.what}",
                "the token needs read on the secret; or set RESENTRY_VAULT_KV_VERSION",
            ) from None
        except (KeyError, TypeError, ValueError):
            raise SourceDown(
                f"Vault's answer about the mount of {path} is odd"
            ) from None

    def _read_all(self) -> Candidate:
        values: dict[str, Any] = {}
        provenance: dict[str, dict[str, Any]] = {}
        for path in self._settings.vault_paths:
            location = self.locate(path)
            held, version = self._read_one(location)
            if location.key is not None:
                held = {location.key: _only_value(held, location)}
            where: dict[str, Any] = {"source": "vault", "path": location.path}
            if version is not None:
                where["version"] = version
            values |= held
            provenance |= dict.fromkeys(held, where)
        return Candidate(values, provenance)

    def _read_one(self, location: Location) -> tuple[dict[str, Any], int | None]:
        answer = self._get(location.path)
        data = answer.get("data")
        if location.version == 1:
            held, version = data, None
        else:
            outer = data if isinstance(data, dict) else {}
            held = outer.get("data")
            version = (outer.get("metadata") or {}).get("version")
        if not isinstance(held, dict):
            raise SourceDown(
                f"Vault's answer for {location.path} is not a KV secret",
                "check the path and RESENTRY_VAULT_KV_VERSION",
            )
        return held, version

    def _get(self, path: str) -> dict[str, Any]:
        """GET one API path, with every failure as one of ours."""
        try:
            answer = self._client.adapter.get(f"/v1/{path}")
        except (vault_errors.Forbidden, vault_errors.Unauthorized):
            raise SourceDenied(
                f"Vault refuses to read {path}",
                "the token is not valid, or its policy lacks read on this path",
            ) from None
        except vault_errors.InvalidPath as error:
            raise SourceMissing(*_missing(path, error)) from None
        except vault_errors.VaultDown:
            raise SourceDown("Vault is sealed or in maintenance") from None
        except RecursionError:
            raise SourceDown(f"the answer for {path} is nested too deeply") from None
        except vault_errors.VaultError as error:
            raise SourceDown(
                f"Vault answered {path} with {type(error).__name__}"
            ) from None
        except requests.RequestException as error:
            if self._session.is_cut:
                raise SourceDown(
                    f"no answer from Vault within {self._settings.pass_seconds:g} s",
                    "raise RESENTRY_PASS_SECONDS if this Vault is always slow",
                ) from None
            raise SourceDown(
                f"Vault does not answer at {self._settings.vault_addr}: "
                f"{type(error).__name__}",
                "check RESENTRY_VAULT_ADDR, the network and RESENTRY_VAULT_CA",
            ) from None
        if not isinstance(answer, dict):
            raise SourceDown(
                f"the answer for {path} is not Vault's", "is a proxy there?"
            )
        return answer


def _missing(path: str, error: vault_errors.InvalidPath) -> tuple[str, str]:
    """Tell a deleted secret from one that never was: the deleted has metadata."""
    body = error.json if isinstance(error.json, dict) else {}
    metadata = (body.get("data") or {}).get("metadata") or {}
    if metadata.get("destroyed"):
        return f"the newest version of {path} is destroyed", "write a new version"
    if metadata:
        return f"the newest version of {path} is deleted", "undelete it, or write anew"
    return f"there is no secret at {path}", "check RESENTRY_VAULT_PATHS"


def _only_value(held: dict[str, Any], location: Location) -> Any:
    """The value of a secret that holds one key: in its name, `value`, or alone."""
    for name in (location.key, "value"):
        if name in held:
            return held[name]
    if len(held) == 1:
        return next(iter(held.values()))
    raise SourceMissing(
        f"{location.path} holds neither {location.key} nor value, and not one field",
        f"name the field {location.key}",
    )


def _require(settings: Settings) -> None:
    missing = [
        f"RESENTRY_{name.upper()}"
        for name in ("vault_addr", "vault_paths")
        if not getattr(settings, name)
    ]
    if not settings.vault_token_file and not settings.vault_token:
        missing.append("RESENTRY_VAULT_TOKEN_FILE (or RESENTRY_VAULT_TOKEN)")
    if missing:
        raise SettingsError(
            f"not set: {', '.join(missing)}",
            "for example RESENTRY_VAULT_ADDR=https://vault:8200 "
            "RESENTRY_VAULT_PATHS=secret/data/lms RESENTRY_VAULT_TOKEN_FILE=/run/token",
        )
