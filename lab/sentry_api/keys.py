"""The client keys of the projects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.sentry_api.request import ABSENT, Reply, page_of
from lab.sink import key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.sentry_api.request import Request

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


@dataclass
class Project:
    """A project with its keys, the newest last."""

    slug: str
    number: int
    keys: list[dict[str, Any]] = field(default_factory=list)


class Keys:
    """The projects of one organization, with their keys."""

    def __init__(self, ingest: str, *, is_glitchtip: bool) -> None:
        self.ingest, self.is_glitchtip = ingest, is_glitchtip
        self.projects: dict[str, Project] = {}
        self.switched: Callable[[int, str, bool], None] = lambda *_: None
        """Called with project, key and whether it is active, after each change."""
        self.has_stats = False
        """Whether it answers what Sentry's own pages ask; that is no public API."""
        self.used: dict[str, list[float]] = {}
        """When errors came, by key."""
        self._made = 0

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

    def answer(self, request: Request) -> Reply | None:
        """Answer a request for keys; `None` if it is for something else."""
        match request.path:
            case ("projects", _, slug, "keys", *which):
                project = self.projects.get(slug)
            case _:
                return None
        if project is None:
            return ABSENT
        if which:
            return self._one(request, project, which[0])
        if request.method == "POST":
            return Reply(
                201, self.add_key(project, request.body.get("name") or "Default")
            )
        return page_of(request, project.keys[::-1])

    def _one(self, request: Request, project: Project, key_id: str) -> Reply:
        key = next((key for key in project.keys if key["id"] == key_id), None)
        if key is None:
            return ABSENT
        if request.method == "DELETE":
            project.keys.remove(key)
            self.switched(project.number, key_id, False)
            return Reply(204)
        if request.method == "PUT" and not self.is_glitchtip:
            named = request.body.keys() & {"name", "isActive"}
            key |= {name: request.body[name] for name in named}
            self.switched(project.number, key_id, key["isActive"])
        return Reply(200, key)

    def hours(self, request: Request) -> Reply | None:
        """Answer how often each hour a key was used; `None` for another request."""
        match request.path:
            case ("projects", _, _, "keys", key_id, "stats") if self.has_stats:
                pass
            case _:
                return None
        since, until = (int(request.query[name][0]) for name in ("since", "until"))
        hours = []
        for start in range(since - since % 3600, until, 3600):
            used = self.used.get(key_id, [])
            total = sum(start <= moment < start + 3600 for moment in used)
            kinds = {"total": total, "accepted": total, "dropped": 0, "filtered": 0}
            hours.append({"ts": start, **kinds})
        return Reply(200, hours)
