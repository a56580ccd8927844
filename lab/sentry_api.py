"""A stand-in for Sentry's web API, held to Sentry's published description.

Sentry cannot be installed here. So each request and each answer is checked against the
structure of its OpenAPI description (tests/data/sentry-web-api.json, from
sentry-api-schema). It can also do what a real one does only on a bad day.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

import jsonschema

from lab import messages
from lab.paths import REPOSITORY
from lab.server import Server
from lab.sink import key_of

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable

DESCRIPTION = REPOSITORY / "tests" / "data" / "sentry-web-api.json"
PAGE = 10
_DSN_KINDS = [
    "secret",
    "csp",
    "security",
    "minidump",
    "nel",
    "unreal",
    "crons",
    "cdn",
    "playstation",
    "integration",
    "otlp_traces",
    "otlp_logs",
]


_STATS = re.compile(r"/api/0/projects/[^/]+/[^/]+/keys/([^/]+)/stats/")


class Fault(NamedTuple):
    """One bad answer. With `lost` the server does what is asked, and says nothing."""

    how: int | Literal["lost", "hang", "page"]
    headers: dict[str, str] | None = None


@dataclass
class Project:
    """A project with its keys, the newest last."""

    slug: str
    number: int
    keys: list[dict[str, Any]] = field(default_factory=list)


class SentryApi(Server):
    """The API of one organization, and how it answers.

    Args:
        ingest: the host and port in the DSNs of its keys.
        token: the one that has the scopes `scopes`.
        is_glitchtip: whether `isActive` is ignored, as GlitchTip does.

    """

    def __init__(
        self,
        ingest: str,
        token: str = "sntryu_test",  # a token of the stand-in alone
        scopes: tuple[str, ...] = ("project:write",),
        *,
        is_glitchtip: bool = False,
    ) -> None:
        super().__init__()
        self.ingest, self.token, self.scopes = ingest, token, set(scopes)
        self.is_glitchtip = is_glitchtip
        self.projects: dict[str, Project] = {}
        self.faults: list[Fault] = []
        """The next answers, one each."""
        self.asked: list[tuple[str, str, int]] = []
        """Method, path and status of each request."""
        self.broken: list[str] = []
        """Where a request or an answer differs from the description."""
        self.switched: Callable[[int, str, bool], None] = lambda *_: None
        """Called with project, key and whether it is active, after each change."""
        self.has_stats = False
        """Whether it answers what Sentry's own pages ask; that is no public API."""
        self.used: dict[str, list[float]] = {}
        """When errors came, by key."""
        self._made = 0

    @property
    def url(self) -> str:
        """Where Sentry is."""
        return f"http://{self.address}"

    def project(self, slug: str, number: int, keys: int = 1) -> Project:
        """Make a project with so many keys."""
        project = self.projects[slug] = Project(slug, number)
        for _ in range(keys):
            self.add_key(project, "Default")
        return project

    def add_key(self, project: Project, name: str) -> dict[str, Any]:
        """Make a key, and return it as the API does."""
        self._made += 1
        public = key_of(project.number, self._made)
        dsn = f"http://{public}@{self.ingest}/{project.number}"
        key = {
            "id": public,
            "name": name,
            "label": name,
            "public": public,
            "secret": key_of(project.number, -self._made),
            "projectId": project.number,
            "isActive": True,
            "rateLimit": None,
            "dsn": {"public": dsn} | dict.fromkeys(_DSN_KINDS, dsn),
            "browserSdkVersion": "9.x",
            "browserSdk": {"choices": [["9.x", "9.x"]]},
            "dateCreated": "2026-01-31T12:00:00.000000Z",
            "dynamicSdkLoaderOptions": {
                "hasReplay": False,
                "hasPerformance": False,
                "hasDebug": False,
                "hasFeedback": False,
                "hasLogsAndMetrics": False,
            },
        }
        project.keys.append(key)
        return key

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        while request := await messages.read(reader):
            method, target, _ = request.start
            fault = self.faults.pop(0) if self.faults else None
            if fault is not None and fault.how == "hang":
                await self.pause(None)
            if fault is None or fault.how == "lost":
                status, body, headers = self._respond(request)
            elif fault.how == "page":
                status, body, headers = 200, b"<html>sign in</html>", {}
            else:
                status, body, headers = int(fault.how), b"", fault.headers or {}
            self.asked.append((method, urlsplit(target).path, status))
            if fault is not None and fault.how == "lost":
                return
            writer.write(messages.answer(status, body, headers))
            await writer.drain()

    def _respond(self, request: messages.Message) -> tuple[int, bytes, dict[str, str]]:
        method, target, _ = request.start
        url = urlsplit(target)
        if (stats := _STATS.fullmatch(url.path)) and self.has_stats:
            return 200, json.dumps(self._hours(stats[1], url.query)).encode(), {}
        path = _described(url.path)
        operation = _paths()[path].get(method.lower()) if path else None
        if path is None or operation is None:
            return 404, b'{"detail": "Unimplemented"}', {}
        if request.header("Authorization") != f"Bearer {self.token}":
            return 401, b'{"detail": "Invalid token"}', {}
        allowed = operation["security"][0]["auth_token"]
        if not self.scopes & set(allowed):
            return 403, b'{"detail": "You do not have permission."}', {}
        body = json.loads(request.body) if request.body else {}
        self._check(f"{method} {path}", _schema_of(operation.get("requestBody")), body)
        if "/keys/" not in path:
            return 404, b"", {}
        status, answer, headers = self._of_keys(method, url.path, url.query, body)
        response = operation["responses"].get(str(status))
        if response is None:
            self.broken.append(f"{method} {path} does not answer {status}")
        elif answer is not None:
            self._check(f"{method} {path} {status}", _schema_of(response), answer)
        return status, b"" if answer is None else json.dumps(answer).encode(), headers

    def _check(self, where: str, schema: dict[str, Any] | None, value: object) -> None:
        for error in jsonschema.Draft7Validator(schema or {}).iter_errors(value):
            self.broken.append(f"{where}: {error.message}")

    def _of_keys(
        self, method: str, path: str, query: str, body: dict[str, Any]
    ) -> tuple[int, Any, dict[str, str]]:
        _, slug, _, key_id, *_ = path.removeprefix("/api/0/projects/").split("/")
        project = self.projects.get(slug)
        if project is None:
            return 404, None, {}
        if not key_id and method == "POST":
            return 201, self.add_key(project, body.get("name") or "Default"), {}
        if not key_id:
            return self._page(project, query)
        key = next((key for key in project.keys if key["id"] == key_id), None)
        if key is None:
            return 404, None, {}
        if method == "DELETE":
            project.keys.remove(key)
            self.switched(project.number, key_id, False)
            return 204, None, {}
        if method == "PUT" and not self.is_glitchtip:
            key |= {name: body[name] for name in body.keys() & {"name", "isActive"}}
            self.switched(project.number, key_id, key["isActive"])
        return 200, key, {}

    def _hours(self, key_id: str, query: str) -> list[dict[str, int]]:
        asked = parse_qs(query)
        since, until = (int(asked[name][0]) for name in ("since", "until"))
        hours = []
        for start in range(since - since % 3600, until, 3600):
            used = self.used.get(key_id, [])
            total = sum(start <= moment < start + 3600 for moment in used)
            kinds = {"total": total, "accepted": total, "dropped": 0, "filtered": 0}
            hours.append({"ts": start, **kinds})
        return hours

    def _page(
        self, project: Project, query: str
    ) -> tuple[int, list[dict[str, Any]], dict[str, str]]:
        start = int(parse_qs(query).get("cursor", ["0:0:0"])[0].split(":")[1])
        keys = project.keys[::-1]
        more = "true" if len(keys) > start + PAGE else "false"
        before = "true" if start else "false"
        links = [
            f'<{self.url}/?cursor=0:{at}:0>; rel="{rel}"; results="{has}"; cursor="0:{at}:0"'
            for rel, has, at in (
                ("previous", before, max(0, start - PAGE)),
                ("next", more, start + PAGE),
            )
        ]
        return 200, keys[start : start + PAGE], {"Link": ", ".join(links)}


@lru_cache
def _paths() -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = json.loads(DESCRIPTION.read_text())["paths"]
    return paths


def _described(path: str) -> str | None:
    """Return the path of the description that matches."""
    for described in _paths():
        pattern = re.sub(r"\{[^}]+\}", "[^/]+", described)
        if re.fullmatch(pattern, path):
            return described
    return None


def _schema_of(holder: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the JSON Schema of a body; OpenAPI 3.0 writes "or null" differently."""
    content = (holder or {}).get("content", {}).get("application/json", {})
    schema = content.get("schema")
    return None if schema is None else _with_null(schema)


def _with_null(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_null(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _with_null(value) for name, value in schema.items()}
    if plain.pop("nullable", None) is True:
        return {"anyOf": [{"type": "null"}, plain]}
    return plain
