"""The daemon: one thread changes what is known, and the volume.

This is the main thread, in its loop. A pass reads in a thread of its own, and posts its
reading. All other threads post calls, or read the newest `View`.
"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from agent import lean
from agent.backoff import NEVER
from agent.confirm.receipts import Receipts
from agent.domain.outcome import Outcome
from agent.domain.passes import Moment, Passes
from agent.domain.rollout import DONE
from agent.domain.timeline import followed
from agent.domain.value import replace
from agent.domain.view import Known, View
from agent.domain.wishes import next_end
from agent.errors import REPORT, SettingsError, WishRefused, unexpected
from agent.following import UNFINISHED_SECONDS, Following, read_rollout
from agent.loop import Loop
from agent.notify.signal import Reminders
from agent.observe import changes
from agent.operator import Desk, Grounds, remarked
from agent.passing import Passing
from agent.pipeline import NOT_READ, Pipeline
from agent.record import Record
from agent.serving import Serving
from agent.verification import VERIFY_COMMANDS, Verification

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from agent.observe.metrics import Metrics
    from agent.parts import Parts
    from agent.pipeline import Reading
    from agent.services import Services

SERVICES_SECONDS = 1.0
"""The services start after the first pass, or after this time."""

log = structlog.get_logger()


class Daemon:
    """Runs passes and answers operators, until `stop` is called."""

    def __init__(self, parts: Parts, version: str) -> None:
        now = time.monotonic()
        self._parts = parts
        self._version = version
        self._settings = parts.settings
        self._pipeline = Pipeline(parts)
        self._record = Record(parts.volume, now)
        self._loop = Loop()
        self._passing = Passing(
            self._pipeline,
            self._settings.pass_seconds,
            lambda *ended: self._loop.post(partial(self._after_reading, *ended)),
        )
        self._desk = Desk(self._settings, parts.problem)
        self._verification = Verification(parts.volume, self._settings)
        self._serving = Serving(
            self._loop.post, self._carry_out, self._refresh, self._settings.pass_seconds
        )
        known = self._pipeline.known
        self._following = Following(parts.receipts, self._settings, known)
        self._reminders = Reminders(parts.signals)
        self._services: Services | None = None
        self._metrics: Metrics | None = None
        jitter = random.uniform(0, self._settings.start_jitter_seconds)  # noqa: S311
        self._passing.overdue_at = now + jitter  # the schedule plans the others
        self._boost_ends_at = NEVER
        self._give_up_at = now + self._settings.startup_seconds
        rollout = self._following.rollout
        self.view = self._record.first_view(known, rollout, parts.source.report())
        """The newest view. Only the loop's thread replaces it."""

    def run(self) -> bool:
        """Run until `stop` is called. Returns false if a pass is still running then."""
        changes.log_start(self._settings, self._version)
        self._parts.gate.on_report_change(self._loop.wake)
        self._parts.receivers.on_report_change(self._loop.wake)
        self._parts.source.on_change(self.poll)
        tell = partial(self._publish_now, changes.log_tuning)
        self._parts.tuning.on_change(lambda: self._loop.post(tell))
        try:
            while not self._loop.is_ended:
                if self._services is None:
                    self._loop.safely(self._start_services)
                self._loop.safely(self._turn)
                self._loop.safely(self._look)
        finally:
            ended = self._leave()
        return ended

    # Any thread may call these

    def stop(self) -> None:
        """Make `run` return."""
        self._loop.post(self._loop.end)

    def poll(self) -> None:
        """Start a pass at once, or right after the running pass."""
        self._loop.post(self._passing.start_at_once)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out an operator's request. Return the answer, or raise `AgentError`."""
        answer = self._serving.ask(request)
        if isinstance(answer, Outcome):
            from agent.observe import document  # noqa: PLC0415 - the first pass needs none

            return document.answer(answer, self._pipeline.known.current)
        return answer

    def read(self) -> View:
        """Return what is known, with the receipts read now."""
        view, receipts = self.view, Receipts(self._settings.receipts_dir)
        rollout = read_rollout(receipts, self._settings, view.known)
        return replace(view, rollout=rollout)

    def _receipts_changed(self) -> None:
        self._following.changed()
        self._loop.wake()

    # Only the loop's thread calls these

    def _start_services(self) -> None:
        """Start the services when the first pass has ended or takes too long."""
        is_early = time.monotonic() < self.view.began_at + SERVICES_SECONDS
        if self.view.passes.outcome is None and is_early:
            return
        lean.load("waitress")
        from agent.services import Doors, Services  # noqa: PLC0415 - as `load` left it

        nothing = View(Known(), Passes(0.0), 0.0, self.view.rollout)
        doors = Doors(
            view=lambda: self.view,
            read=self.read,
            findings=self._parts.findings,
            ask=self.ask,
            poll=self._passing.start,
            look=self._receipts_changed,
            has_volume=self._parts.volume.is_ours,
            fill=partial(changes.count_changes, nothing, self.view),
        )
        self._services = Services(self._settings, self._version, doors)
        self._metrics = self._services.metrics
        planned = self._planned(self.view.passes)
        self.view = replace(self.view, next_pass_at=planned)

    def _turn(self) -> None:
        until = time.monotonic() + UNFINISHED_SECONDS
        try:
            until = self._wake_at()
        finally:
            self._loop.turn(until)

    def _wake_at(self) -> float:
        """Return when to look again if nobody posts a call, as a monotonic time."""
        now, services = time.monotonic(), self._services
        times = [self._boost_ends_at, self._give_up_at, self._parts.gate.again_at]
        if not self._passing.is_running:
            times.append(self._passing.overdue_at)
        times.append(services.again_at if services else now + SERVICES_SECONDS)
        return min(*times, self._verification.ends_at, self._following.again_at)

    def _look(self) -> None:
        """Do what is due, and take in receipts, DSN checks and deliveries."""
        was_running = self._passing.is_running
        if self._services is not None:
            self._services.schedule.look()
        self._passing.start_if_overdue()
        if self._passing.is_running and not (was_running or self._loop.has_called):
            return  # the end of the pass is the next turn
        now = time.monotonic()
        self._verification.look()
        if self._services is not None:
            self._services.tend()
        if now >= self._give_up_at:
            self._give_up_at = NEVER
            changes.log_start_without(self.view, self._settings)
        if now >= self._boost_ends_at:
            self._publish_now(changes.log_boost_end)
        rollout = self._following.look(self._pipeline.known)
        self._parts.gate.check_idle(self._pipeline.known.current, rollout)
        is_confirmed = self._pipeline.known.is_own and rollout.state in DONE
        now = time.monotonic()  # a boost may have ended, and been confirmed, since
        confirmed_at = self.view.confirmed_at or (now if is_confirmed else None)
        self._update(rollout=rollout, confirmed_at=confirmed_at)
        self._record.note(self.view)
        if rollout.state not in DONE:
            self._reminders.remind(self.view.known.current, rollout.late)

    def _update(self, **news: Any) -> None:
        """Replace the view. Log and count what has changed."""
        before, known = self.view, self._pipeline.known
        if known.published_at != before.known.published_at:
            rollout = self._following.look(known)
            news = {"confirmed_at": None, "rollout": rollout} | news
        news |= {"known": known, **self._parts.report()}
        services = self._services.problems if self._services else ()
        news["problems"] += self._record.problems + services
        after = replace(before, **news)
        if after == before and not before.cuts:  # these end with time
            return
        after = followed(before, after, time.time())
        changes.log_changes(before, after)  # before others can see the new view
        changes.count_changes(before, after, self._metrics)
        self.view = after
        if before.reports != after.reports:
            self._record.save(after)
        if before.dsn_checks != after.dsn_checks and after.passes.is_waiting:
            self._passing.start()  # the candidate may be published now, or be refused

    def _publish_now(self, log_end: Callable[[Outcome, Metrics | None], None]) -> None:
        """Publish between two passes, and log what that came to."""
        log_end(self._publish(partial(self._pipeline.publish, NOT_READ)), self._metrics)
        self._update()

    def _publish(self, publish: Callable[[], Outcome]) -> Outcome:
        """Publish. The caller logs the outcome, and updates the view after that."""
        try:
            outcome = publish()
        except Exception:
            log.exception("publishing failed with an internal error", hint=REPORT)
            outcome = Outcome.kept(unexpected(), self._pipeline.known.current)
        seconds = next_end(self._pipeline.known.current, time.time())
        self._boost_ends_at = NEVER if seconds is None else time.monotonic() + seconds
        return outcome

    def _after_reading(self, reading: Reading, began: float) -> None:
        """Publish what a pass has read, under the wishes of now."""
        outcome = self._publish(partial(self._pipeline.publish, reading))
        try:
            moment = Moment(time.time(), time.monotonic())
            passes = self.view.passes.after(outcome, moment, moment.monotonic - began)
            self._parts.receivers.notify(self._pipeline.known.current)  # if not before
            source, planned = self._parts.source.report(), self._planned(passes)
            self._update(passes=passes, source=source, next_pass_at=planned)
        finally:
            self._passing.finish(outcome)
        self._record.save_pass(self.view)

    def _planned(self, passes: Passes) -> float | None:
        """Plan the next pass by the outcome of the newest one. Return when it will be."""
        if self._services is None or passes.outcome is None:
            return None
        schedule, due = self._services.schedule, self._parts.source.due_seconds()
        planned = schedule.passed(passes.outcome, passes.failures, due)
        self._passing.overdue_at = schedule.overdue_at
        return planned

    def _carry_out(self, request: dict[str, Any]) -> Outcome | dict[str, Any]:
        """Carry out an operator's request, and follow what it publishes."""
        history = self._parts.volume.memory.history()
        grounds = Grounds(self._pipeline.known, self._record.rejections, history)
        try:
            if request["command"] in VERIFY_COMMANDS:
                return self._verification.serve(request)
            wishes = self._desk.wishes(request, grounds)
        except (WishRefused, SettingsError) as error:
            changes.log_refused_request(error, request["command"], self._metrics)
            raise
        outcome = self._publish(partial(self._pipeline.grant, wishes))
        outcome = remarked(outcome, request, grounds.known, self.view.rollout)
        changes.log_request(outcome, request["command"], self._metrics)
        self._update()
        return outcome

    def _refresh(self, request: dict[str, Any], answer: Future[Outcome]) -> None:
        log_end = changes.log_refresh
        answer.add_done_callback(lambda done: log_end(done.result(), self._metrics))
        older = bool(request.get("accept_older"))
        self._passing.start_at_once(answer, accept_older=older)

    def _leave(self) -> bool:
        """Stop within a second. Returns false if a pass is still running."""
        if self._services is not None:
            self._services.stop()
        self._verification.end()
        ended = self._passing.leave(self._parts.source)
        self._record.save(self.view)
        self._parts.volume.close()
        if self._loop.is_ended:  # else an error follows, which says why it ends
            log.info("agent stopped; the published snapshot stays on the volume")
        return ended
