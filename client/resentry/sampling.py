"""Which trace rate a transaction gets: boost, rule, parent, rate, in this order.

Boosts and rules stand here. What comes after them is the SDK's, as if there were none.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from resentry import formats
from resentry.contract import TRANSACTION_LIMIT
from resentry.harmless import fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from resentry.contract import Snapshot


class Sampler:
    """The rules and boosts of one snapshot, for one role."""

    def __init__(self, snapshot: Snapshot, role: str) -> None:
        rules = [rule for rule in snapshot.rules if rule.role in (None, role)]
        boosts = [boost for boost in snapshot.boosts if boost.role in (None, role)]
        boosts.sort(key=lambda boost: -boost.traces)  # of several the highest wins
        self._rules = Patterns(rule.match for rule in rules)
        self._rates = [rule.traces for rule in rules]
        self._boosts = [
            (Patterns([boost.match or "*"]), boost.traces, formats.moment(boost.until))
            for boost in boosts
        ]

    def rate(self, context: Mapping[str, Any]) -> float | None:
        """Return the rate of a transaction by the SDK's context; `None`: nothing fits."""
        try:
            return self._rate(names(context))
        except Exception:  # noqa: BLE001 - a request must not fail for its trace
            fault("sampling")
            return None

    def before(
        self, otherwise: Callable[[dict[str, Any]], float | bool]
    ) -> Callable[[dict[str, Any]], float | bool]:
        """Return a `traces_sampler` that asks the given one where nothing fits."""
        return _Before(self, otherwise)

    def _rate(self, compared: Sequence[str]) -> float | None:
        if self._boosts:
            now = time.time()
            for patterns, traces, until in self._boosts:
                if now < until and patterns.first(compared) is not None:
                    return traces
        rule = self._rules.first(compared)
        return None if rule is None else self._rates[rule]


@dataclass(frozen=True)
class _Before:
    """A `traces_sampler`: no closure, so that the client can be pickled."""

    sampler: Sampler
    otherwise: Callable[[dict[str, Any]], float | bool]

    def __call__(self, context: dict[str, Any]) -> float | bool:
        """Return the rate."""
        __tracebackhide__ = True
        found = self.sampler.rate(context)
        return self.otherwise(context) if found is None else found


class _Parts(NamedTuple):
    """A pattern between its stars. Without a star it has a beginning alone."""

    first: str
    middle: tuple[str, ...]
    last: str | None

    def fit(self, name: str) -> bool:
        """Whether the whole name fits. Each part is looked for once, in its order."""
        if self.last is None:
            return name == self.first
        at, end = len(self.first), len(name) - len(self.last)
        if at > end or not (name.startswith(self.first) and name.endswith(self.last)):
            return False
        for part in self.middle:
            at = name.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True


class Patterns:
    """Ordered patterns, in which `*` is any text, also an empty one."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [_parts(pattern) for pattern in patterns]
        self._beginnings = tuple(parts.first for parts in self._patterns)

    def first(self, compared: Sequence[str]) -> int | None:
        """Return the position of the first pattern that fits one of the names."""
        likely = [name for name in compared if name.startswith(self._beginnings)]
        if likely:
            for at, parts in enumerate(self._patterns):
                for name in likely:
                    if name.startswith(parts.first) and parts.fit(name):
                        return at
        return None


def _parts(pattern: str) -> _Parts:
    first, *rest = pattern.split("*")
    return _Parts(first, tuple(rest[:-1]), rest[-1] if rest else None)


def names(context: Mapping[str, Any]) -> list[str]:
    """What a rule is compared with: the transaction's name, the request, the task.

    A path stands there with and without the prefix of its server or mount point.
    """
    found = [str((context.get("transaction_context") or {}).get("name") or "")]
    for key, value in context.items():
        if key in _OTHER_NAMES:
            found += _OTHER_NAMES[key](value)
    return [name[:TRANSACTION_LIMIT] for name in dict.fromkeys(found)]


def _of_wsgi(environ: Mapping[str, Any]) -> list[str]:
    method, prefix = environ["REQUEST_METHOD"], environ.get("SCRIPT_NAME", "")
    path = environ.get("PATH_INFO", "")
    # WSGI hands over the bytes of UTF-8 as if they were Latin-1.
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
    # Some servers leave the prefix in the path, others take it out.
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
"""By the name under which an integration of the SDK hands it over."""
