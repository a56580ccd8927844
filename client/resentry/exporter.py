"""One exporter of OpenTelemetry's that sends by the DSN in force.

Everything that it sends goes through its `requests` session. A `Redirect` stands there,
and puts address and key of the DSN in, both from one value. So a request that is under
way stays where it is; its retry, and what is queued, goes to the DSN of that moment.
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
from resentry.contract import fingerprint
from resentry.living import Living
from resentry.process import here, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

PARKED_REQUESTS = 100
PARKED_BYTES = 10 * 1024 * 1024
PARKED_SECONDS = 15 * 60
RESEND_SECONDS = (0.0, 1.0, 5.0)
"""How long to wait before each attempt to send what was parked."""
TIMEOUT_SECONDS = 10.0

ADDRESS = re.compile(
    r"(https?)://([^/@]+)(/(?:.*/)?)api/([0-9]+)/(integration/otlp/.*)"
)
"""Scheme, host, path, project, and which of OpenTelemetry's signals."""
AUTH = "x-sentry-auth"
_TRACES = "integration/otlp/v1/traces/"
_REFUSED = {401, 403, 404}


class Place(NamedTuple):
    """Where a DSN takes what exporters send. All empty: there is no DSN."""

    base: str = ""
    auth: str = ""
    mark: str = ""
    """The DSN's fingerprint."""


def place_of(dsn: str) -> Place:
    """Return where that DSN takes it."""
    try:
        auth = Dsn(dsn).to_auth(f"sentry.python/{sentry_sdk.VERSION}")
    except ValueError:
        return Place()
    base = f"{auth.scheme}://{auth.host}{auth.path}api/{auth.project_id}/"
    return Place(base, auth.to_header(), fingerprint(dsn))


class State:
    """What is known of this process; it outlives a reload of this module."""

    def __init__(self) -> None:
        self.place: Place | None = None
        """None until the first DSN is named: then exporters send as they were made."""
        self.made: Living[Any] = Living()
        """The exporters that the SDK made."""


state: State = globals().get("state") or State()


class _Parked(NamedTuple):
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    size: int
    until: float


class Redirect:
    """Stands in an exporter's session, and sends by the DSN in force."""

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
        """Let go, in a forked child, of what is the parent's to send and to answer."""
        if self._home is here():
            return
        self._renew()
        with contextlib.suppress(Exception):  # else with the parent's, as without us
            # Kept: the end of a pool waits for locks that a thread of the parent's had.
            self._inherited = dict(self._session.adapters)
            for prefix, adapter in self._inherited.items():
                self._session.adapters[prefix] = copy.copy(adapter)  # no connections

    def under_way(self) -> set[str]:
        """Return the fingerprints of the DSNs that have a request to answer."""
        if self._home is not here():
            return set()
        return set(self._under_way.copy().values())

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request of the exporter's to the DSN in force, others as they are."""
        __tracebackhide__ = True  # the SDK leaves it out of stack traces
        if url != self._address or state.place is None:
            return self._send(method, url, *args, **kwargs)
        self._own_process()
        under_way = object()
        try:
            while True:
                place = self._enter(under_way)
                if not place.base:
                    return self._send_nowhere(method, url, *args, **kwargs)
                response = self._send_to(place, method, *args, **kwargs)
                if response.status_code not in _REFUSED:
                    return response
                if state.place is place:
                    self._park(method, args, kwargs)
                    if state.place is not place:  # a swap that found nothing parked
                        self.resend()
                    return response
        finally:
            self._under_way.pop(under_way, None)

    def _enter(self, under_way: object) -> Place:
        """Return the place that is in force now, after it was noted as being used.

        In this order, so that nobody can find it free just before it is used.
        """
        while True:
            place = state.place
            self._under_way[under_way] = place.mark if place else ""
            if place is state.place:
                return place or Place()

    def _send_to(self, place: Place, method: str, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        headers = kwargs.pop("headers", None) or {}
        kept = {name: headers[name] for name in headers if name.lower() != AUTH}
        kwargs["headers"] = {**kept, "X-Sentry-Auth": place.auth}
        return self._send(method, place.base + self._suffix, *args, **kwargs)

    def _send_nowhere(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Answer as if it was sent; without a DSN of its own: send as plain SDK does."""
        __tracebackhide__ = True
        if not self._mark:
            return self._send(method, url, *args, **kwargs)
        # Whose session this is has imported it.
        answer = sys.modules["requests"].Response()
        answer.status_code = 200
        return answer

    # What a revoked DSN refused

    def _park(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep it for the next DSN, as the outlet does."""
        size = len(kwargs.get("data") or b"")
        until = clock.monotonic() + PARKED_SECONDS
        self._parked.append(_Parked(method, args, kwargs, size, until))
        here().tally.parked += 1
        while self._parked and (
            len(self._parked) > PARKED_REQUESTS
            or sum(one.size for one in self._parked) > PARKED_BYTES
        ):
            self._parked.popleft()
            here().tally.dropped += 1

    def resend(self) -> None:
        """Send what is parked by the DSN in force, in a thread of its own."""
        if self._home is not here() or not self._parked or not self._is_on():
            return
        parked, self._parked = self._parked, deque()
        try:
            start_thread("resentry.otlp", self._resend, parked)
        except RuntimeError:  # no thread can be started now; the next swap tries again
            self._parked.extendleft(reversed(parked))

    def _is_on(self) -> bool:
        return bool(state.place and state.place.base)

    def _resend(self, parked: deque[_Parked]) -> None:
        _suppress_instrumentation()
        for one in parked:
            if one.until < clock.monotonic() or not self._resend_one(one):
                here().tally.dropped += 1
            else:
                here().tally.rerouted += 1

    def _resend_one(self, one: _Parked) -> bool:
        for seconds in RESEND_SECONDS:
            time.sleep(seconds)
            try:
                # Refused once more, it is parked once more.
                kwargs = {**one.kwargs, "timeout": TIMEOUT_SECONDS}
                answer = self.request(one.method, self._address, *one.args, **kwargs)
            except Exception:  # noqa: BLE001, S112 - no connection
                continue
            if answer.status_code < 500 and answer.status_code != 429:
                return True
        return False


def _suppress_instrumentation() -> None:
    """Let OpenTelemetry make no span of what we send, as in its own threads."""
    context: Any = sys.modules.get("opentelemetry.context")
    if context is not None:
        context.attach(context.set_value("suppress_instrumentation", True))
