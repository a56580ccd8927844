"""The source that reads Vault's KV secrets: versions 1 and 2, one secret or more."""

from __future__ import annotations

import math
import operator
import time
from typing import TYPE_CHECKING, Any

from agent.domain.candidate import Candidate
from agent.domain.newest import place_of
from agent.domain.value import replace
from agent.errors import (
    AgentError,
    SourceDenied,
    SourceDown,
    SourceMissing,
)
from agent.source import given, kv, login
from agent.source.api import Api
from agent.source.stale import Freshness
from agent.source.token import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.domain.newest import Mark
    from agent.settings import Settings

SETTLE_SECONDS = 1.0
"""The time between two reads, which must agree if there is more than one secret."""
PAUSES = (0.0, SETTLE_SECONDS)
"""The time before each further read after a stale one."""


class VaultSource:
    """Reads the configured secrets with one token over one kept connection."""

    def __init__(
        self,
        settings: Settings,
        user_agent: str,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        given.check(settings)
        self._settings = settings
        self._wait = wait
        self.api = Api(settings, user_agent)
        self.token = Token(settings, self.api)
        self._locations: dict[str, kv.Location] = {}
        self._secrets: list[kv.Secret] = []
        """What was read last, in the order of the paths."""
        self._candidate = Candidate({})
        """What these secrets make."""
        self._accepted: Mapping[str, Any] | None = None
        self._freshness = Freshness()
        self._newest: Mapping[str, Mark] | None = None
        """The versions of the last read: the same mapping if Vault answered the same."""
        self._accepts_older = False

    def read(self, until: float = math.inf) -> Candidate:
        """Return all secrets as one candidate, or raise a `SourceError`.

        After an error, the next request goes over a new connection: behind a balancer
        this may be another server.
        """
        self.limit(until)
        try:
            return self._read()
        except AgentError:
            self.api.session.close()
            raise
        finally:
            self._accepts_older = False

    def _read(self) -> Candidate:
        is_new = self.log_in()
        try:
            candidate = self._read_all()
        except (SourceDenied, SourceMissing) as error:
            candidate = self._read_again(error, is_new=is_new)
        candidate = self._newer(candidate)
        several = len(self._settings.vault_paths) > 1
        if several and candidate.values != self._accepted:
            # Somebody may be writing them right now.
            self._wait(SETTLE_SECONDS)
            second = self._read_all()
            if second.values != candidate.values:
                raise SourceDown(
                    "the secrets were changing while they were read",
                    "nothing is to be done: the agent tries again soon",
                )
        self._accepted = candidate.values
        self.token.confirm_works()
        notes = candidate.notes + self._freshness.notes() + self.token.notes
        return replace(
            candidate,
            notes=notes + self.api.session.notes(),
            newest=self._freshness.newest,
        )

    def _newer(self, candidate: Candidate) -> Candidate:
        """Return this read, or a later one over a new connection if it is stale."""
        freshness = self._freshness
        if candidate.newest is self._newest:
            return candidate
        if self._accepts_older and (stale := freshness.problem(candidate.newest)):
            freshness.took_older(candidate.newest)
            return replace(
                candidate, notes=(*candidate.notes, f"accepted: {stale.what}")
            )
        for pause in PAUSES:
            if not (stale := freshness.problem(candidate.newest)):
                break
            freshness.note()
            self.api.session.close()
            self._wait(pause)
            candidate = self._read_all()
        if stale := freshness.problem(candidate.newest):
            freshness.note()
            raise stale
        freshness.took(candidate.newest)
        self._newest = candidate.newest
        return candidate

    def limit(self, until: float) -> None:
        """Set the deadline of every request to `until`, a monotonic time."""
        self.api.session.bounds.until = until

    def _read_again(self, error: AgentError, *, is_new: bool) -> Candidate:
        """Read again if the login or the token is new; else raise the error."""
        if is_new:
            self._wait(SETTLE_SECONDS)  # a standby may not know the new token yet
            try:
                return self._read_all()
            except (SourceDenied, SourceMissing) as second:
                error = second
        if isinstance(error, SourceMissing) or not self.token.recheck():
            raise error
        return self._read_all()

    def log_in(self) -> bool:
        """Make sure that the token is valid. Returns true after a new login."""
        self.api.session.refresh()
        return self.token.ensure()

    def abort(self) -> None:
        """Cut the connection of a running `read`. Nothing is read after this."""
        self.api.session.bounds.cut()

    def close(self) -> None:
        """Revoke the token if this agent made it."""
        self.api.session.bounds.is_cut = False
        self.api.session.bounds.until = math.inf
        self.token.revoke()
        self.api.session.close()

    def forget_backoff(self) -> None:
        """Forget the back-off, because an operator asks for a pass."""
        self.token.forget_backoff()

    def remember(self, newest: Mapping[str, Mark]) -> None:
        """Start from the newest versions that an earlier agent has read."""
        self._freshness.newest = newest

    def accept_older(self) -> None:
        """Accept older versions in the next `read`."""
        self._accepts_older = True

    def due_seconds(self) -> float | None:
        """Return in how many seconds the token needs a pass; `None` if it needs none."""
        return self.token.due_seconds()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Do nothing: Vault does not notify of changes."""

    def report(self) -> dict[str, Any]:
        """Return what `status` shows of the source."""
        settings = self._settings
        method = settings.vault_auth
        return {
            "kind": "vault",
            "address": settings.shown_addr,
            "auth": login.mount(settings) if self.token.is_ours else method,
            "encrypted": self.api.session.is_encrypted,
            "tls_verified": self.api.session.is_verified,
            "token_ends_at": self.token.ends_at(),
            "token_replaced": self.token.is_ours or bool(self.token.is_renewable),
            **self.token.counts,
            **self._freshness.report(),
        }

    def locate(self, path: str) -> kv.Location:
        """Return how one configured path is read. A success is remembered."""
        if path not in self._locations:
            version = self._settings.vault_kv_version
            self._locations[path] = kv.locate(self.api, path, version)
        return self._locations[path]

    def _read_all(self) -> Candidate:
        """Return the candidate: the same mappings if Vault answers as it did before."""
        paths = self._settings.vault_paths
        before: list[kv.Secret | None] = [*self._secrets] or [None] * len(paths)
        secrets = list(map(self._read_one, paths, before))
        if all(map(operator.is_, secrets, before)):
            return self._candidate
        values: dict[str, Any] = {}
        provenance: dict[str, Any] = {}
        notes: list[str] = []
        marks: dict[str, Mark] = {}
        for path, secret in zip(paths, secrets, strict=True):
            values |= secret.held
            provenance |= dict.fromkeys(secret.held, secret.provenance)
            notes += secret.notes
            if secret.mark is not None:
                marks[self._place(path)] = secret.mark
        self._secrets = secrets
        self._candidate = Candidate(values, provenance, tuple(notes), marks)
        return self._candidate

    def _place(self, path: str) -> str:
        settings = self._settings
        where = self.locate(path).path, settings.vault_addr, settings.vault_namespace
        return place_of(*where)

    def _read_one(self, path: str, before: kv.Secret | None) -> kv.Secret:
        location = self.locate(path)
        try:
            return kv.read(self.api, location, before)
        except SourceMissing:
            del self._locations[path]  # the mount may be another one now
            if self.locate(path) == location:
                raise
        return kv.read(self.api, self.locate(path))
