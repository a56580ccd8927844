"""The Vault token: taken or logged in for, renewed, replaced, given back.

Everything happens inside a pass; `due_seconds` says when the token needs the next one.
The token is in memory alone.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, NamedTuple

from agent.domain.backoff import Backoff
from agent.errors import AgentError, SourceDenied, SourceError
from agent.source import login
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Settings
    from agent.source.api import Api

LOGIN_CAP_SECONDS = 300.0
RENEW_CAP_SECONDS = 30.0
NEVER = float("inf")


class Lease(NamedTuple):
    """How long the token lives. Times are of the monotonic clock."""

    seconds: float
    renewable: bool
    due: float
    """When it is to be renewed or replaced."""
    ends: float


class Token:
    """Keeps a living token on an `Api`."""

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
        self._given = ""  # the token that somebody else made
        self._refused: tuple[login.Login, SourceError] | None = None
        self._logins = Backoff(LOGIN_CAP_SECONDS)
        self._renewals = Backoff(RENEW_CAP_SECONDS)
        self._doubts = Backoff(LOGIN_CAP_SECONDS)
        self.counts = {"logins": 0, "renewals": 0}

    @property
    def is_ours(self) -> bool:
        """Whether the agent logs in itself, so that it may also give the token back."""
        return self._settings.vault_auth in login.METHODS

    def ensure(self) -> bool:
        """Have a token that lives; say whether it is a new one. Raises `SourceError`."""
        if self._settings.vault_auth == "none":
            return False
        if not self.is_ours:
            return self._take()
        if self._lease is not None and self._now() < self._lease.due:
            return False
        if self._lease is not None and self._lease.renewable and self._renew():
            return False
        try:
            self._log_in()
        except SourceError:
            if self._lease is None or self._now() >= self._lease.ends:
                self._lease = None
                raise
            return False  # the old one still serves
        return True

    def trusted(self) -> None:
        """A read with this token succeeded."""
        self._doubts.reset()

    def doubt(self) -> bool:
        """After a refusal: say whether there is a new token to try again with.

        Looks once, then less and less often, whether it is the token that is refused.
        Raises `SourceError` when it is, and no new one can be had.
        """
        if self._settings.vault_auth == "none" or self._now() < self._doubts.until:
            return False
        self._doubts.failed(self._now())
        try:
            self._api.get("auth/token/lookup-self")
        except SourceDenied:
            self._lease = None
            if not self.is_ours:
                raise SourceDenied(
                    "Vault does not know the token: expired, revoked or mistyped",
                    "put a new one in its place; it is read anew at every pass",
                ) from None
            return self.ensure()
        return False

    def hurry(self) -> None:
        """Forget what is being waited for: an operator asks."""
        for backoff in (self._logins, self._renewals, self._doubts):
            backoff.reset()

    def due_seconds(self) -> float | None:
        """In how many seconds the token needs a pass, or `None` for never."""
        if self._lease is None or self._lease.due == NEVER:
            return None
        due = max(self._lease.due, self._renewals.until, self._logins.until)
        return max(0.0, due - self._now())

    def ends_at(self) -> str | None:
        """When the token ends, as far as is known."""
        if self._lease is None or self._lease.ends == NEVER:
            return None
        return time_text(time.time() + self._lease.ends - self._now(), "seconds")

    def revoke(self) -> None:
        """Give back a token that we made; one that cannot be given back will end."""
        if self.is_ours and self._lease is not None:
            self._lease = None
            try:
                self._api.post("auth/token/revoke-self")
            except AgentError:
                return
            finally:
                self._api.token = ""

    def _take(self) -> bool:
        """Take the token that is there; learn of a new one how long it lives."""
        given = login.token(self._settings)
        if given == self._given:
            if self._lease and self._lease.renewable and self._now() >= self._lease.due:
                self._renew()
            return False
        self._api.token = self._given = given
        self.hurry()
        self._lease = None
        try:
            found = self._api.get("auth/token/lookup-self").get("data")
        except SourceDenied:
            return True  # it may lack this right alone: the read will tell
        if isinstance(found, dict):
            self._lease = self._leased(found.get("ttl"), found.get("renewable"))
        return True

    def _log_in(self) -> None:
        """Log in, unless the same was refused a moment ago."""
        wanted = self._credentials.read()
        if self._refused is not None and self._refused[0] == wanted:
            if self._now() < self._logins.until:
                raise self._refused[1]
        else:
            self._logins.reset()  # a new secret need not wait for an old one's sins
        old = self._api.token
        try:
            auth = self._credentials.log_in(wanted)
        except SourceError as error:
            self._api.token = old
            self._refused = wanted, error
            self._logins.failed(self._now())
            raise
        self._api.token = auth["client_token"]
        self._lease = self._leased(auth.get("lease_duration"), auth.get("renewable"))
        self._refused = None
        self.hurry()
        self.counts["logins"] += 1

    def _renew(self) -> bool:
        """Try to renew; say whether the token can go on as it is."""
        lease = self._lease
        if lease is None or self._now() >= lease.ends:
            return False
        if self._now() < self._renewals.until:
            return True
        try:
            auth = self._api.post("auth/token/renew-self").get("auth")
        except SourceError as error:
            self._renewals.failed(self._now())
            if error.retry_soon:
                return True
            # Not renewable after all, or no longer known: it is not asked again.
            self._lease = lease._replace(renewable=False, due=NEVER)
            if self.is_ours:
                self._lease = lease._replace(renewable=False)
            return False
        self._renewals.reset()
        self.counts["renewals"] += 1
        found = auth if isinstance(auth, dict) else {}
        renewed = self._leased(found.get("lease_duration"), found.get("renewable"))
        # Near its greatest age it is granted less and less: then a new one is due.
        fading = renewed.seconds < lease.seconds / 2
        self._lease = renewed._replace(renewable=renewed.renewable and not fading)
        return True

    def _leased(self, seconds: object, renewable: object) -> Lease:
        """The life of a token that was given now for so many seconds; 0 is for ever."""
        now = self._now()
        if not isinstance(seconds, int | float) or seconds <= 0:
            return Lease(0, renewable=False, due=NEVER, ends=NEVER)
        # At two thirds of it, a tenth of that left to chance.
        due = now + seconds * 2 / 3 * random.uniform(0.9, 1)  # noqa: S311 - no secret
        return Lease(seconds, renewable is True, due, now + seconds)
