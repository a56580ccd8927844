"""The client of Sentry's web API: https://docs.sentry.io/api/.

An error says what comes next, and is judged by the status alone. Of a server's words only
those about a wrong request (400) are shown, with what may be a key masked. After an answer
that was lost, nobody knows whether the server did what was asked for.
"""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urljoin

import requests
from certifi import where

from agent.backoff import retry_after_seconds
from agent.redact import redact_foreign
from agent.sentry_api.errors import (
    SentryApiAbsent,
    SentryApiDenied,
    SentryApiDown,
    SentryApiError,
    SentryApiForeign,
    SentryApiGone,
)
from agent.source.bounds import BoundedAdapter, BoundedContext, Bounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECONDS = 15.0
"""The limit of one request with its whole answer."""
PAGES_LIMIT = 100
SAID_LIMIT = 500
"""The characters that are shown of what a server says about a wrong request."""
_SAY_ALL = (204, 208)
"""Done, and there was nothing to do: a body may be missing."""
_NAMES = 3
"""So many parts of a path are shown: what follows may be a key."""
_ADDRESS = "check the address of Sentry, the organization and the project"


class Subject(NamedTuple):
    """What a client asks for, as its errors name it."""

    things: str
    """In the plural, as "keys"."""
    scope: str
    """What the token needs."""


class SentryApi:
    """The API of one server.

    Args:
        url: where Sentry is, for example https://sentry.example.org.
        token: a token of the API. It is sent to `url` only.
        subject: what is asked for.
        authorities: a file of certificates; by default the public ones.

    """

    def __init__(
        self, url: str, token: str, subject: Subject, authorities: str = ""
    ) -> None:
        self._url, self._subject = f"{url.rstrip('/')}/api/0/", subject
        self._session = requests.Session()
        self._session.trust_env = False  # no ~/.netrc: it would replace the token
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.headers["Accept-Encoding"] = "identity"
        self._bounds = Bounds()
        context = BoundedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authorities or where())
        self._session.mount("http://", BoundedAdapter(self._bounds))
        self._session.mount("https://", BoundedAdapter(self._bounds, context=context))

    def ask(
        self,
        method: str,
        *path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """Return what the server answers; `None` if the status says all (204, 208).

        Raises `SentryApiError`. Empty `params` are not sent.
        """
        answer = self._answer(method, path, body, params)
        return None if answer.status_code in _SAY_ALL else answer.json()

    def all(self, *path: str, params: Mapping[str, str] | None = None) -> list[Any]:
        """Return what all pages of a list hold, in the server's order.

        Raises `SentryApiError`.
        """
        return [each for page in self._pages(path, params or {}) for each in page]

    def _pages(
        self, path: tuple[str, ...], params: Mapping[str, str]
    ) -> Iterator[list[Any]]:
        cursor = ""
        for _ in range(PAGES_LIMIT):
            answer = self._answer("GET", path, None, {**params, "cursor": cursor})
            page = None if answer.status_code in _SAY_ALL else answer.json()
            if not isinstance(page, list):
                raise foreign()
            yield page
            following = answer.links.get("next", {})
            if following.get("results") != "true":
                return
            cursor = following.get("cursor", "")  # never the URL: it has the token
        raise SentryApiError(
            f"the server has more than {PAGES_LIMIT} pages of {self._subject.things}",
            f"delete {self._subject.things} that nobody uses",
        )

    def _answer(
        self,
        method: str,
        path: tuple[str, ...],
        body: Mapping[str, Any] | None,
        params: Mapping[str, str] | None,
    ) -> requests.Response:
        url = urljoin(self._url, "".join(f"{quote(part, safe='')}/" for part in path))
        self._bounds.begin()
        self._bounds.begin_body()
        self._bounds.until = time.monotonic() + SECONDS
        try:
            answer = self._session.request(
                method,
                url,
                json=body,
                params={name: value for name, value in (params or {}).items() if value},
                timeout=SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            kind = type(error).__name__
            raise SentryApiDown(
                f"Sentry's API gives no answer ({kind})",
                "check the address of Sentry, and whether the network lets this host "
                "reach it",
            ) from None
        self._judge(answer, path)
        return answer

    def _judge(self, answer: requests.Response, path: tuple[str, ...]) -> None:
        status, subject = answer.status_code, self._subject
        if status in _SAY_ALL or (status in {200, 201} and _is_json(answer)):
            return
        if status in {401, 403}:
            raise SentryApiDenied(
                f"Sentry's API refuses the token ({status})",
                f"give a token of this organization with the scope {subject.scope}",
            )
        if status == 410:
            raise _gone(answer, subject.things)
        if status in {404, 405}:
            raise SentryApiAbsent(
                f"Sentry's API has no such {subject.things} ({status}) at "
                f"{'/'.join(path[:_NAMES])}",
                _ADDRESS,
            )
        if status == 429 or status >= 500:
            after = retry_after_seconds(answer.headers.get("Retry-After", ""))
            raise SentryApiDown(
                f"Sentry's API cannot answer ({status})",
                "try again a little later" if after is None else f"wait {after:g} s",
                retry_after=after,
            )
        if status in {200, 201}:
            raise foreign()
        if status == 400:
            raise SentryApiError(
                f"Sentry's API rejects the request for {subject.things} (400): "
                f"{redact_foreign(answer.text[:SAID_LIMIT])}",
                "correct what the server names; its words are as they came",
            )
        raise SentryApiError(
            f"Sentry's API rejects the request for {subject.things} ({status})",
            _ADDRESS,
        )


def _gone(answer: requests.Response, things: str) -> SentryApiGone:
    """Return what a 410 means: with these headers an API ends, in brownouts first."""
    since = answer.headers.get("X-Sentry-Deprecation-Date", "")
    new = answer.headers.get("X-Sentry-Replacement-Endpoint", "")
    return SentryApiGone(
        f"Sentry has ended this API of {things} (410"
        f"{f', deprecated since {since[:40]}' if since else ''})",
        f"use a version of resentry that knows {new[:200]}"
        if new
        else "use a newer version of resentry; this answer says nothing about the "
        f"{things} themselves",
    )


def _is_json(answer: requests.Response) -> bool:
    try:
        answer.json()
    except (ValueError, RecursionError):
        return False
    return True


def foreign() -> SentryApiForeign:
    """Return the error for what is no answer of Sentry's API."""
    return SentryApiForeign(
        "what answers is not Sentry's API", "check for a proxy or a login page between"
    )
