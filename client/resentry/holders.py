"""What in this process still sends by a DSN that was ours, and is not any more.

A holder is a client that the application made itself, or an exporter of OpenTelemetry's
that can't follow. The library's own clients are the caller's to count.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import sentry_sdk

from resentry import otlp
from resentry.contract import HOLDERS_LIMIT, fingerprint
from resentry.living import Living
from resentry.process import here

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

KIND = "client"

CLIENTS = 1000
"""So many living clients are looked at; more of them are a holder by themselves."""

_KNOWN = "_resentry_clients"


def watch() -> None:
    """Know each Sentry client that is made from now on, by anybody.

    Call it before a client is built, and again whenever: the second time costs nothing.
    """
    otlp.watch()
    _clients(sentry_sdk.Client)


def find(
    ours: Collection[str], current: str, own: Callable[[Any], bool]
) -> list[tuple[str, str]]:
    """Return kind and fingerprint of each holder of an older DSN. Never raises.

    Args:
        ours: fingerprints of all DSNs that were ours in this process.
        current: the fingerprint of the DSN in force; empty where there is none.
        own: says whether a client is one of the library's, which are counted elsewhere.

    """
    watch()  # the integration, or the SDK itself, may have been imported anew
    try:
        found = {(otlp.KIND, mark) for mark in otlp.held(ours, current)}
    except Exception:  # noqa: BLE001 - then nobody knows, and that is no "none"
        here().tally.faults += 1
        found = {(otlp.KIND, "")}
    former = set(ours) - {current, ""}
    if former:
        clients = _clients(sentry_sdk.Client)
        mark_of = functools.lru_cache(fingerprint)
        for client in clients.all()[:CLIENTS]:
            mark = _mark(client, own, mark_of)
            if mark is None or mark in former:
                found.add((KIND, mark or ""))
        if len(clients) > CLIENTS:
            found.add((KIND, ""))
    return sorted(found)[:HOLDERS_LIMIT]


def _mark(
    client: Any, own: Callable[[Any], bool], mark_of: Callable[[str], str]
) -> str | None:
    """Return the fingerprint of the DSN that a foreign client sends by.

    It is empty for one that does not send, and None where that can't be told.
    """
    try:
        if getattr(client, "transport", None) is None or own(client):
            return ""
        return mark_of(str(client.options["dsn"] or ""))
    except Exception:  # noqa: BLE001 - a class of the application's
        here().tally.faults += 1
        return None


def _clients(of: Any) -> Living[Any]:
    """Return the living clients of that class and its subclasses.

    A client is noted in `__new__`, which serves the constructor, a copy and an unpickled
    one alike, and stands in no traceback. They hang on that function, so that a reload
    of this module finds them again.
    """
    make = of.__new__
    known: Living[Any] | None = getattr(make, _KNOWN, None)
    if known is not None:
        return known
    known = Living()

    def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True  # the SDK leaves it out of stack traces
        following = super(of, cls).__new__
        plain = following is object.__new__  # it takes no arguments
        client = following(cls) if plain else following(cls, *args, **kwargs)
        try:
            known.add(client)
        except Exception:  # noqa: BLE001 - a subclass without weak references
            here().tally.faults += 1
        return client

    setattr(new, _KNOWN, known)
    new.__name__, new.__qualname__ = "__new__", f"{of.__qualname__}.__new__"
    of.__new__ = staticmethod(new)
    return known
