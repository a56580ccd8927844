"""Makes OpenTelemetry's exporters follow the DSN.

The SDK's OTLPIntegration makes one exporter per process, with the address and the key of
the first client's DSN. This module finds that exporter and makes it follow. It does the
same with an exporter of the application's, if that carries the key of a DSN of ours.

This module does not import OpenTelemetry: if nothing else has, there is nothing to do.
Every private name of OpenTelemetry stands in this file, and in its test.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from resentry.contract import fingerprint
from resentry.exporter import ADDRESS as PATTERN
from resentry.exporter import AUTH, Redirect, place_of, shared
from resentry.process import here

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

KIND = "otlp"

PROVIDERS = (
    (
        "opentelemetry.trace",
        "_TRACER_PROVIDER",
        ("_active_span_processor._span_processors",),
    ),
    (
        "opentelemetry._logs._internal",
        "_LOGGER_PROVIDER",
        ("_multi_log_record_processor._log_record_processors",),
    ),
    (
        "opentelemetry.metrics._internal",
        "_METER_PROVIDER",
        ("_metric_readers", "_sdk_config.metric_readers"),
    ),
)
"""Module, global, and the path to its processors. A public getter could make a provider."""

EXPORTER = ("_batch_processor._exporter", "span_exporter", "_exporter")
"""Path from a processor to its exporter: since 1.34, before, and without a queue."""
SESSION = ("_session", "_client._transport._session")
"""Path from an exporter to its session: before 1.45, and since."""
ADDRESS = ("_endpoint", "_client._endpoint")
HEADERS = ("_headers", "_client._headers", "_session.headers")

PROCESSORS = 100
"""At most this many processors of one provider are looked at."""

_INTEGRATION = "sentry_sdk.integrations.otlp"
_REDIRECT, _MADE = "_resentry_redirect", "_resentry_made"
_KEY = re.compile(r"sentry_key=([^,\s]+)")


class _Made(NamedTuple):
    """The arguments that an exporter was made with."""

    endpoint: str | None
    headers: Mapping[str, str] | None


def note_exporters() -> None:
    """Note each exporter that the SDK's integration makes from now on."""
    module = sys.modules.get(_INTEGRATION)
    make = getattr(module, "OTLPSpanExporter", None)
    if make is None or hasattr(make, _MADE):
        return

    @functools.wraps(make, updated=())
    def noted(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True  # the SDK leaves it out of stack traces
        exporter = make(*args, **kwargs)
        try:
            made = _Made(kwargs.get("endpoint"), kwargs.get("headers"))
            setattr(exporter, _MADE, made)
            shared.made.add(exporter)
        except Exception:  # noqa: BLE001 - the exporter is found by its provider, too
            here().tally.faults += 1
        return exporter

    setattr(noted, _MADE, True)
    setattr(module, "OTLPSpanExporter", noted)  # noqa: B010 - no name that mypy knows


def follow(dsn: str, ours: Collection[str]) -> None:
    """Make every exporter that can follow send by this DSN from now on. Does not wait.

    `ours` are the fingerprints of every DSN that this process has sent by, and of this
    one. With an empty DSN the exporters send nothing.
    """
    shared.place = place_of(dsn)  # one store: address and key never mix
    for exporter in exporters():
        try:
            redirect = _redirect(exporter, ours)
            if redirect is not None:
                redirect.resend()
        except Exception:  # noqa: BLE001 - this exporter is a holder; the others follow
            here().tally.faults += 1


def held(ours: Collection[str], current: str) -> set[str]:
    """Return the fingerprints of our older DSNs by which an exporter still sends.

    Such an exporter cannot follow, or has a request under way. An exporter that can follow
    and is new since the last look follows from now on.
    """
    marks: set[str] = set()
    for exporter in exporters():
        redirect = _redirect(exporter, ours)
        if redirect is not None:
            marks |= redirect.under_way()
        elif not getattr(exporter, "_shutdown", False):
            marks.add(_carried(exporter)[1])
    return marks & (set(ours) - {current, ""})


def send_test(body: bytes, answered: Callable[[str, int | None], None]) -> bool:
    """Send a test span through the exporter that follows; return whether there is one.

    `answered` gets the state and the HTTP status; the status is `None` without an answer.
    """
    for exporter in exporters():
        redirect: Redirect | None = getattr(exporter, "__dict__", {}).get(_REDIRECT)
        if redirect is not None and redirect.has_traces:
            redirect.send_test(body, answered)
            return True
    return False


def exporters() -> Iterator[Any]:
    """Yield every exporter that the SDK made, or that a provider has."""
    seen = set()
    for exporter in [*shared.made.all(), *_provided()]:
        if id(exporter) not in seen:
            seen.add(id(exporter))
            yield exporter


def _provided() -> Iterator[Any]:
    for module, name, paths in PROVIDERS:
        provider = getattr(sys.modules.get(module), name, None)
        processors = _first(provider, paths)
        if isinstance(processors, (tuple, list, set, frozenset)):
            for processor in list(processors)[:PROCESSORS]:
                exporter = _first(processor, EXPORTER)
                if exporter is not None:
                    yield exporter


def _first(owner: object, paths: tuple[str, ...]) -> Any:
    """Return the first of these attributes that exists and is not None."""
    for path in paths:
        try:
            value = attrgetter(path)(owner)
        except Exception:  # noqa: BLE001, S112 - an attribute may be the application's
            continue
        if value is not None:
            return value
    return None


def _carried(exporter: Any) -> tuple[str, str]:
    """Return an exporter's address, and the fingerprint of its DSN.

    The fingerprint is empty if the exporter has no Sentry key.
    """
    made = _made(exporter) or _Made(None, None)
    address = _text(made.endpoint) or _text(_first(exporter, ADDRESS))
    parts = PATTERN.fullmatch(address)
    for headers in (made.headers, *(_first(exporter, (path,)) for path in HEADERS)):
        key = _KEY.search(_header(headers))
        if parts and key:
            scheme, host, path, project, _ = parts.groups()
            return address, fingerprint(f"{scheme}://{key[1]}@{host}{path}{project}")
    return address, ""


def _made(exporter: Any) -> _Made | None:
    # Not getattr: an exporter may have an attribute of any name.
    made: _Made | None = getattr(exporter, "__dict__", {}).get(_MADE)
    return made


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _header(headers: Any) -> str:
    """Return the Sentry header of a mapping or of a list of pairs."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    for pair in pairs if isinstance(pairs, Iterable) else ():
        if isinstance(pair, tuple) and pair and str(pair[0]).lower() == AUTH:
            return str(pair[-1])
    return ""


def _redirect(exporter: Any, ours: Collection[str]) -> Redirect | None:
    """Return the redirect of this exporter; None if it cannot or should not follow."""
    existing: Redirect | None = getattr(exporter, "__dict__", {}).get(_REDIRECT)
    if existing is not None:
        return existing
    made = _made(exporter)
    address, mark = _carried(exporter)
    session = _first(exporter, SESSION)
    # The SDK made this exporter without a DSN: OpenTelemetry's settings say where it sends.
    is_sdks_own = made is not None and made.endpoint is None
    if not (mark in ours if mark else is_sdks_own) or not address:
        return None
    if not callable(getattr(session, "request", None)):
        return None
    redirect = Redirect(session, address, mark)
    setattr(exporter, _REDIRECT, redirect)
    session.request = redirect.request
    return redirect
