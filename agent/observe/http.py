"""Health checks, metrics and status over HTTP. Every request only reads."""

from __future__ import annotations

import ipaddress
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from agent.errors import SettingsError
from agent.observe import health
from agent.observe.listener import listen
from agent.observe.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.domain.view import View
    from agent.observe.document import Whole
    from agent.observe.health import Health
    from agent.observe.listener import Listener
    from agent.observe.metrics import Metrics
    from agent.settings import Settings
    from agent.settings.parse import Address

    Answer = tuple[str, str, bytes]

STATUS = "/status"
TEXT = "text/plain; charset=utf-8"
_HOST = re.compile(
    r"(?:(?P<name>(?i:localhost))|(?P<v4>[0-9.]+)|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::[0-9]{1,5})?"
)
"""The `Host` that a browser sends for an address. Everything else is refused."""


class Page(NamedTuple):
    """What the endpoints answer with."""

    view: Callable[[], View]
    document: Callable[[], Whole]
    metrics: Metrics
    settings: Settings


def serve(page: Page, http: Address | None, probes: Address | None) -> None:
    """Answer at both listen addresses, each with threads of its own.

    `None` opens no listener. The listener decides what is served, never the address of
    the caller.
    """
    listeners = [
        listener
        for address, paths in ((http, _all(page)), (probes, _public(page)))
        if address is not None
        for listener in _listen(address, paths)
    ]
    for listener in listeners:
        listener.start()


def _listen(address: Address, paths: dict[str, Callable[[], Answer]]) -> list[Listener]:
    try:
        return listen(_application(paths), address.host, address.port)
    except (OSError, ValueError) as error:  # waitress: no such host
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"cannot listen at {address}: {reason}",
            "set RESENTRY_HTTP_LISTEN and RESENTRY_PROBES_LISTEN to free addresses, "
            "or to off",
        ) from None


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
    return {**_public(page), STATUS: lambda: _json(page.document())}


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
        elif environ["PATH_INFO"] == STATUS and not _is_address(environ):
            answer = (
                "403 Forbidden",
                TEXT,
                b"use an IP address or localhost as host\n",
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


def _is_address(environ: dict[str, Any]) -> bool:
    """Whether the request names an IP address or localhost as its host, or none.

    A page of a foreign site in a browser could name its own host, whose address it has
    changed to ours. It would then read the answer.
    """
    match = _HOST.fullmatch(environ.get("HTTP_HOST") or "localhost")
    if match is None:
        return False
    try:
        return match["name"] is not None or bool(
            ipaddress.ip_address(match["v6"] or match["v4"])
        )
    except ValueError:
        return False
