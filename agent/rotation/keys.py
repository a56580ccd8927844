"""The client keys of one project, by Sentry's web API.

The API is https://docs.sentry.io/api/projects/ ("client keys"). Making a key is not
idempotent there: after a lost answer there may be a second key of the same name. So look
for the name first. GlitchTip has the same paths, but ignores `isActive`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urljoin

import requests

from agent.backoff import retry_after_seconds
from agent.rotation.errors import KeyApiAbsent, KeyApiDenied, KeyApiDown, KeyApiError
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 15.0
"""The limit of one request."""
PAGES_LIMIT = 100
STATS_SECONDS = 86400.0
"""The statistics of so much time are asked for."""
_HOUR = 3600
_TOKEN = "the token needs the scope project:write of this organization"  # noqa: S105
_ADDRESS = "check the address of Sentry, the organization and the project"


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
        url: where Sentry is, for example https://sentry.example.org.
        organization: its slug or id.
        project: its slug or id.
        token: a token of the API. It is sent to `url` only.
        authorities: a file of certificates; by default the public ones.

    """

    def __init__(
        self,
        url: str,
        organization: str,
        project: str,
        token: str,
        authorities: str = "",
    ) -> None:
        path = f"api/0/projects/{quote(organization, safe='')}/{quote(project, safe='')}/keys/"
        self._url = urljoin(f"{url.rstrip('/')}/", path)
        self._session = requests.Session()
        self._session.trust_env = False  # no ~/.netrc: it would replace the token
        self._session.headers["Authorization"] = f"Bearer {token}"
        if authorities:
            self._session.verify = authorities

    def all(self) -> list[Key]:
        """Return every key, the newest first. Raises `KeyApiError`."""
        return [key for page in self._pages() for key in page]

    def named(self, name: str) -> list[Key]:
        """Return the keys of this name, the oldest first. Raises `KeyApiError`."""
        return [key for key in self.all() if key.name == name][::-1]

    def make(self, name: str) -> Key:
        """Make a key. After a `KeyApiDown`, look for its name: it may exist."""
        return _key(self._ask("POST", self._url, {"name": name}).json())

    def switch(self, key_id: str, *, is_active: bool) -> Key:
        """Activate or deactivate a key, and return what the server has made of it."""
        answer = self._ask("PUT", self._of(key_id), {"isActive": is_active})
        return _key(answer.json())

    def delete(self, key_id: str) -> None:
        """Delete a key for ever. A key that is gone is no error."""
        try:
            self._ask("DELETE", self._of(key_id))
        except KeyApiAbsent:
            self.all()  # raises if the project itself is not there

    def quiet_for(self, key: Key, now: float) -> float | None:
        """Return how long no error came by a key, in seconds; `None` if nobody can say.

        Counted from the end of the last hour with an error, accepted or dropped. This is
        how Sentry's own pages ask (`project_key_stats.py` in getsentry/sentry); it is not
        a public API. Transactions and logs are not counted.
        """
        params = {
            "since": f"{now - STATS_SECONDS:.0f}",
            "until": f"{now:.0f}",
            "resolution": "1h",
        }
        url = urljoin(self._of(key.id), "stats/")
        try:
            hours = self._ask("GET", url, params=params).json()
            used = [int(hour["ts"]) for hour in hours if int(hour["total"]) > 0]
        except (KeyApiError, KeyError, TypeError, ValueError):
            return None
        return now - (max(used) + _HOUR) if used else STATS_SECONDS

    def _of(self, key_id: str) -> str:
        return urljoin(self._url, f"{quote(key_id, safe='')}/")

    def _pages(self) -> Iterator[list[Key]]:
        cursor = ""
        for _ in range(PAGES_LIMIT):
            answer = self._ask("GET", self._url, params={"cursor": cursor})
            body = answer.json()
            if not isinstance(body, list):
                raise _foreign()
            yield [_key(each) for each in body]
            following = answer.links.get("next", {})
            if following.get("results") != "true":
                return
            cursor = following.get("cursor", "")  # never the URL: it has the token
        raise KeyApiError(
            f"the project has more than {PAGES_LIMIT} pages of keys",
            "delete keys that nobody uses",
        )

    def _ask(
        self,
        method: str,
        url: str,
        body: dict[str, Any] | None = None,
        params: dict[str, str] | None = None,
    ) -> requests.Response:
        given = {name: value for name, value in (params or {}).items() if value}
        try:
            answer = self._session.request(
                method,
                url,
                json=body,
                params=given,
                timeout=SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            kind = type(error).__name__
            raise KeyApiDown(f"Sentry's API gives no answer ({kind})") from None
        _judge(answer)
        return answer


def _judge(answer: requests.Response) -> None:
    """Raise by the status alone: a text of the server might hold a key."""
    status = answer.status_code
    if status == 204 or (status in {200, 201} and _is_json(answer)):
        return
    if status in {401, 403}:
        raise KeyApiDenied(f"Sentry's API refuses the token ({status})", _TOKEN)
    if status in {404, 405, 410}:
        raise KeyApiAbsent(f"Sentry's API has no such keys ({status})", _ADDRESS)
    if status == 429 or status >= 500:
        after = retry_after_seconds(answer.headers.get("Retry-After", ""))
        raise KeyApiDown(f"Sentry's API cannot answer ({status})", retry_after=after)
    if status in {200, 201}:
        raise _foreign()
    raise KeyApiError(f"Sentry's API rejects the request ({status})", _ADDRESS)


def _is_json(answer: requests.Response) -> bool:
    try:
        answer.json()
    except ValueError:
        return False
    return True


def _key(body: Any) -> Key:
    try:
        key = Key(
            str(body["id"]),
            str(body["name"]),
            str(body["dsn"]["public"]),
            body["isActive"] is True,
        )
    except (KeyError, TypeError):
        raise _foreign() from None
    if not key.fingerprint:
        raise _foreign()
    return key


def _foreign() -> KeyApiError:
    return KeyApiAbsent(
        "what answers is not Sentry's API", "check for a proxy or a login page between"
    )
