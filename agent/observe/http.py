"""Health checks, metrics, status and a page over HTTP. Every request only reads."""

from __future__ import annotations

import ipaddress
import os
import re
import time
from typing import TYPE_CHECKING, Any

import msgspec

from agent.domain.value import Value
from agent.errors import SettingsError
from agent.observe import health, page
from agent.observe.listener import listen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.domain.view import View
    from agent.observe.document import Whole
    from agent.observe.health import Health
    from agent.observe.listener import Listener
    from agent.settings import Settings
    from agent.settings.parse import Address

STATUS, FINDINGS, PAGE = "/status", "/findings", "/"
NO_NAMES = frozenset({STATUS, FINDINGS, PAGE})
"""These paths are answered only to a browser that has not been led here by a name."""
TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
_HOST = re.compile(
    r"(?:(?P<name>(?i:localhost))|(?P<v4>[0-9.]+)|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::[0-9]{1,5})?"
)
"""The `Host` that a browser sends for an address. Everything else is refused."""
_INSTANCE = os.urandom(8).hex()
"""By this a fleet knows one agent at two addresses."""


class Answer(Value, frozen=True):
    """What a request is answered with."""

    code: str
    type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Sources(Value, frozen=True):
    """What the endpoints answer with."""

    view: Callable[[], View]
    document: Callable[[], Whole]
    metrics: Callable[[], bytes]
    settings: Settings
    findings: Callable[[], Any] | None = None
    """Examines what is known as `doctor` does, without asking any server."""
    version: str = ""


def serve(sources: Sources, http: Address | None, probes: Address | None) -> None:
    """Answer at both listen addresses, each with threads of its own.

    `None` opens no listener. The listener decides what is served, never the address of
    the caller.
    """
    serve_paths(_all(sources), http)
    serve_paths(_public(sources), probes)


def serve_paths(
    paths: dict[str, Callable[[], Answer]], address: Address | None
) -> None:
    """Answer these paths at a listen address, with threads of its own."""
    for listener in _listen(address, paths) if address is not None else ():
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


def _public(sources: Sources) -> dict[str, Callable[[], Answer]]:
    def answer(check: Callable[[View, Settings, float], Health]) -> Answer:
        return _probe(*check(sources.view(), sources.settings, time.monotonic()))

    return {
        "/livez": lambda: answer(health.live),
        "/readyz": lambda: answer(health.ready),
        "/startupz": lambda: answer(health.started),
        "/metrics": lambda: Answer("200 OK", METRICS, sources.metrics()),
        "/fleet": lambda: _summary(sources),
    }


def _summary(sources: Sources) -> Answer:
    """Answer what a fleet asks: no secret, so the probes' address serves it, too."""
    # Health checks need none of it.
    from agent.domain.summary import encode_summary, summarize  # noqa: PLC0415

    view = sources.view()
    summary = summarize(
        sources.version,
        view.known.current,
        view.rollout,
        instance=_INSTANCE,
        is_failing=view.passes.failures > 0,
    )
    return Answer("200 OK", "application/json", encode_summary(summary))


def _all(sources: Sources) -> dict[str, Callable[[], Answer]]:
    paths = {
        **_public(sources),
        STATUS: lambda: _json(sources.document()),
        PAGE: _page,
    }
    if (examine := sources.findings) is not None:
        paths[FINDINGS] = lambda: _json(examine())
    return paths


def _page() -> Answer:
    body, policy = page.read()
    headers = (
        ("Content-Security-Policy", policy),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
    )
    return Answer("200 OK", page.TYPE, body, headers)


def _probe(good: bool, sentence: str) -> Answer:  # noqa: FBT001 - as a health check returns
    code = "200 OK" if good else "503 Service Unavailable"
    return Answer(code, TEXT, f"{sentence}\n".encode())


def _json(document: Any) -> Answer:
    body = msgspec.json.format(msgspec.json.encode(document), indent=1)
    return Answer("200 OK", "application/json", body + b"\n")


def _application(paths: dict[str, Callable[[], Answer]]) -> Callable[..., Any]:
    known = ("\n".join(paths) + "\n").encode()

    def application(
        environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            answer = Answer(
                "405 Method Not Allowed",
                TEXT,
                b"only GET and HEAD are allowed\n",
            )
        elif environ["PATH_INFO"] in NO_NAMES and not _is_address(environ):
            answer = Answer(
                "403 Forbidden",
                TEXT,
                b"use an IP address or localhost as host\n",
            )
        elif environ["PATH_INFO"] in paths:
            answer = paths[environ["PATH_INFO"]]()
        else:
            answer = Answer("404 Not Found", TEXT, known)
        start_response(
            answer.code,
            [
                ("Content-Type", answer.type),
                ("Content-Length", str(len(answer.body))),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
                *answer.headers,
            ],
        )
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer.body]

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
