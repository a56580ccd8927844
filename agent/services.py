"""What the daemon needs only after its first pass: HTTP, control socket, schedule, watch.

What cannot be started, or is lost, is tried again. The daemon goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import structlog

from agent import control, lean
from agent.call import LOG_LEVEL, STATUS, identity
from agent.confirm.watch import watch_receipts
from agent.domain.value import Value
from agent.domain.view import Problem
from agent.errors import AgentError
from agent.observe import document, health, logs
from agent.observe.http import Sources, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.domain.passes import Passes
    from agent.domain.view import View
    from agent.observe.metrics import Metrics
    from agent.observe.own import OwnEvents
    from agent.settings import Settings

CONTROL = "RESENTRY_CONTROL"
AGAIN_SECONDS = 5.0
"""The time between two tries to start what could not be started."""

log = structlog.get_logger()


class Doors(Value, frozen=True):
    """The functions of the daemon that threads of services may call."""

    view: Callable[[], View]
    read: Callable[[], View]
    """Return what is known, with the receipts read now."""
    findings: Callable[[View], Any] | None
    ask: Callable[[dict[str, Any]], dict[str, Any]]
    poll: Callable[[], None]
    look: Callable[[], None]
    """Have the loop read the receipts, because they may have changed."""
    has_volume: Callable[[], bool]
    """Only the agent that has the volume answers at the control socket."""
    fill: Callable[[Metrics], None]
    """Set new metrics to what is known, before anybody reads them."""


class Services:
    """All services. Only the loop's thread calls the methods.

    `problems` says what does not run, and why.
    """

    def __init__(self, settings: Settings, version: str, doors: Doors) -> None:
        self._settings = settings
        self._version = version
        self._doors = doors
        self._metrics: Future[Metrics] = Future()
        examine = doors.findings
        sources = Sources(
            doors.view,
            lambda: document.whole(doors.read()),
            self._render,
            settings,
            None if examine is None else lambda: examine(doors.read()),
            version,
        )
        http, probes = settings.http_listen, settings.probes_listen
        self._waiting: dict[str, Callable[[], None]] = {
            CONTROL: self._serve_control,
            "RESENTRY_HTTP_LISTEN": lambda: serve(sources, http, None),
            "RESENTRY_PROBES_LISTEN": lambda: serve(sources, None, probes),
        }
        if settings.report_errors or settings.cron_monitor:
            self._waiting["RESENTRY_REPORT_ERRORS"] = self._start_own_events
        self._own_events: OwnEvents | None = None
        self._passes: Passes | None = None
        self._control: socket.socket | None = None
        self._socket_mark: tuple[int, int] | None = None
        self._receipts_mark: tuple[int, int] | None = None
        self._end_watch: Callable[[], None] | None = None
        self._again_at = 0.0
        self.problems: tuple[Problem, ...] = ()
        self.tend()  # the health checks are answered while the rest is imported
        lean.load("prometheus_client")
        lean.load("apscheduler.schedulers.base")
        from agent.observe.metrics import Metrics  # noqa: PLC0415 - as `load` left it
        from agent.schedule import Schedule  # noqa: PLC0415 - as above

        metrics = Metrics(version, settings.poll_seconds)
        doors.fill(metrics)
        self._metrics.set_result(metrics)
        self.schedule = Schedule(settings.poll_seconds, doors.poll)
        gc.enable()  # `run` has disabled it for the start

    @property
    def metrics(self) -> Metrics:
        """The metrics. A thread that asks too early waits for them."""
        return self._metrics.result()

    @property
    def is_watching(self) -> bool:
        """Whether a new receipt is noticed at once."""
        return self._end_watch is not None

    @property
    def again_at(self) -> float:
        """When `tend` will try again, or a pass is due, as a monotonic time."""
        planned = self.schedule.again_at
        return min(planned, self._again_at) if self._waiting else planned

    def _render(self) -> bytes:
        return self.metrics.render()

    def tend(self) -> None:
        """Start what does not run, and what was lost."""
        self._look_at_control()
        self._look_at_receipts()
        self._check_in()
        now = time.monotonic()
        if not self._waiting or now < self._again_at:
            return
        problems = {}
        waiting = dict(self._waiting)
        if not self._doors.has_volume():
            waiting.pop(CONTROL, None)
        for name, start in waiting.items():
            try:
                start()
            except AgentError as error:
                problems[name] = Problem(name, error.what, error.hint)
            except RuntimeError as error:  # the system has no thread left
                hint = "raise the limit of processes or PIDs of the container"
                problems[name] = Problem(name, f"cannot start a thread: {error}", hint)
            else:
                del self._waiting[name]
        self._again_at = now + AGAIN_SECONDS
        self.problems = tuple(problems.values())

    def stop(self) -> None:
        """Start no further pass, and watch nothing."""
        self.schedule.stop()
        if self._end_watch is not None:
            self._end_watch()

    def _serve_control(self) -> None:
        self._control = control.serve(self._settings.control_path, self._answer)
        self._socket_mark = _mark(self._settings.control_path)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a request. A thread of the control socket calls this.

        What is known is answered at once, also while the loop is busy.
        """
        if request.get("command") == LOG_LEVEL:
            level = logs.change_level(request.get("level"))
            if request.get("level") is not None:
                self.metrics.asked(LOG_LEVEL, "changed")
            return {"level": level, "at_start": self._settings.log_level}
        if request != STATUS:
            return self._doors.ask(request)
        view, settings = self._doors.view(), self._settings
        is_live, sentence = health.live(view, settings, time.monotonic())
        return {
            "dir": settings.dir,
            "volume": identity(settings.dir),
            "stuck": "" if is_live else sentence,
            "state": document.state(view),
        }

    def _look_at_control(self) -> None:
        path, has_volume = self._settings.control_path, self._doors.has_volume()
        if self._control is None or (has_volume and _mark(path) == self._socket_mark):
            return
        if has_volume:
            log.warning(
                f"the control socket {path} was removed or replaced; opening it again",  # noqa: G004
                hint="find out who else writes there: only the agent may",
            )
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()
        self._control, self._again_at = None, 0.0
        self._waiting[CONTROL] = self._serve_control

    def _start_own_events(self) -> None:
        # It imports sentry-sdk, which agents without it do not pay.
        from agent.observe.own import OwnEvents  # noqa: PLC0415

        own_events = OwnEvents(self._settings, self._version)
        own_events.start()
        self._own_events = own_events

    def _check_in(self) -> None:
        passes = self._doors.view().passes
        if self._own_events is not None and passes is not self._passes:
            self._own_events.passed(passes)
            self._passes = passes

    def _look_at_receipts(self) -> None:
        """Watch the receipts' directory, once it is there."""
        if self._end_watch is not None:
            return
        receipts = self._settings.receipts_dir
        mark = _mark(receipts)
        if mark == self._receipts_mark:
            return
        if not os.path.isdir(receipts):  # each pass makes it, or says what is there
            return
        self._receipts_mark = mark
        end = watch_receipts(receipts, self._doors.look)
        if end is None:
            log.warning(
                "receipts are read once a second: no inotify instance is left on this node",
                hint="raise fs.inotify.max_user_instances",
            )
            return
        self._end_watch = end
        self._doors.look()  # a receipt may have changed right before


def _mark(path: str) -> tuple[int, int] | None:
    """Return device and inode of a file; `None` if there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
