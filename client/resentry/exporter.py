"""Makes an exporter of OpenTelemetry send by the current DSN.

The exporter sends through its `requests` session. A `Redirect` in that session sets the
address and the key of the current DSN, both from one value. So a request under way stays
with its DSN. A retry, and what is queued, goes to the DSN that is current then.
"""

from __future__ import annotations

import contextlib
import copy
import re
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import sentry_sdk
from sentry_sdk.utils import Dsn

from resentry import clock
from resentry.answers import REFUSED, kind_of
from resentry.contract import fingerprint
from resentry.living import Living
from resentry.process import here, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

PARKED_REQUESTS = 100
PARKED_BYTES = 10 * 1024 * 1024
PARKED_SECONDS = 15 * 60
RESEND_SECONDS = (0.0, 1.0, 5.0)
"""Pauses before each attempt to send a parked request."""
TIMEOUT_SECONDS = 10.0

ADDRESS = re.compile(
    r"(https?)://([^/@]+)(/(?:.*/)?)api/([0-9]+)/(integration/otlp/.*)"
)
"""Scheme, host, path, project, and the path of the OpenTelemetry signal."""
AUTH = "x-sentry-auth"
_TRACES = "integration/otlp/v1/traces/"


class Place(NamedTuple):
    """Where exporters send for a DSN. All fields are empty without a DSN."""

    base: str = ""
    auth: str = ""
    mark: str = ""
    """The DSN's fingerprint."""


def place_of(dsn: str) -> Place:
    """Return where exporters send for this DSN."""
    try:
        auth = Dsn(dsn).to_auth(f"sentry.python/{sentry_sdk.VERSION}")
    except ValueError:
        return Place()
    base = f"{auth.scheme}://{auth.host}{auth.path}api/{auth.project_id}/"
    return Place(base, auth.to_header(), fingerprint(dsn))


class Shared:
    """What is known of this process; it outlives a reload of this module."""

    def __init__(self) -> None:
        self.place: Place | None = None
        """Where exporters send; None before the first DSN: they send as they were made."""
        self.made: Living[Any] = Living()
        """The exporters that the SDK made."""


shared: Shared = globals().get("shared") or Shared()


class _Parked(NamedTuple):
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    size: int
    until: float


class Redirect:
    """Replaces an exporter's `session.request`, and sends by the current DSN."""

    def __init__(self, session: Any, address: str, mark: str) -> None:
        self._session = session
        self._send: Callable[..., Any] = session.request
        self._address = address
        self._mark = mark
        parts = ADDRESS.fullmatch(address)
        self._suffix = parts[5] if parts else _TRACES
        self._renew()

    def _renew(self) -> None:
        self._home = here()
        self._under_way: dict[object, str] = {}
        self._parked: deque[_Parked] = deque()

    def _own_process(self) -> None:
        """In a forked child: drop the parent's requests and connections."""
        if self._home is here():
            return
        self._renew()
        with contextlib.suppress(Exception):  # then it uses the parent's, as without us
            # Kept alive: ending a pool waits for locks that a parent's thread may hold.
            self._inherited = dict(self._session.adapters)
            for prefix, adapter in self._inherited.items():
                self._session.adapters[prefix] = copy.copy(adapter)  # no connections

    def under_way(self) -> set[str]:
        """Return the fingerprints of the DSNs of requests under way."""
        if self._home is not here():
            return set()
        return set(self._under_way.copy().values())

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Send the exporter's own requests to the current DSN; others stay as they are."""
        __tracebackhide__ = True  # the SDK leaves it out of stack traces
        if url != self._address or shared.place is None:
            return self._send(method, url, *args, **kwargs)
        self._own_process()
        under_way = object()
        try:
            while True:
                place = self._enter(under_way)
                if not place.base:
                    return self._send_nowhere(method, url, *args, **kwargs)
                response = self._send_to(place, method, *args, **kwargs)
                if response.status_code not in REFUSED:
                    return response
                if shared.place is place:
                    self._park(method, args, kwargs)
                    if shared.place is not place:  # a swap came before this was parked
                        self.resend()
                    return response
        finally:
            self._under_way.pop(under_way, None)

    @property
    def has_traces(self) -> bool:
        """Whether this exporter sends spans, and sends them now."""
        return self._suffix.startswith(_TRACES.rstrip("/")) and self._is_on()

    def send_test(
        self, body: bytes, answered: Callable[[str, int | None], None]
    ) -> None:
        """Send a test span once, in another thread; `answered` gets state and status.

        Raises `RuntimeError` if no thread can be started.
        """
        self._own_process()
        start_thread("resentry.otlp", self._send_test, body, answered)

    def _send_test(
        self, body: bytes, answered: Callable[[str, int | None], None]
    ) -> None:
        _suppress_instrumentation()
        under_way, status = object(), None
        try:
            place = self._enter(under_way)
            headers = {"Content-Type": "application/x-protobuf"}
            given = {"data": body, "headers": headers, "timeout": TIMEOUT_SECONDS}
            status = self._send_to(place, "POST", **given).status_code
        except Exception:  # noqa: BLE001, S110 - no connection
            pass
        finally:
            self._under_way.pop(under_way, None)
            answered(kind_of(status), status)

    def _enter(self, under_way: object) -> Place:
        """Return the current place, after noting that a request uses it.

        The note comes first, so that nobody can find the place unused just before.
        """
        while True:
            place = shared.place
            self._under_way[under_way] = place.mark if place else ""
            if place is shared.place:
                return place or Place()

    def _send_to(self, place: Place, method: str, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        headers = kwargs.pop("headers", None) or {}
        kept = {name: headers[name] for name in headers if name.lower() != AUTH}
        kwargs["headers"] = {**kept, "X-Sentry-Auth": place.auth}
        status = None
        try:
            answer = self._send(method, place.base + self._suffix, *args, **kwargs)
            status = answer.status_code
        finally:
            here().answers.note(place.mark, status)
        return answer

    def _send_nowhere(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Answer as if the request was sent. An exporter without a DSN sends as it did."""
        __tracebackhide__ = True
        if not self._mark:
            return self._send(method, url, *args, **kwargs)
        # The owner of the session has imported `requests`.
        answer = sys.modules["requests"].Response()
        answer.status_code = 200
        return answer

    # What a revoked DSN refused

    def _park(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep a request for the next DSN, as the outlet keeps envelopes."""
        size = len(kwargs.get("data") or b"")
        until = clock.monotonic() + PARKED_SECONDS
        self._parked.append(_Parked(method, args, kwargs, size, until))
        here().tally.parked += 1
        while self._parked and (
            len(self._parked) > PARKED_REQUESTS
            or sum(request.size for request in self._parked) > PARKED_BYTES
        ):
            self._parked.popleft()
            here().tally.dropped += 1

    def resend(self) -> None:
        """Send the parked requests by the current DSN, in another thread."""
        if self._home is not here() or not self._parked or not self._is_on():
            return
        parked, self._parked = self._parked, deque()
        try:
            start_thread("resentry.otlp", self._resend, parked)
        except RuntimeError:  # no thread can be started; the next swap tries again
            self._parked.extendleft(reversed(parked))

    def _is_on(self) -> bool:
        return bool(shared.place and shared.place.base)

    def _resend(self, parked: deque[_Parked]) -> None:
        _suppress_instrumentation()
        for request in parked:
            if request.until < clock.monotonic() or not self._resend_one(request):
                here().tally.dropped += 1
            else:
                here().tally.rerouted += 1

    def _resend_one(self, parked: _Parked) -> bool:
        for seconds in RESEND_SECONDS:
            time.sleep(seconds)
            try:
                # A request that is refused again is parked again.
                kwargs = {**parked.kwargs, "timeout": TIMEOUT_SECONDS}
                arguments = (parked.method, self._address, *parked.args)
                answer = self.request(*arguments, **kwargs)
            except Exception:  # noqa: BLE001, S112 - no connection
                continue
            if answer.status_code < 500 and answer.status_code != 429:
                return True
        return False


def _suppress_instrumentation() -> None:
    """Keep OpenTelemetry from making spans of our requests, as in its own threads."""
    context: Any = sys.modules.get("opentelemetry.context")
    if context is not None:
        context.attach(context.set_value("suppress_instrumentation", True))
