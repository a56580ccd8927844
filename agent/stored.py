"""Reads test items back from the server: by Sentry's API, or by Bugsink's.

The token goes to the address of RESENTRY_VERIFY_API alone, never to the host of a DSN: who
may write the secret does not get the token.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.errors import SettingsError
from agent.web import get

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.domain.verified import Stored
    from agent.settings import Settings

SECONDS = 5.0
"""The time limit for one answer."""
BODY_BYTES = 4 * 1024 * 1024
ISSUES_LIMIT = 10
"""The newest issues of Bugsink that are searched: all test events make one issue."""
_OK, _UNAUTHORIZED, _FORBIDDEN, _MISSING = 200, 401, 403, 404
_ERRORS = ("error", "message")


class Found(NamedTuple):
    """Whether an item is stored, and with what. `why` says why that is not known."""

    stored: Stored
    environment: str = ""
    release: str = ""
    why: str = ""


def is_bugsink(base: str, user_agent: str) -> bool:
    """Whether the server at this address is a Bugsink: its API's description is public."""
    url = f"{base}/api/canonical/0/schema/"
    try:
        status, body = get(url, {"User-Agent": user_agent}, SECONDS)
    except OSError:
        return False
    return status == _OK and b"title: Bugsink" in body


class Server:
    """The API of one server."""

    def __init__(self, settings: Settings, user_agent: str) -> None:
        self._base = settings.verify_api.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {_token(settings)}",
            "User-Agent": user_agent,
        }
        if not self._base:
            raise SettingsError(
                "--stored needs the address of the server's API",
                "set RESENTRY_VERIFY_API, as https://sentry.io",
            )
        self.is_bugsink = is_bugsink(self._base, user_agent)

    def find(self, project: str, events: Mapping[str, str]) -> dict[str, Found]:
        """Look for these events, by kind; return what is known of each."""
        try:
            find = self._in_bugsink if self.is_bugsink else self._in_sentry
            return find(project, events)
        except _NoAnswerError as error:
            return {kind: Found("unknown", why=str(error)) for kind in events}

    def _in_bugsink(self, project: str, events: Mapping[str, str]) -> dict[str, Found]:
        newest = f"issues/?project={project}&sort=last_seen&order=desc"
        status, page = self._get(f"api/canonical/0/{newest}")
        if status != _OK:
            raise _NoAnswerError(_refusal(status, "issues:read and events:read"))
        wanted = {
            event: kind for kind, event in events.items() if kind in _ERRORS and event
        }
        found = {
            kind: Found("no" if kind in _ERRORS else "never")
            for kind, event in events.items()
        }
        for issue in _rows(page, "results")[:ISSUES_LIMIT]:
            _, listed = self._get(f"api/canonical/0/events/?issue={issue.get('id')}")
            for row in _rows(listed, "results"):
                kind = wanted.pop(str(row.get("event_id")).replace("-", ""), None)
                if kind is not None:
                    _, one = self._get(f"api/canonical/0/events/{row.get('id')}/")
                    found[kind] = _stored(_object(one, "data"))
            if not wanted:
                break
        return found

    def _in_sentry(self, project: str, events: Mapping[str, str]) -> dict[str, Found]:
        status, listed = self._get("api/0/organizations/")
        if status != _OK:
            raise _NoAnswerError(_refusal(status, "org:read and event:read"))
        organizations = [str(row.get("slug")) for row in _rows(listed)]
        found = {}
        for kind, event in events.items():
            if kind not in (*_ERRORS, "transaction"):
                why = f"Sentry has no address that gives one {kind} by its id"
                found[kind] = Found("unknown", why=why)
                continue
            found[kind] = self._one_in_sentry(organizations, project, event)
        return found

    def _one_in_sentry(
        self, organizations: list[str], project: str, event: str
    ) -> Found:
        statuses = set()
        for organization in organizations:
            path = f"api/0/projects/{organization}/{project}/events/{event}/"
            status, one = self._get(path)
            if status == _OK:
                tags = {row.get("key"): row.get("value") for row in _rows(one, "tags")}
                return _stored(tags)
            statuses.add(status)
        if statuses == {_MISSING}:
            return Found("no")
        shown = ", ".join(map(str, sorted(statuses))) or "no organization"
        return Found("unknown", why=f"the API answered: {shown}")

    def _get(self, path: str) -> tuple[int, Any]:
        try:
            status, body = get(
                f"{self._base}/{path}", self._headers, SECONDS, BODY_BYTES
            )
        except OSError as error:
            raise _NoAnswerError(f"{self._base} does not answer: {error}") from None
        try:
            return status, json.loads(body) if status == _OK else None
        except (ValueError, RecursionError):
            raise _NoAnswerError(f"{self._base} did not answer in JSON") from None


class _NoAnswerError(Exception):
    """The API did not answer as it should."""


def _token(settings: Settings) -> str:
    path = settings.verify_token_file
    token = settings.verify_token.reveal()
    if path:
        try:
            with open(path, encoding="utf-8") as file:
                token = file.read(4096)
        except (OSError, ValueError):
            raise SettingsError(
                f"cannot read the file of RESENTRY_VERIFY_TOKEN_FILE: {path}",
                "check the path and the rights of this user",
            ) from None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise SettingsError(
            "--stored needs a token of the server's API",
            "set RESENTRY_VERIFY_TOKEN_FILE or RESENTRY_VERIFY_TOKEN; in Sentry the token "
            "needs org:read and event:read, in Bugsink issues:read and events:read",
        )
    return token


def _refusal(status: int, needed: str) -> str:
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        return f"the API refuses the token (status {status}): it needs {needed}"
    if status == _MISSING:
        return (
            "the server has no such API, or the project is unknown there (status 404)"
        )
    return f"the API answered status {status}"


def _stored(values: Mapping[Any, Any]) -> Found:
    named = [str(values.get(name) or "")[:200] for name in ("environment", "release")]
    return Found("yes", *named)


def _object(value: Any, key: str) -> dict[str, Any]:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _rows(value: Any, key: str = "") -> list[dict[str, Any]]:
    """Return the objects of a list, which may stand in a field."""
    if key:
        value = value.get(key) if isinstance(value, dict) else None
    return list(_only_objects(value)) if isinstance(value, list) else []


def _only_objects(values: list[Any]) -> Iterator[dict[str, Any]]:
    for value in values:
        if isinstance(value, dict):
            yield value
