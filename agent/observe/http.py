"""Health checks, metrics and status over HTTP. Every request only reads."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from waitress.server import create_server

from agent.errors import SettingsError
from agent.observe import health
from agent.observe.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.domain.view import View
    from agent.observe.document import Whole
    from agent.observe.health import Health
    from agent.observe.metrics import Metrics
    from agent.settings import Settings
    from agent.settings.parse import Address

    Answer = tuple[str, str, bytes]

TEXT = "text/plain; charset=utf-8"
IDLE_SECONDS = 10
"""An idle connection is closed after this time, or after twice this time at most.

At most 100 connections may be open: idle ones must not keep out the health checks.
"""


class Page(NamedTuple):
    """What the endpoints answer with."""

    view: Callable[[], View]
    document: Callable[[], Whole]
    metrics: Metrics
    settings: Settings


def serve(page: Page, http: Address | None, probes: Address | None) -> None:
    """Answer at both listen addresses, in one daemon thread.

    `None` opens no listener. The listener decides what is served, never the address of
    the caller.
    """
    addresses = [(http, _all(page)), (probes, _public(page))]
    sockets: dict[Any, Any] = {}
    for address, paths in addresses:
        if address is None:
            continue
        try:
            server = create_server(
                _application(paths),
                map=sockets,
                host=address.host,
                port=address.port,
                threads=1,
                ident=None,
                asyncore_loop_timeout=IDLE_SECONDS,
                cleanup_interval=IDLE_SECONDS,
                channel_timeout=IDLE_SECONDS,
            )
        except (OSError, ValueError) as error:  # waitress: no such host
            reason = getattr(error, "strerror", None) or error
            raise SettingsError(
                f"cannot listen at {address}: {reason}",
                "set RESENTRY_HTTP_LISTEN and RESENTRY_PROBES_LISTEN to free addresses, "
                "or to off",
            ) from None
        first = server
    if sockets:
        threading.Thread(target=first.run, name="http", daemon=True).start()


def _public(page: Page) -> dict[str, Callable[[], Answer]]:
    def answer(check: Callable[[View, Settings, float], Health]) -> Answer:
        return _probe(*check(page.view(), page.settings, time.monotonic()))

    return {
        "/livez": lambda: answer(health.live),
        "/readyz": lambda: answer(health.ready),
        "/startupz": lambda: answer(health.started),
        "/metrics": lambda: ("200 OK", CONTENT_TYPE, page.metrics.render()),
    }


def _all(page: Page) -> dict[str, Callable[[], Answer]]:
    return {**_public(page), "/status": lambda: _json(page.document())}


def _probe(good: bool, sentence: str) -> Answer:  # noqa: FBT001 - as a health check returns
    code = "200 OK" if good else "503 Service Unavailable"
    return code, TEXT, f"{sentence}\n".encode()


def _json(document: Whole) -> Answer:
    body = msgspec.json.format(msgspec.json.encode(document), indent=1)
    return "200 OK", "application/json", body + b"\n"


def _application(paths: dict[str, Callable[[], Answer]]) -> Callable[..., Any]:
    known = ("\n".join(paths) + "\n").encode()

    def application(
        environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            answer: Answer = (
                "405 Method Not Allowed",
                TEXT,
                b"only GET and HEAD are allowed\n",
            )
        elif environ["PATH_INFO"] in paths:
            answer = paths[environ["PATH_INFO"]]()
        else:
            answer = ("404 Not Found", TEXT, known)
        code, content_type, body = answer
        start_response(
            code,
            [
                ("Content-Type", content_type),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
            ],
        )
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    return application
