"""The releases of an organization, and the deploys of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.sentry_api.request import ABSENT, Reply, page_of

if TYPE_CHECKING:
    from lab.sentry_api.request import Request

_WHEN = "2026-01-31T12:00:00.000000Z"


class Releases:
    """By version, the deploys of each release. A deploy is not idempotent, as in Sentry."""

    def __init__(self) -> None:
        self.deploys: dict[str, list[dict[str, Any]]] = {}

    def answer(self, request: Request) -> Reply | None:
        """Answer a request for releases; `None` if it is for something else."""
        match request.path:
            case ("organizations", _, "releases"):
                return self._release(request)
            case ("organizations", _, "releases", version, "deploys"):
                return self._deploys(request, version)
            case _:
                return None

    def _release(self, request: Request) -> Reply:
        version = request.body["version"]
        status = 208 if version in self.deploys else 201
        self.deploys.setdefault(version, [])
        body = {
            "id": 1,
            "version": version,
            "shortVersion": version,
            "versionInfo": None,
            "status": "open",
            "authors": [],
            "projects": [],
            "data": {},
            "commitCount": 0,
            "deployCount": len(self.deploys[version]),
            "newGroups": 0,
        }
        return Reply(status, None if status == 208 else body)

    def _deploys(self, request: Request, version: str) -> Reply:
        deploys = self.deploys.get(version)
        if deploys is None:
            return ABSENT
        if request.method == "GET":
            return page_of(request, deploys)
        deploy = {
            "id": str(len(deploys) + 1),
            "environment": request.body["environment"],
            "name": request.body.get("name"),
            "url": request.body.get("url"),
            "dateStarted": None,
            "dateFinished": _WHEN,
        }
        deploys.append(deploy)
        return Reply(201, deploy)
