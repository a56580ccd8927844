"""One request, as each part of the stand-in sees it, and the pages of a list."""

from __future__ import annotations

from typing import Any, NamedTuple

PAGE = 10


class Request(NamedTuple):
    """What a client asks for."""

    method: str
    path: tuple[str, ...]
    """The parts after /api/0/."""
    query: dict[str, list[str]]
    body: Any


class Reply(NamedTuple):
    """A status, and the body, which is checked and written as JSON."""

    status: int
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody writes to it


ABSENT = Reply(404)


def page_of(request: Request, every: list[Any]) -> Reply:
    """Return the page that the query's cursor names, and the links to its neighbours."""
    start = int(request.query.get("cursor", ["0:0:0"])[0].split(":")[1])
    more = "true" if len(every) > start + PAGE else "false"
    before = "true" if start else "false"
    links = [
        f'<http://api/?cursor=0:{at}:0>; rel="{rel}"; results="{has}"; cursor="0:{at}:0"'
        for rel, has, at in (
            ("previous", before, max(0, start - PAGE)),
            ("next", more, start + PAGE),
        )
    ]
    return Reply(200, every[start : start + PAGE], {"Link": ", ".join(links)})
