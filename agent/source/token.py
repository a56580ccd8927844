"""The Vault token: read or got by a login, renewed, replaced, revoked.

All of this happens inside a pass. `due_seconds` says when the token needs the next pass.
The token is kept only in memory.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

from agent.backoff import NEVER, Backoff
from agent.domain.value import Value, replace
from agent.errors import AgentError, SourceDenied, SourceError
from agent.source import login
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Settings
    from agent.source.api import Api

CAP_SECONDS = 300.0
"""The longest wait between two tries. A wrong secret waits longer."""
QUIET_SECONDS = 2.0
"""A file that changed later than this may change again without a later time."""
LONGEST_SECONDS = 10 * 365 * 86400
"""A token that lives longer than this counts as living for ever."""


class Lease(Value, frozen=True):
    """The life of the token. Times are of the monotonic clock."""

    seconds: float
    renewable: bool
    due: float
    """When the token is renewed or replaced."""
    ends: float


class Token:
    """Keeps a valid token on an `Api`."""

    def __init__(
        self,
        settings: Settings,
        api: Api,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._api = api
        self._now = monotonic
        self._credentials = login.Credentials(settings, api)
        self._lease: Lease | None = None
        self._given = ""  # the existing token, which somebody else made
        self._file: tuple[int, ...] = ()  # the status of the file that holds it
        self._is_known = True  # as the last look-up said
        self._refused: tuple[login.Login, SourceDenied] | None = None
        self._logins = Backoff(CAP_SECONDS)  # of logins that were denied
        self._look_ups = Backoff(CAP_SECONDS)
        self._trouble: AgentError | None = None
        self._told_end = 0.0, ""
        self.counts = {"logins": 0, "renewals": 0}

    @property
    def is_ours(self) -> bool:
        """Whether the agent logs in itself, and so may revoke the token."""
        return self._settings.vault_auth in login.METHODS

    @property
    def is_renewable(self) -> bool | None:
        """Whether the token can be renewed; `None` if that is not known."""
        return None if self._lease is None else self._lease.renewable

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for an operator while the token is still valid."""
        if self._trouble is None:
            return ()
        return (
            f"the Vault token is valid, but could not be renewed: {self._trouble.what}",
        )

    def ensure(self) -> bool:
        """Make sure that the token is valid. Returns true if it is a new one.

        Raises `SourceError`.
        """
        if self._settings.vault_auth == "none":
            return False
        if not self.is_ours:
            self._take()
        lease, now = self._lease, self._now()
        if lease is not None and now < lease.ends:
            return now >= lease.due and self._prolong(lease)
        self._lease = None
        if self.is_ours:
            self._log_in()
        return self.is_ours

    def confirm_works(self) -> None:
        """Note that a read with this token succeeded."""
        self._look_ups.reset()

    def recheck(self) -> bool:
        """After a denied read, check the token. Returns true if there is a new one.

        The first denial makes Vault look up the token; later ones do so less and less
        often. Raises `SourceError` if the token is not valid and there is no new one.
        """
        if self._settings.vault_auth == "none":
            return False
        if self._now() >= self._look_ups.until:
            self._look_up()
            if self.is_ours and not self._is_known:
                self._lease = None
                return self.ensure()
        if not self._is_known:
            raise SourceDenied(
                "Vault does not know the token: it has expired, was revoked or is mistyped",
                "put a new token in its place: the agent reads it at every pass",
            )
        return False

    def forget_backoff(self) -> None:
        """Forget the back-off, because an operator asks for a pass."""
        self._logins.reset()
        self._look_ups.reset()

    def due_seconds(self) -> float | None:
        """Return in how many seconds the token needs a pass; `None` if it needs none."""
        lease = self._lease
        if lease is None or lease.due == NEVER:
            return None
        return max(1.0, lease.due - self._now())  # at least 1 s, whatever fails

    def ends_at(self) -> str | None:
        """Return when the token expires, or `None` if that is not known."""
        lease = self._lease
        if lease is None or lease.ends == NEVER:
            return None
        ends = time.time() + lease.ends - self._now()
        if abs(ends - self._told_end[0]) >= 1:  # else it is the same second, or nearly
            self._told_end = ends, time_text(ends, "seconds")
        return self._told_end[1]

    def revoke(self) -> None:
        """Revoke a token of our own. If that fails, the token expires later."""
        if self.is_ours and self._lease is not None:
            self._lease = None
            try:
                self._api.post("auth/token/revoke-self")
            except AgentError:
                return
            finally:
                self._api.token = ""

    def _take(self) -> None:
        """Read the existing token if it may be new. Look up the life of a new one."""
        file = _status(self._settings.vault_token_file)
        if file and file == self._file:
            return
        self._file = ()
        try:
            given = login.token(self._settings)
        except SourceDenied:
            self._given, self._lease = "", None
            raise
        if given != self._given:
            self._api.token, self._given, self._lease = given, "", None
            data = self._look_up()
            self._hold(data.get("ttl"), renewable=data.get("renewable"))
            self._given = given  # only now: without an answer, it counts as new again
        self._file = file

    def _look_up(self) -> dict[str, Any]:
        """Ask Vault about the token, and start the pause before the next look-up."""
        self._look_ups.failed(self._now())
        try:
            data = self._api.get("auth/token/lookup-self").get("data")
        except SourceDenied:
            data = None
            self._is_known = False
        else:
            self._is_known = True
        return data if isinstance(data, dict) else {}

    def _prolong(self, lease: Lease) -> bool:
        """Renew the token, or else replace it. Returns true if it is a new one.

        A failure is tried again while the token is valid, after a tenth of the time that
        remains.
        """
        try:
            if lease.renewable:
                if self._renew(lease):
                    return False
                lease = replace(lease, renewable=False)
            if self.is_ours:
                self._log_in()
                return True
            due = NEVER  # only who made this token can make a new one
        except AgentError as error:
            self._trouble = error
            remaining = lease.ends - self._now()
            due = self._now() + min(max(remaining / 10, 1), remaining, CAP_SECONDS)
        self._lease = replace(lease, due=due)
        return False

    def _renew(self, lease: Lease) -> bool:
        """Renew the token. Returns false if Vault denies it for good."""
        try:
            auth = self._api.post("auth/token/renew-self").get("auth")
        except SourceError as error:
            if error.retry_soon:
                raise
            return False
        lease_of_now = auth if isinstance(auth, dict) else {}
        seconds = lease_of_now.get("lease_duration")
        self._hold(seconds, renewable=lease_of_now.get("renewable"))
        self.counts["renewals"] += 1
        # Near its greatest age, a token is renewed for less and less: replace it.
        if self._lease and self._lease.seconds < lease.seconds / 2:
            self._lease = replace(self._lease, renewable=False)
        return True

    def _log_in(self) -> None:
        """Log in, unless the same credentials were denied not long ago."""
        wanted = self._credentials.read()
        if self._refused is not None:
            before, refusal = self._refused
            if wanted != before:
                self._logins.reset()
            elif self._now() < self._logins.until:
                raise refusal.with_traceback(
                    None
                )  # a traceback would grow with every raise
        try:
            auth = self._credentials.log_in(wanted)
        except SourceDenied as error:
            self._refused = wanted, error
            self._logins.failed(self._now())
            pause = login.METHODS[self._settings.vault_auth].pause_seconds
            self._logins.until = max(self._logins.until, self._now() + pause)
            raise
        self.revoke()  # the last one, if it is still valid
        self._api.token = auth["client_token"]
        self._hold(auth.get("lease_duration"), renewable=auth.get("renewable"))
        self._refused = None
        self._logins.reset()
        self._is_known = True
        self.counts["logins"] += 1

    def _hold(self, seconds: object, *, renewable: object) -> None:
        """Note how long the token lives. 0, or an impossible value, means for ever."""
        self._trouble = None
        now = self._now()
        if not isinstance(seconds, int | float) or not 0 < seconds < LONGEST_SECONDS:
            self._lease = Lease(0, renewable=False, due=NEVER, ends=NEVER)
            return
        due = NEVER
        if self.is_ours or renewable is True:
            # At two thirds of the life, up to a tenth earlier at random.
            due = now + seconds * 2 / 3 * random.uniform(0.9, 1)  # noqa: S311 - no secret
        self._lease = Lease(seconds, renewable is True, due, now + seconds)


def _status(path: str) -> tuple[int, ...]:
    """Return a value that changes with a file; empty if it may change unnoticed."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    if found.st_ctime > time.time() - QUIET_SECONDS:
        return ()
    return (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )
