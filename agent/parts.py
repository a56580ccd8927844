"""Makes the parts of the agent from its settings. No other module does."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from agent._version import __version__
from agent.confirm.receipts import Receipts
from agent.domain.dsn_check import Times
from agent.domain.value import Value, replace
from agent.dsn_check.checker import Checker
from agent.dsn_check.gate import Gate
from agent.dsn_check.send import check_sender
from agent.errors import PublishError, SettingsError
from agent.listen import must_be_free, must_be_usable
from agent.notify.http import Receivers, notify_sender
from agent.notify.signal import Signals
from agent.protect import protect, return_memory
from agent.publish.volume import Volume
from agent.source import NoTuning
from agent.source.choose import open_source
from agent.source.late import LateSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.domain.view import View
    from agent.settings import Loaded, Settings
    from agent.source import Source

RESTART_HINT = "restart the agent after a change of a setting: it reads its settings only at its start"
USER_AGENT = f"resentry-agent/{__version__}"


class Parts(Value, frozen=True):
    """The parts in the order in which a pass uses them. A part that is off does nothing."""

    settings: Settings
    source: Source
    gate: Gate
    volume: Volume
    signals: Signals
    receivers: Receivers
    receipts: Receipts
    findings: Callable[[View], Any] | None = None
    """Examines a view as `doctor` does, without asking any server."""
    tuning: NoTuning = NoTuning()
    problem: SettingsError | None = None
    """Why nothing new is published until the agent is restarted with good settings."""

    def report(self) -> dict[str, Any]:
        """Return what the parts say of themselves, by its name in a `View`."""
        return {
            "dsn_checks": self.gate.report(),
            "deliveries": self.receivers.report(),
            "tuning": self.tuning.report(),
            "problems": self.tuning.problems,
        }


def assemble(settings: Settings) -> Parts:
    """Make the parts, and lock the volume for this process.

    From then on, other processes cannot look into this one.
    """
    protect()
    return_memory()
    # Wrong settings are found before the first directory is made.
    source = open_source(settings, USER_AGENT)
    tuning = _open_tuning(settings)
    volume = Volume(settings.dir, settings.receipts_dir, settings.group)
    volume.open()
    return _parts(settings, source, volume, tuning)


def assemble_for_run(loaded: Loaded) -> Parts:
    """Make the parts for the daemon.

    Without a snapshot on the volume, anything that is wrong is raised. With one, the daemon
    goes on: the parts say at each pass what is wrong, and try again.
    """
    settings, problem = loaded.settings, loaded.problem
    if not Volume(settings.dir, settings.receipts_dir).is_used():
        if problem is not None:
            raise problem
        for address in (settings.http_listen, settings.probes_listen):
            must_be_free(address)
        must_be_usable(settings.control_path)
        return assemble(settings)
    protect()
    return_memory()
    try:
        volume = Volume(settings.dir, settings.receipts_dir, settings.group)
    except SettingsError as error:
        problem = problem or error
        volume = Volume(settings.dir, settings.receipts_dir)
    with contextlib.suppress(PublishError):  # the next pass tries again, and says so
        volume.open()
    source: Source
    try:
        source = _open_source(settings, problem)
    except SettingsError:
        source = LateSource(partial(_open_source, settings, problem))
    parts = _parts(settings, source, volume, _tuning_for_run(loaded))
    if problem is None:
        return parts
    return replace(parts, problem=_with_restart(problem))


def _open_tuning(settings: Settings) -> NoTuning:
    if not settings.tuning_path:
        return NoTuning()
    from agent.source.tuning import open_tuning  # noqa: PLC0415 - most have no such file

    return open_tuning(settings)


def _tuning_for_run(loaded: Loaded) -> NoTuning:
    """Return the tuning file. With settings that are wrong, what is in force stays."""
    try:
        if loaded.problem is None:
            return _open_tuning(loaded.settings)
        problem = None
    except SettingsError as error:
        problem = _with_restart(error)
    from agent.source.tuning import KeptTuning  # noqa: PLC0415 - as above

    return KeptTuning(problem)


def _open_source(settings: Settings, problem: SettingsError | None) -> Source:
    try:
        if problem is not None:
            raise problem
        return open_source(settings, USER_AGENT)
    except SettingsError as error:
        raise _with_restart(error) from None


def _with_restart(error: SettingsError) -> SettingsError:
    """Return the error with a hint for an agent that goes on with what is published."""
    return SettingsError(
        error.what, "; ".join(filter(None, (error.hint, RESTART_HINT)))
    )


def _parts(
    settings: Settings, source: Source, volume: Volume, tuning: NoTuning
) -> Parts:
    checker = Checker(
        Times(settings.dsn_check_seconds),
        check_sender(USER_AGENT),
        is_glitchtip=settings.dsn_check_backend == "glitchtip",
    )
    send = notify_sender(
        settings.notify_headers.headers, USER_AGENT, settings.notify_seconds
    )
    return Parts(
        settings,
        source,
        Gate(checker, settings.dsn_check),
        volume,
        Signals(is_on=settings.signal is not None),
        Receivers(settings.notify_urls, send, settings.notify_status),
        Receipts(settings.receipts_dir, tidy=True),
        tuning=tuning,
    )
