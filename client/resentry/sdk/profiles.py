"""Keeps the SDK's profilers, which belong to the process, across swaps.

Building a client would make a new continuous profiler. That would end the profile, give it
another id, and decide again by chance whether this process is profiled.
"""

from __future__ import annotations

import functools
import random
import threading
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.client import SDK_INFO
from sentry_sdk.utils import capture_internal_exceptions

from resentry.process import on_renewal
from resentry.sdk.versions import (
    IS_PLAIN,
    continuous_profiler,
    transaction_profiler,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resentry.process import Home
    from resentry.sdk.client import Client

_Buffer: Any = getattr(continuous_profiler, "ProfileBuffer", object)
_JOIN_SECONDS = 1.0


class _Chunks(_Buffer):  # type: ignore[misc]
    """A profile's buffer that begins a new chunk when another client becomes current.

    Each chunk is sent by the client under which it was sampled. Everything happens in the
    profiler's thread, so a chunk never has one client's environment and another's DSN.
    """

    def __init__(self, scheduler: Any, client: Client) -> None:
        seconds = continuous_profiler.PROFILE_BUFFER_SECONDS
        super().__init__(
            client.options, scheduler.sdk_info, seconds, client.send_envelope
        )
        self._scheduler, self._client = scheduler, client

    def write(self, monotonic_time: float, sample: Any) -> None:
        """Add a sample."""
        client: Any = sentry_sdk.get_global_scope().client
        if client is not self._client and self.goes_on(client):
            self.flush()
            self.chunk = continuous_profiler.ProfileChunk()
            self.start_monotonic_time = monotonic_time
            self._client = client
            self.options, self.capture_func = client.options, client.send_envelope
        super().write(monotonic_time, sample)

    def goes_on(self, client: Any) -> bool:
        """Whether this client is ours, and something is profiled under it.

        One more sample comes after the last trace has ended. It belongs to the old client.
        """
        by_hand = self._scheduler.lifecycle != "trace"
        is_ours = getattr(client, "is_of_resentry", False)
        return is_ours and bool(by_hand or self._scheduler.active_profiles)


class _Aside:
    """Replaces the continuous profiler while it may not run.

    It may not run while transactions are profiled, because the SDK runs only one of the
    two profilers, and while its session is not sampled. What the application asks of the
    continuous profiler meanwhile is done when it comes back.
    """

    sampled = running = False
    profiler_id = None

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.lock = threading.Lock()
        self._is_wanted = scheduler.running and scheduler.lifecycle == "manual"

    def is_auto_start_enabled(self) -> bool:
        """Never start."""
        return False

    def auto_start(self) -> None:
        """Profile no trace."""

    def manual_start(self) -> None:
        """Start later."""
        with self.lock:
            self._is_wanted = True
            if current() is self.scheduler:  # it has just come back
                self.scheduler.manual_start()

    def manual_stop(self) -> None:
        """Do not start later."""
        with self.lock:
            self._is_wanted = False
            if current() is self.scheduler:
                self.scheduler.manual_stop()

    def give_way(self) -> None:
        """Put the continuous profiler back. Nobody may call it while it starts."""
        with self.lock:
            if self._is_wanted:
                self.scheduler.manual_start()
            _put(self.scheduler)


_own: Any = None
"""The continuous profiler that was made for a client of ours. Others are not touched."""


def adopt(before: Any) -> None:
    """Note the profiler that the SDK has made for a client of ours, if there is a new one."""
    global _own  # noqa: PLW0603 - see below
    made = current()
    if made is not None and made is not before:
        _own = made


def current() -> Any:
    """Return the continuous profiler, whoever made it, or None."""
    return continuous_profiler._scheduler  # noqa: SLF001


def follow(client: Client) -> None:
    """Run the profiler that the current client's options ask for. Never raises."""
    if IS_PLAIN:
        return
    with capture_internal_exceptions():
        if transaction_profiler.has_profiling_enabled(client.options):
            if transaction_profiler._scheduler is None:  # noqa: SLF001
                transaction_profiler.setup_profiler(client.options)
            _put_aside()
        else:
            _bring_back(client)


def _put_aside() -> None:
    scheduler = current()
    if scheduler is not _own or scheduler is None or isinstance(scheduler, _Aside):
        return
    _put(_Aside(scheduler))
    # Not its `teardown`: the application may be in `stop_profiler` now.
    scheduler.running = False
    if isinstance(scheduler.thread, threading.Thread):
        scheduler.thread.join(_JOIN_SECONDS)


def _bring_back(client: Client) -> None:
    scheduler = current()
    if scheduler is None:
        continuous_profiler.setup_continuous_profiler(
            client.options, sdk_info=SDK_INFO, capture_func=client.send_envelope
        )
        adopt(None)
        scheduler = current()
    if scheduler is not _own:
        return
    aside = scheduler if isinstance(scheduler, _Aside) else None
    if aside is not None:
        scheduler = aside.scheduler
    is_sampled = _is_sampled(scheduler, client)
    scheduler.options, scheduler.capture_func = client.options, client.send_envelope
    scheduler.reset_buffer = functools.partial(_reset_buffer, scheduler, client)
    if not is_sampled:
        _put_aside()
    elif aside is not None:
        aside.give_way()


def _is_sampled(scheduler: Any, client: Client) -> bool:
    """Return whether this process's session is sampled under the client's rate.

    The process has one random number for all rates. So a higher rate adds processes, and
    a lower rate ends sessions, but the same rate never draws again.
    """
    last, rate = _rate(scheduler.options), _rate(client.options)
    if not hasattr(scheduler, "resentry_number"):
        # The SDK has drawn at the rate `last`, and has kept only the result.
        number = random.random()  # noqa: S311 - no secret
        low, high = (0.0, last) if scheduler.sampled else (last, 1.0)
        scheduler.resentry_number = low + number * (high - low)
    if rate != last:
        scheduler.sampled = scheduler.resentry_number < rate
    return bool(scheduler.sampled)


def _rate(options: Mapping[str, Any]) -> float:
    return min(max(float(options.get("profile_session_sample_rate") or 0.0), 0.0), 1.0)


def _put(scheduler: Any) -> None:
    global _own  # noqa: PLW0603 - a process has one
    continuous_profiler._scheduler = _own = scheduler  # noqa: SLF001


def _reset_buffer(scheduler: Any, client: Client) -> None:
    scheduler.buffer = _Chunks(scheduler, client)


def end_idle() -> None:
    """End the transaction profiler's thread if nothing is profiled any more.

    The SDK never ends that thread. Raises RuntimeError while the thread is being started:
    call this again later.
    """
    options = sentry_sdk.get_global_scope().client.options
    scheduler = None if IS_PLAIN else transaction_profiler._scheduler  # noqa: SLF001
    if scheduler and not transaction_profiler.has_profiling_enabled(options):
        # The scheduler stays: another one would add another exit handler.
        scheduler.teardown()


def _renew_lock(_home: Home) -> None:
    if isinstance(_own, _Aside):
        _own.lock = threading.Lock()


on_renewal(_renew_lock)
