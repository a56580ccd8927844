"""Reports the agent's own errors and passes to Sentry, through the library.

All of it is off by default, and then nothing of it is imported: sentry-sdk would take
memory in every pod. The agent is one more process that runs the published snapshot, with
the role `agent`. Its receipt stands in a directory of its own: a process that looks at a
lock of its own sees none.
"""

from __future__ import annotations

import atexit
import errno
import math
import os
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.crons import capture_checkin

from agent.domain.passes import GOOD
from agent.domain.rollout import AGENT_ROLE
from agent.errors import SettingsError
from agent.observe import logs
from agent.redact import redact, redact_foreign
from resentry.target import target

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from agent.domain.passes import Passes
    from agent.settings import Settings

RECEIPTS = "agent/own-receipts"
OPTIONS: dict[str, Any] = {
    "default_integrations": False,
    "auto_enabling_integrations": False,
    "include_local_variables": False,
    "include_source_context": False,
    "max_breadcrumbs": 0,
    "max_request_body_size": "never",
    "transport_queue_size": 30,
}
BURST, EACH_SECONDS = 10.0, 360.0
"""So many events may come at once, and one more after each such time."""
CHECK_IN_SECONDS = 45.0
"""The least time between two equal check-ins."""
_THEIRS = ("sentry_sdk", "resentry", "urllib3")
"""The loggers whose lines are not reported: they tell of the way to Sentry itself."""
_NEXT = {
    errno.EEXIST: "remove the file that is there",
    errno.ENOTDIR: "remove the file that is in the place of its parent directory",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room on the volume"),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM),
        "let the agent's user write to its parent directory",
    ),
    errno.EROFS: "mount the volume writable for the agent",
}
_DIGITS = re.compile(r"[0-9a-f]*[0-9][0-9a-f]*")


class Budget:
    """Allows some events at once, and then one now and then. Any thread may spend."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left, self._at = BURST, time.monotonic()

    def spend(self) -> bool:
        """Whether one more event is allowed."""
        with self._lock:
            now = time.monotonic()
            self._left = min(BURST, self._left + (now - self._at) / EACH_SECONDS)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class OwnEvents:
    """The agent's own events. Any thread may call `report`."""

    def __init__(self, settings: Settings, version: str) -> None:
        self._settings = settings
        self._release = f"resentry-agent@{version}"
        # Many refusals leave room for the first exception.
        self._lines, self._exceptions = Budget(), Budget()
        self._check_in: tuple[str, float] = ("", 0.0)

    def start(self) -> None:
        """Run the published snapshot in this process, and report errors from now on."""
        settings = self._settings
        receipts = f"{settings.dir}/{RECEIPTS}"
        try:
            os.makedirs(receipts, 0o700, exist_ok=True)
        except OSError as error:
            hint = _NEXT.get(error.errno or 0, "look at the volume and at its rights")
            raise SettingsError(
                f"cannot make the directory {receipts}: {error.strerror}", hint
            ) from None
        environ = {
            "ENVIRONMENT": settings.environment,
            "RESENTRY_DIR": settings.dir,
            "RESENTRY_RECEIPTS": receipts,
            "RESENTRY_SIGNAL": "off",
            "RESENTRY_VERIFY": "off",
        }
        options = {**OPTIONS, "before_send": self._finished}
        target.start(AGENT_ROLE, options, environ)
        atexit.register(target.end)
        if settings.report_errors:
            logs.TAP.take = self.report

    def report(self, line: Mapping[str, Any]) -> None:
        """Report a log line of level error. It neither waits nor raises."""
        if str(line.get("logger", "")).startswith(_THEIRS):
            return
        error = line.get("exc_info")
        if error is True:
            error = sys.exc_info()[1]
        budget = self._exceptions if isinstance(error, BaseException) else self._lines
        if not budget.spend():
            return
        text = str(line.get("event"))
        with sentry_sdk.new_scope() as scope:
            scope.set_level("error")
            for name in ("outcome", "error", "revision"):
                if line.get(name):
                    scope.set_tag(f"resentry.{name}", str(line[name])[:200])
            if isinstance(error, BaseException):
                scope.set_tag("resentry.line", redact_foreign(text)[:200])
                scope.capture_exception(error)
                return
            # An outage is one issue, whatever the sentence says of times and revisions.
            kind = line.get("error") or _DIGITS.sub("", text[:80])
            scope.fingerprint = ["resentry-agent", str(kind)]
            scope.capture_message(redact_foreign(text))

    def passed(self, passes: Passes) -> None:
        """Check in with the newest pass."""
        outcome, slug = passes.outcome, self._settings.cron_monitor
        if outcome is None or not slug:
            return
        status = "ok" if outcome.kind in GOOD else "error"
        now = time.monotonic()
        if self._check_in[0] == status and now < self._check_in[1]:
            return
        self._check_in = status, now + CHECK_IN_SECONDS
        minutes = max(1, math.ceil(self._settings.poll_seconds / 60))
        capture_checkin(
            monitor_slug=slug,
            status=status,
            duration=passes.seconds,
            monitor_config={
                "schedule": {"type": "interval", "value": minutes, "unit": "minute"},
                "checkin_margin": 2 * minutes,
                "max_runtime": 1 + math.ceil(self._settings.pass_seconds / 60),
                "failure_issue_threshold": 3,
                "recovery_threshold": 1,
            },
        )

    def _finished(
        self, event: MutableMapping[str, Any], _hint: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the event without secrets. It has the agent's release, not the application's."""
        whole: dict[str, Any] = redact(dict(event))
        for exception in (whole.get("exception") or {}).get("values") or ():
            exception["value"] = redact_foreign(str(exception.get("value") or ""))
        return {**whole, "release": self._release}
