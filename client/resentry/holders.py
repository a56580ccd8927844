"""Finds the holders: what in this process still sends by an older DSN of ours.

A holder is a client that the application made itself, or an exporter of OpenTelemetry's
that cannot follow. The caller counts the library's own clients.
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
"""At most this many living clients are looked at. More clients count as one holder."""

_KNOWN = "_resentry_clients"


def note_clients() -> None:
    """Note each Sentry client that anybody makes from now on.

    Call this before a client is built. Later calls cost nothing.
    """
    otlp.note_exporters()
    _clients(sentry_sdk.Client)


def find(
    ours: Collection[str], current: str, own: Callable[[Any], bool]
) -> list[tuple[str, str]]:
    """Return kind and fingerprint of each holder of an older DSN. Never raises.

    Args:
        ours: fingerprints of every DSN that this process has sent by.
        current: the fingerprint of the current DSN; empty without a DSN.
        own: whether a client is one of the library's own, which do not count here.

    """
    note_clients()  # the integration, or the SDK itself, may have been imported anew
    try:
        named = {(otlp.KIND, mark) for mark in otlp.held(ours, current)}
    except Exception:  # noqa: BLE001 - "unknown" must not look like "none"
        here().tally.faults += 1
        named = {(otlp.KIND, "")}
    former = set(ours) - {current, ""}
    if former:
        clients = _clients(sentry_sdk.Client)
        mark_of = functools.lru_cache(fingerprint)
        for client in clients.all()[:CLIENTS]:
            mark = _mark(client, own, mark_of)
            if mark is None or mark in former:
                named.add((KIND, mark or ""))
        if len(clients) > CLIENTS:
            named.add((KIND, ""))
    return sorted(named)[:HOLDERS_LIMIT]


def _mark(
    client: Any, own: Callable[[Any], bool], mark_of: Callable[[str], str]
) -> str | None:
    """Return the fingerprint of the DSN of a client that is not ours.

    The fingerprint is empty if the client does not send, and None if nobody can know.
    """
    try:
        if getattr(client, "transport", None) is None or own(client):
            return ""
        return mark_of(str(client.options["dsn"] or ""))
    except Exception:  # noqa: BLE001 - a class of the application's
        here().tally.faults += 1
        return None


def _clients(of: Any) -> Living[Any]:
    """Return the living clients of this class and of its subclasses.

    A client is noted in `__new__`, which also makes copies and unpickled clients and
    appears in no traceback. The function itself keeps the clients, so that a reload of
    this module finds them again.
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
