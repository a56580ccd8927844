"""The Vault token: taken or logged in for, renewed, replaced, given back.

Everything happens inside a pass; `due_seconds` says when the token needs the next one.
The token is in memory alone.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.backoff import Backoff
from agent.errors import AgentError, SourceDenied, SourceError
from agent.source import login
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Settings
    from agent.source.api import Api

CAP_SECONDS = 300.0
"""At most between two tries of what fails; a wrong secret waits longer."""
NEVER = float("inf")
LONGEST_SECONDS = 10 * 365 * 86400
"""What is told to live longer has no end that could be shown."""


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
        self._is_known = True  # as far as the last look-up said
        self._refused: tuple[login.Login, SourceDenied] | None = None
        self._logins = Backoff(CAP_SECONDS)  # of what is refused
        self._look_ups = Backoff(CAP_SECONDS)
        self._trouble: AgentError | None = None
        self.counts = {"logins": 0, "renewals": 0}

    @property
    def is_ours(self) -> bool:
        """Whether the agent logs in itself, so that it may also give the token back."""
        return self._settings.vault_auth in login.METHODS

    @property
    def notes(self) -> tuple[str, ...]:
        """What an operator should know while the token still serves."""
        if self._trouble is None:
            return ()
        return (f"the Vault token is still to be replaced: {self._trouble.what}",)

    def ensure(self) -> bool:
        """Have a token that lives; say whether it is a new one. Raises `SourceError`."""
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
        """A read with this token succeeded."""
        self._look_ups.reset()

    def recheck(self) -> bool:
        """After a refusal: say whether there is a new token to try again with.

        Looks once, then less and less often, whether it is the token that is refused.
        Raises `SourceError` when it is, and no new one can be had.
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
                "Vault does not know the token: expired, revoked or mistyped",
                "put a new one in its place; it is read anew at every pass",
            )
        return False

    def forget_backoff(self) -> None:
        """Forget what is being waited for: an operator asks."""
        self._logins.reset()
        self._look_ups.reset()

    def due_seconds(self) -> float | None:
        """In how many seconds the token needs a pass, or `None` for never."""
        lease = self._lease
        if lease is None or lease.due == NEVER:
            return None
        return max(1.0, lease.due - self._now())  # whatever fails: never at once

    def ends_at(self) -> str | None:
        """When the token ends, as far as is known."""
        lease = self._lease
        if lease is None or lease.ends == NEVER:
            return None
        return time_text(time.time() + lease.ends - self._now(), "seconds")

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

    def _take(self) -> None:
        """Take the token that is there; of a new one learn how long it lives."""
        try:
            given = login.token(self._settings)
        except SourceDenied:
            self._given, self._lease = "", None
            raise
        if given != self._given:
            self._api.token, self._given, self._lease = given, "", None
            found = self._look_up()
            self._hold(found.get("ttl"), renewable=found.get("renewable"))
            self._given = given  # not before: without an answer it is taken again

    def _look_up(self) -> dict[str, Any]:
        """Ask Vault about the token; not again for a while, if reads are refused."""
        self._look_ups.failed(self._now())
        try:
            found = self._api.get("auth/token/lookup-self").get("data")
        except SourceDenied:
            found = None
            self._is_known = False
        else:
            self._is_known = True
        return found if isinstance(found, dict) else {}

    def _prolong(self, lease: Lease) -> bool:
        """Renew the token, else replace it; say whether it is a new one.

        What fails is tried again while it still serves: after a tenth of what is left.
        """
        try:
            if lease.renewable:
                if self._renew(lease):
                    return False
                lease = lease._replace(renewable=False)
            if self.is_ours:
                self._log_in()
                return True
            due = NEVER  # whoever made it has to make another one
        except AgentError as error:
            self._trouble = error
            left = lease.ends - self._now()
            due = self._now() + min(max(left / 10, 1), left, CAP_SECONDS)
        self._lease = lease._replace(due=due)
        return False

    def _renew(self, lease: Lease) -> bool:
        """Renew the token, unless Vault will not: then it is not asked again."""
        try:
            auth = self._api.post("auth/token/renew-self").get("auth")
        except SourceError as error:
            if error.retry_soon:
                raise
            return False
        found = auth if isinstance(auth, dict) else {}
        self._hold(found.get("lease_duration"), renewable=found.get("renewable"))
        self.counts["renewals"] += 1
        # Near its greatest age it is granted less and less: then a new one is due.
        if self._lease and self._lease.seconds < lease.seconds / 2:
            self._lease = self._lease._replace(renewable=False)
        return True

    def _log_in(self) -> None:
        """Log in, unless the very same was refused not long ago."""
        wanted = self._credentials.read()
        if self._refused is not None:
            before, refusal = self._refused
            if wanted != before:
                self._logins.reset()
            elif self._now() < self._logins.until:
                raise refusal.with_traceback(None)  # else it grows with every raise
        try:
            auth = self._credentials.log_in(wanted)
        except SourceDenied as error:
            self._refused = wanted, error
            self._logins.failed(self._now())
            pause = login.METHODS[self._settings.vault_auth].pause_seconds
            self._logins.until = max(self._logins.until, self._now() + pause)
            raise
        self.revoke()  # the one before, where it still lives
        self._api.token = auth["client_token"]
        self._hold(auth.get("lease_duration"), renewable=auth.get("renewable"))
        self._refused = None
        self._logins.reset()
        self._is_known = True
        self.counts["logins"] += 1

    def _hold(self, seconds: object, *, renewable: object) -> None:
        """Note how long the token lives from now; 0, and what cannot be, is for ever."""
        self._trouble = None
        now = self._now()
        if not isinstance(seconds, int | float) or not 0 < seconds < LONGEST_SECONDS:
            self._lease = Lease(0, renewable=False, due=NEVER, ends=NEVER)
            return
        due = NEVER
        if self.is_ours or renewable is True:
            # At two thirds of it, a tenth of that left to chance.
            due = now + seconds * 2 / 3 * random.uniform(0.9, 1)  # noqa: S311 - no secret
        self._lease = Lease(seconds, renewable is True, due, now + seconds)
