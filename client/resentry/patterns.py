"""Patterns with `*`, and the names of a trace that they are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from resentry.contract import TRANSACTION_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


class _Parts(NamedTuple):
    """A pattern, split at its stars. Without a star it has only a first part."""

    first: str
    middle: tuple[str, ...]
    last: str | None

    def fit(self, name: str) -> bool:
        """Whether the whole name fits. Each part is searched once, in order."""
        if self.last is None:
            return name == self.first
        begin, end = len(self.first), len(name) - len(self.last)
        if begin > end or not name.startswith(self.first):
            return False
        if not name.endswith(self.last):
            return False
        for part in self.middle:
            begin = name.find(part, begin, end)
            if begin < 0:
                return False
            begin += len(part)
        return True


class Patterns:
    """Ordered patterns, in which `*` stands for any text, even an empty one."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [_parts(pattern) for pattern in patterns]
        self._beginnings = tuple(parts.first for parts in self._patterns)

    def may_fit(self, compared: Sequence[str]) -> bool:
        """Whether one of the names begins as one of the patterns does: mostly not."""
        beginnings = self._beginnings
        for name in compared:  # noqa: SIM110 - faster than `any`
            if name.startswith(beginnings):
                return True
        return False

    def first(self, compared: Sequence[str]) -> int | None:
        """Return the index of the first pattern that fits one of the names."""
        likely = [name for name in compared if name.startswith(self._beginnings)]
        if likely:
            for index, parts in enumerate(self._patterns):
                for name in likely:
                    if name.startswith(parts.first) and parts.fit(name):
                        return index
        return None


def _parts(pattern: str) -> _Parts:
    first, *rest = pattern.split("*")
    return _Parts(first, tuple(rest[:-1]), rest[-1] if rest else None)


def names(context: Mapping[str, Any]) -> list[str]:
    """Return what patterns are compared with: the transaction, the request, the task.

    A request's path is there with and without the prefix of its server or mount point.
    """
    compared = [str((context.get("transaction_context") or {}).get("name") or "")]
    for key in context:
        if key in _OTHER_NAMES:
            compared += _OTHER_NAMES[key](context[key])
    return [name[:TRANSACTION_LIMIT] for name in compared]


def names_of_event(event: Mapping[str, Any]) -> list[str]:
    """Return what patterns are compared with for an error: its transaction, its request.

    By then a framework has named the transaction by its route, as `/pay/{id}`.
    """
    compared = [str(event.get("transaction") or "")]
    request = event.get("request") or {}
    if method := request.get("method"):
        path = urlsplit(request.get("url") or "").path or "/"
        compared += [f"{method} {compared[0]}", f"{method} {path}"]
    return [name[:TRANSACTION_LIMIT] for name in compared]


def _of_wsgi(environ: Mapping[str, Any]) -> list[str]:
    method, prefix = environ["REQUEST_METHOD"], environ.get("SCRIPT_NAME", "")
    path = environ.get("PATH_INFO", "")
    # WSGI gives the bytes of UTF-8 as if they were Latin-1.
    texts = [
        text.encode("latin-1", "replace").decode("utf-8", "replace")
        for text in (prefix + path, path or "/")
    ]
    return [f"{method} {text}" for text in texts]


def _of_asgi(scope: Mapping[str, Any]) -> list[str]:
    if "method" not in scope:  # a WebSocket
        return []
    method, path = scope["method"], scope.get("path", "")
    prefix = scope.get("root_path", "").rstrip("/")
    # Some servers leave the prefix in the path; others take it out.
    has_prefix = f"{path}/".startswith(f"{prefix}/")
    other = path[len(prefix) :] or "/" if has_prefix else prefix + path
    return [f"{method} {path}", f"{method} {other}"]


def _of_request(request: Any) -> list[str]:
    return [f"{request.method} {request.path}"]


def _of_celery(job: Mapping[str, Any]) -> list[str]:
    return [str(job.get("task", ""))]


_OTHER_NAMES: Mapping[str, Callable[[Any], list[str]]] = {
    "wsgi_environ": _of_wsgi,
    "asgi_scope": _of_asgi,
    "aiohttp_request": _of_request,
    "tornado_request": _of_request,
    "sanic_request": _of_request,
    "celery_job": _of_celery,
}
"""Functions by the key under which an integration of the SDK passes its object."""
