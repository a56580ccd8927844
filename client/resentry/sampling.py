"""Which trace rate a transaction gets: boost, rule, parent, rate, in this order.

This module decides boosts and rules. The SDK decides the rest, as if there were neither.
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
        boosts.sort(key=lambda boost: -boost.traces)  # the highest rate wins
        self._rules = Patterns(rule.match for rule in rules)
        self._rates = [rule.traces for rule in rules]
        self._numbers = [n for n, rule in enumerate(snapshot.rules) if rule in rules]
        self.matched = 0
        """A bit for each rule of the snapshot that has matched something."""
        self.decided = 0
        """How many traces were compared with the rules."""
        self._boosts = [
            (Patterns([boost.match or "*"]), boost.traces, formats.moment(boost.until))
            for boost in boosts
        ]

    def rate(self, context: Mapping[str, Any]) -> float | None:
        """Return the rate for the SDK's sampling context; `None` if nothing fits."""
        try:
            return self._rate(names(context))
        except Exception:  # noqa: BLE001 - a request must not fail because of its trace
            fault("sampling")
            return None

    def before(
        self, otherwise: Callable[[dict[str, Any]], float | bool]
    ) -> Callable[[dict[str, Any]], float | bool]:
        """Return a `traces_sampler` that calls `otherwise` if nothing fits."""
        return _Before(self, otherwise)

    def _rate(self, compared: Sequence[str]) -> float | None:
        if self._boosts:
            now = time.time()
            for patterns, traces, until in self._boosts:
                if now < until and patterns.first(compared) is not None:
                    return traces
        rule = self._rules.first(compared)
        self.decided += 1
        if rule is None:
            return None
        self.matched |= 1 << self._numbers[rule]
        return self._rates[rule]

    @property
    def counts(self) -> tuple[int, str]:
        """How many traces were decided, and the bits of the rules that matched, in hex.

        The number is a power of ten, at most the real one: the receipt shows it, and need
        not be written anew for each trace.
        """
        decided = 10 ** (len(str(self.decided)) - 1) if self.decided else 0
        return decided, f"{self.matched:x}"


def sampler_of(client: Any) -> Sampler | None:
    """Return what decides by rules and boosts in a client; `None` without any."""
    own = client.options.get("traces_sampler")
    return own.sampler if isinstance(own, _Before) else vars(client).get("sampling")


@dataclass(frozen=True)
class _Before:
    """A `traces_sampler`. It is a class, not a closure, so the client can be pickled."""

    sampler: Sampler
    otherwise: Callable[[dict[str, Any]], float | bool]

    def __call__(self, context: dict[str, Any]) -> float | bool:
        """Return the rate."""
        __tracebackhide__ = True
        rate = self.sampler.rate(context)
        return self.otherwise(context) if rate is None else rate


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
    for key, value in context.items():
        if key in _OTHER_NAMES:
            compared += _OTHER_NAMES[key](value)
    return [name[:TRANSACTION_LIMIT] for name in dict.fromkeys(compared)]


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
