"""Vault's KV secrets as a source: versions 1 and 2, one secret or one per key."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.domain.candidate import Candidate
from agent.errors import SettingsError, SourceDenied, SourceDown, SourceMissing
from agent.source import kv, login
from agent.source.api import Api
from agent.source.session import SOCKET_SCHEME
from agent.source.token import Token

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.errors import AgentError
    from agent.settings import Settings

SETTLE_SECONDS = 1.0
"""Between the two reads that must agree when several secrets make one candidate."""


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
        self.api = Api(settings, user_agent)
        self.token = Token(settings, self.api)
        self._locations: dict[str, kv.Location] = {}
        self._accepted: dict[str, Any] | None = None

    def read(self, until: float = math.inf) -> Candidate:
        """Return all secrets as one candidate, or raise a `SourceError`."""
        self.limit(until)
        is_new = self.log_in()
        try:
            candidate = self._read_all()
        except (SourceDenied, SourceMissing) as error:
            candidate = self._read_again(error, is_new=is_new)
        several = len(self._settings.vault_paths) > 1
        if several and candidate.values != self._accepted:
            # Somebody may be in the middle of writing them.
            self._wait(SETTLE_SECONDS)
            second = self._read_all()
            if second.values != candidate.values:
                raise SourceDown("the secrets were changing while they were read")
        self._accepted = dict(candidate.values)
        self.token.confirm_works()
        notes = candidate.notes + self.token.notes + self.api.session.notes()
        return replace(candidate, notes=notes)

    def limit(self, until: float) -> None:
        """Have every request end at `until`, a monotonic time."""
        self.api.session.bounds.until = until

    def _read_again(self, error: AgentError, *, is_new: bool) -> Candidate:
        """Read once more if there is reason to hope; else raise the error."""
        if is_new:
            self._wait(SETTLE_SECONDS)  # a standby may not know the login yet
            try:
                return self._read_all()
            except (SourceDenied, SourceMissing) as second:
                error = second
        if isinstance(error, SourceMissing) or not self.token.recheck():
            raise error
        return self._read_all()

    def log_in(self) -> bool:
        """Have a token for the requests to come; say whether it is a new login."""
        self.api.session.refresh()
        return self.token.ensure()

    def abort(self) -> None:
        """Cut the connection that a `read` may be waiting on. Nothing is read again."""
        self.api.session.bounds.cut()

    def close(self) -> None:
        """Give back the token that we made."""
        self.api.session.bounds.is_cut = False
        self.api.session.bounds.until = math.inf
        self.token.revoke()
        self.api.session.close()

    def forget_backoff(self) -> None:
        """Forget back-off: an operator asks."""
        self.token.forget_backoff()

    def due_seconds(self) -> float | None:
        """In how many seconds the token needs a pass, or `None` for never."""
        return self.token.due_seconds()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Vault tells nobody that a secret has changed."""

    def report(self) -> dict[str, Any]:
        """Return what `status` shows of the source."""
        settings = self._settings
        method = settings.vault_auth
        return {
            "kind": "vault",
            "address": settings.vault_addr,
            "auth": login.mount(settings) if self.token.is_ours else method,
            "tls_verified": self.api.session.is_verified,
            "token_ends_at": self.token.ends_at(),
            **self.token.counts,
        }

    def locate(self, path: str) -> kv.Location:
        """Say where and how one configured path is read. A success is remembered."""
        if path not in self._locations:
            version = self._settings.vault_kv_version
            self._locations[path] = kv.locate(self.api, path, version)
        return self._locations[path]

    def _read_all(self) -> Candidate:
        values: dict[str, Any] = {}
        provenance: dict[str, Any] = {}
        notes: list[str] = []
        for path in self._settings.vault_paths:
            found = self._read_one(path)
            values |= found.held
            provenance |= dict.fromkeys(found.held, found.provenance)
            notes += found.notes
        return Candidate(values, provenance, tuple(notes))

    def _read_one(self, path: str) -> kv.Secret:
        at = self.locate(path)
        try:
            return kv.read(self.api, at)
        except SourceMissing:
            del self._locations[path]  # the mount may be another one now
            if self.locate(path) == at:
                raise
        return kv.read(self.api, self.locate(path))


def _require(settings: Settings) -> None:
    names = ("vault_addr", "vault_paths")
    unset = [f"RESENTRY_{n.upper()}" for n in names if not getattr(settings, n)]
    unset += login.missing(settings)
    if unset:
        raise SettingsError(
            f"not set: {', '.join(unset)}",
            "for example RESENTRY_VAULT_ADDR=https://vault:8200 "
            "RESENTRY_VAULT_PATHS=secret/data/lms "
            "RESENTRY_VAULT_TOKEN_FILE=/run/secrets/vault-token; for other logins see "
            "RESENTRY_VAULT_AUTH",
        )
    for path in settings.vault_paths:
        kv.parse_path(path)
    namespace = settings.vault_namespace
    if not (namespace.isascii() and namespace.isprintable()):
        raise SettingsError("RESENTRY_VAULT_NAMESPACE is not plain text", "as in a/b")
    if not _is_address(settings.vault_addr):
        raise SettingsError(
            "RESENTRY_VAULT_ADDR must be scheme, host and port alone",
            "as in https://vault:8200, or unix:///run/vault/agent.sock",
        )


def _is_address(text: str) -> bool:
    """Whether it says where Vault is, and nothing else: no user, no query."""
    if text.startswith(SOCKET_SCHEME + "/"):
        return True
    try:
        address = urlsplit(text)
        is_whole = address.scheme in ("http", "https") and address.hostname
        is_page = address.path.startswith(("/v1", "/ui"))  # copied from a browser
        rest = is_page or address.port == 0 or set("@?#") & set(text)
        return bool(is_whole and not rest)
    except ValueError:
        return False
