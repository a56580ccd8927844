"""Which versions of sentry-sdk are supported, and which private names a swap needs."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk import integrations, scope, tracing, tracing_utils
from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.transport import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LogBatcher", "collected", "continuous_profiler", "transaction_profiler"]

try:
    from sentry_sdk.profiler import continuous_profiler, transaction_profiler
except ImportError:  # `missing` says so, and nobody uses them
    continuous_profiler = transaction_profiler = None  # type: ignore[assignment]

collected: Any = None
"""The SDK's function that turns `send_default_pii` into the option `data_collection`."""
with contextlib.suppress(ImportError):
    from sentry_sdk.data_collection import _map_from_send_default_pii as collected

try:
    from sentry_sdk._log_batcher import LogBatcher
except ImportError:  # versions that always make one need no other
    LogBatcher = None  # type: ignore[assignment,misc]

try:
    from sentry_sdk.traces import StreamedSpan
except ImportError:  # the oldest versions stream no spans
    StreamedSpan = None  # type: ignore[assignment,misc]

OLDEST, BEYOND = (2, 43), (3,)
"""The supported versions, as in `client/pyproject.toml`."""

PRIVATE: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "Client": (sentry_sdk.Client, ("_init_impl", "_setup_instrumentation")),
    "HttpTransport": (
        HttpTransport,
        (
            *("_fetch_pending_client_report", "_make_pool", "_request"),
            *("_send_envelope", "_update_rate_limits"),
        ),
    ),
    "Transaction": (
        tracing.Transaction,
        ("_baggage", "_sample_rand", "_set_initial_sampling_decision"),
    ),
    "integrations": (integrations, ("_installer_lock",)),
    "continuous_profiler": (
        continuous_profiler,
        (
            "PROFILE_BUFFER_SECONDS",
            "ProfileBuffer",
            "ProfileChunk",
            "_scheduler",
            "setup_continuous_profiler",
        ),
    ),
    "transaction_profiler": (
        transaction_profiler,
        ("_scheduler", "has_profiling_enabled", "setup_profiler"),
    ),
}
"""The private names that a swap needs to lose nothing, and that rules need to work."""

STREAMING: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "scope": (scope, ("_make_sampling_decision",)),
    "StreamedSpan": (StreamedSpan, ("_sample_rate", "_segment")),
}
"""The private names that are needed if the SDK can stream spans."""
FOLLOWS_CALLER = (2, 65)
"""From this version on the SDK streams what a caller wants, even if tracing is off."""


def version() -> tuple[int, ...]:
    """Return major and minor version of the installed sentry-sdk."""
    return tuple(map(int, re.findall(r"\d+", sentry_sdk.VERSION)[:2]))


def follows_caller(options: Mapping[str, Any]) -> bool:
    """Whether spans are sent by these options because the caller wants it, with tracing off."""
    check = getattr(tracing_utils, "has_span_streaming_enabled", None)
    is_streamed = check is not None and check(options)
    return is_streamed and version() >= FOLLOWS_CALLER


def missing() -> list[str]:
    """Return the needed names that this version of sentry-sdk lacks."""
    streams = "trace_lifecycle" in DEFAULT_OPTIONS
    needed = {**PRIVATE, **(STREAMING if streams else {})}
    lacks = [
        f"{owner}.{name}"
        for owner, (where, names) in needed.items()
        for name in names
        if not hasattr(where, name)
    ]
    if collected is None and "data_collection" in DEFAULT_OPTIONS:
        lacks.append("data_collection._map_from_send_default_pii")
    return lacks


def is_known() -> bool:
    """Whether this version of sentry-sdk is supported."""
    return OLDEST <= version() < BEYOND


IS_PLAIN = bool(missing()) or not is_known()
"""Whether `resentry.fallback` makes the swaps: it needs only the SDK's public names."""


def described() -> str:
    """Return the version of sentry-sdk, and what is wrong with the version."""
    name = str(sentry_sdk.VERSION)
    fall_back = "falling back to simple swaps; events may be lost"
    if not is_known():
        return f"{name} is not supported (>=2.43,<3): {fall_back}"
    if missing():
        return f"{name} lacks {', '.join(missing())}: {fall_back}"
    return name
