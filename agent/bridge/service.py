"""Starts the bridge: store, Alertmanagers, the webhook's address, health and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from typing import TYPE_CHECKING

import msgspec
import structlog
import uvicorn

from agent._version import __version__
from agent.bridge.connection import HEADER_BYTES, MOST_CONNECTIONS, Connection
from agent.bridge.duty import Duty
from agent.bridge.metrics import BridgeMetrics
from agent.bridge.page import text_of
from agent.bridge.post import Poster
from agent.bridge.receive import PATH, Receiver
from agent.bridge.signature import secrets_of
from agent.bridge.status import status_of
from agent.bridge.store import Store
from agent.domain.receiver import receiver_names
from agent.errors import SettingsError
from agent.observe.http import METRICS, TEXT, Answer, serve_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.bridge.fill import Filler
    from agent.bridge.status import BridgeStatus
    from agent.settings import Settings
    from agent.settings.parse import Address

BACKLOG = 1024
STOP_SECONDS = 5
"""At the end, the time for answers that are due, and again for what is to be posted."""
BEAT_SECONDS = 1.0
STILL_SECONDS = 30.0
"""A loop that has stood still for so long is no longer live."""

log = structlog.get_logger()


class _Server(uvicorn.Server):
    """Leaves the signals to `Bridge.run`: uvicorn would raise them again at the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Bridge:
    """One bridge. Raises `SettingsError` or `StoreError` if it cannot start."""

    def __init__(self, settings: Settings) -> None:
        if settings.bridge_listen is None:
            raise SettingsError(
                "the bridge has no address for webhooks", "set RESENTRY_BRIDGE_LISTEN"
            )
        if not settings.bridge_alertmanagers:
            raise SettingsError(
                "the bridge has no Alertmanager", "set RESENTRY_BRIDGE_ALERTMANAGERS"
            )
        self._settings = settings
        self._socket = _listen(settings.bridge_listen)
        self._beat = time.monotonic()
        secret = settings.bridge_secret.reveal()
        secrets = secrets_of(settings.bridge_secret_file, secret)
        names = receiver_names(settings.bridge_alertmanagers)
        self._metrics = BridgeMetrics(__version__, names)
        self._store = Store(settings.bridge_store, 3600 * settings.bridge_silent_hours)
        headers = settings.bridge_alertmanager_headers.headers
        resend = settings.bridge_resend_seconds
        self._duty = Duty(settings, names, self._store, self._metrics.duty)
        self._posters = [
            Poster(url, name, self._store, resend, headers, self._metrics)
            for url, name in zip(settings.bridge_alertmanagers, names, strict=True)
        ]
        for poster in self._posters:
            poster.own = self._duty.rows
        self._filler = _filler(settings, self._store, self._metrics)
        self._store.changed = self._wake
        self._receiver = Receiver(self._store, secrets, self._metrics)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        settings = self._settings
        serve_paths(self._paths(), settings.http_listen)
        serve_paths(self._probes(), settings.probes_listen)
        for poster in self._posters:
            poster.start()
        self._duty.start()
        if self._filler is not None:
            self._filler.start()
        # Strangers decide how often it would say that a request is invalid.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        server = _Server(
            uvicorn.Config(
                self._receiver,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
                h11_max_incomplete_event_size=HEADER_BYTES,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        log.info(
            "the bridge receives webhooks",
            address=f"{settings.bridge_listen}{PATH}",
            alertmanagers=[poster.name for poster in self._posters],
            open_alerts=sum(self._store.reader.open_number().values()),
        )
        try:
            asyncio.run(self._serve(server))
        finally:
            self._stop()

    async def _serve(self, server: uvicorn.Server) -> None:
        serving = asyncio.create_task(server.serve([self._socket]))
        while not serving.done():
            self._beat = time.monotonic()
            await asyncio.wait({serving}, timeout=BEAT_SECONDS)
        await serving

    def _stop(self) -> None:
        until = time.monotonic() + STOP_SECONDS
        parts: list[Duty | Poster | Filler] = [self._duty, *self._posters]
        if self._filler is not None:
            parts.append(self._filler)
        for part in parts:
            part.stop(0)
        for part in parts:
            part.stop(max(0.0, until - time.monotonic()))
        self._store.close()
        log.info("the bridge has ended")

    def _wake(self) -> None:
        for poster in self._posters:
            poster.wake()

    def _probes(self) -> dict[str, Callable[[], Answer]]:
        return {
            "/livez": lambda: _health(self._still()),
            "/readyz": lambda: _health(self._still() or self._store.reason),
            "/metrics": self._exposition,
        }

    def _paths(self) -> dict[str, Callable[[], Answer]]:
        return {**self._probes(), "/status": self._status, "/": self._page}

    def _still(self) -> str:
        """Return why this process does not work any more; empty if it does."""
        if not self._store.is_alive:
            return "the thread that writes the store has ended"
        if time.monotonic() - self._beat > STILL_SECONDS:
            return "the loop stands still"
        return ""

    def _exposition(self) -> Answer:
        reader, store = self._store.reader, self._store
        body = self._metrics.render(
            reader.open_number(), reader.webhooks(), store.waiting, store.reason
        )
        return Answer("200 OK", METRICS, body)

    def _known(self) -> BridgeStatus:
        urls = self._settings.bridge_alertmanagers
        return status_of(self._store, urls, self._duty, self._receiver)

    def _status(self) -> Answer:
        return Answer("200 OK", "application/json", msgspec.json.encode(self._known()))

    def _page(self) -> Answer:
        return Answer("200 OK", TEXT, text_of(self._known()).encode())


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server(
            (address.host, address.port), family=family, backlog=BACKLOG
        )
    except OSError as error:
        raise SettingsError(
            f"cannot listen at {address}: {error.strerror}",
            "set RESENTRY_BRIDGE_LISTEN to a free address of this machine",
        ) from None


def _filler(settings: Settings, store: Store, metrics: BridgeMetrics) -> Filler | None:
    """Return what asks Sentry's API; `None` if there is none to ask."""
    if not settings.sentry_api:
        log.warning(
            "webhooks that are lost stay lost: Sentry's API is not asked for gaps",
            hint="set RESENTRY_SENTRY_API, RESENTRY_SENTRY_ORGANIZATION, "
            "RESENTRY_SENTRY_PROJECT and RESENTRY_SENTRY_TOKEN_FILE",
        )
        return None
    # It brings requests: the bridge runs without it.
    from agent.bridge.fill import Filler  # noqa: PLC0415

    return Filler(settings, store, metrics)


def _health(problem: str) -> Answer:
    if problem:
        return Answer("503 Service Unavailable", TEXT, f"{problem}\n".encode())
    return Answer("200 OK", TEXT, b"ok\n")
