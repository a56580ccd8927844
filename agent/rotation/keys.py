"""The client keys of one project, by Sentry's web API.

The API is https://docs.sentry.io/api/projects/ ("client keys"). Making a key is not
idempotent there: after a lost answer there may be a second key of the same name. So look
for the name first. GlitchTip has the same paths, but ignores `isActive`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from agent.sentry_api.client import Subject, foreign
from agent.sentry_api.errors import (
    SentryApiAbsent,
    SentryApiDenied,
    SentryApiDown,
    SentryApiError,
)
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from agent.sentry_api.client import SentryApi

SUBJECT = Subject("keys", "project:write")
STATS_SECONDS = 86400.0
"""The statistics of so much time are asked for."""
_HOUR = 3600


class Key(NamedTuple):
    """One client key of a project."""

    id: str
    name: str
    dsn: str
    is_active: bool

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its DSN."""
        return fingerprint(self.dsn)


class Keys:
    """The client keys of one project.

    Args:
        api: the server.
        organization: its slug or id.
        project: its slug or id.

    """

    def __init__(self, api: SentryApi, organization: str, project: str) -> None:
        self._api = api
        self._path = ("projects", organization, project, "keys")

    def all(self) -> list[Key]:
        """Return every key, the newest first. Raises `SentryApiError`."""
        return [_key(each) for each in self._api.all(*self._path)]

    def named(self, name: str) -> list[Key]:
        """Return the keys of this name, the oldest first. Raises `SentryApiError`."""
        return [key for key in self.all() if key.name == name][::-1]

    def is_alive(self, mark: str) -> bool:
        """Return whether an active key has a DSN of this fingerprint."""
        return any(key.is_active for key in self.all() if key.fingerprint == mark)

    def make(self, name: str) -> Key:
        """Make a key. After a `SentryApiDown`, look for its name: it may exist."""
        return _key(self._api.ask("POST", *self._path, body={"name": name}))

    def switch(self, key_id: str, *, is_active: bool) -> Key:
        """Activate or deactivate a key, and return what the server has made of it."""
        body = {"isActive": is_active}
        return _key(self._api.ask("PUT", *self._path, key_id, body=body))

    def delete(self, key_id: str) -> None:
        """Delete a key for ever. A key that is gone is no error."""
        try:
            self._api.ask("DELETE", *self._path, key_id)
        except SentryApiDenied as error:
            error.hint = "to delete a key, the token needs the scope project:admin"
            raise
        except SentryApiAbsent:
            self.all()  # raises if the project itself is not there

    def quiet_for(self, key: Key, now: float) -> float | None:
        """Return how long no error came by a key, in seconds; `None` if nobody can say.

        It is infinite if none came in all the time that was asked for.

        Counted from the end of the last hour with an error, accepted or dropped. This is
        how Sentry's own pages ask (`project_key_stats.py` in getsentry/sentry); it is not
        a public API. Transactions and logs are not counted. Raises `SentryApiDown`.
        """
        params = {
            "since": f"{now - STATS_SECONDS:.0f}",
            "until": f"{now:.0f}",
            "resolution": "1h",
        }
        path = (*self._path, key.id, "stats")
        try:
            hours = self._api.ask("GET", *path, params=params)
            totals = {int(hour["ts"]): int(hour["total"]) for hour in hours}
        except SentryApiDown:
            raise  # no answer says nothing
        except (SentryApiError, KeyError, TypeError, ValueError):
            return None
        if not totals:  # an hour without an error is told, too
            return None
        used = [hour for hour, total in totals.items() if total > 0]
        return now - (max(used) + _HOUR) if used else float("inf")


def _key(body: Any) -> Key:
    try:
        key = Key(
            str(body["id"]),
            str(body["name"]),
            str(body["dsn"]["public"]),
            body["isActive"] is True,
        )
    except (KeyError, TypeError):
        raise foreign() from None
    if not key.fingerprint:
        raise foreign()
    return key
