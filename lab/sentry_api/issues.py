"""The issues of an organization: each answer has every field that the description asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.sentry_api import described
from lab.sentry_api.request import ABSENT, Reply, page_of

if TYPE_CHECKING:
    from lab.sentry_api.request import Request

_LIST = "/api/0/organizations/{organization_id_or_slug}/issues/"
_ONE = f"{_LIST}{{issue_id}}/"
_WHEN = "2026-01-31T12:00:00.000000Z"


class Issues:
    """Issues by their id. A search for `is:unresolved` finds those, any other finds all."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.searched: list[str] = []
        """The query of each search."""

    def add(self, number: str, status: str = "unresolved", **fields: Any) -> None:
        """Add an issue, or replace it."""
        self.known[number] = {
            "id": number,
            "shortId": f"LMS-{number}",
            "title": "ValueError: Ada's mark",
            "culprit": "lms.enrol in submit",
            "level": "error",
            "status": status,
            "metadata": {"type": "ValueError", "value": "Ada's mark"},
            "permalink": f"https://sentry.io/organizations/school/issues/{number}/",
            "project": {"id": "1", "name": "lms", "slug": "lms", "platform": "python"},
            "firstSeen": _WHEN,
            "lastSeen": _WHEN,
            **fields,
        }

    def answer(self, request: Request) -> Reply | None:
        """Answer a request for issues; `None` if it is for something else."""
        match request.method, request.path:
            case "GET", ("organizations", _, "issues"):
                return self._search(request)
            case "GET", ("organizations", _, "issues", number):
                found = self.known.get(number)
                return Reply(200, _whole(_ONE, found)) if found else ABSENT
            case _:
                return None

    def _search(self, request: Request) -> Reply:
        query = " ".join(request.query.get("query", []))
        self.searched.append(query)
        found = [
            _whole(_LIST, issue)
            for issue in self.known.values()
            if "is:unresolved" not in query or issue["status"] == "unresolved"
        ]
        return page_of(request, found)


def _whole(path: str, fields: dict[str, Any]) -> dict[str, Any]:
    answer = described.paths()[path]["get"]["responses"]["200"]
    schema = answer["content"]["application/json"]["schema"]
    example: dict[str, Any] = _example(schema.get("items", schema))
    return example | fields


def _example(schema: dict[str, Any]) -> Any:
    """Return a value that a schema allows: null or empty, if it may be."""
    if schema.get("nullable"):
        return None
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("format") == "date-time":
        return _WHEN
    if schema.get("type") == "object":
        parts = schema.get("properties", {})
        return {name: _example(parts[name]) for name in schema.get("required", ())}
    empty = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": []}
    return empty.get(str(schema.get("type")))
