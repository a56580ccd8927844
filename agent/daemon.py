"""The daemon: one thread changes what is known, and the volume.

That is the main thread, in its loop. A pass reads in a thread of its own, and posts what
it found. Everybody else posts a call, or reads the newest `View`.
"""

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from agent.confirm.receipts import Receipts
from agent.domain.outcome import Outcome
from agent.domain.passes import Moment, Passes
from agent.domain.rejections import Rejections
from agent.domain.rollout import DONE, Rollout
from agent.domain.view import View
from agent.domain.wishes import next_end, revision_without_boosts
from agent.errors import AgentError
from agent.loop import Loop
from agent.notify.signal import Reminders
from agent.observe import document
from agent.observe.changes import count_changes, log_changes, log_request
from agent.operator import Desk, Grounds
from agent.passing import UNEXPECTED, Passing
from agent.pipeline import NOT_READ, Pipeline
from agent.publish.memory import STATE

if TYPE_CHECKING:
    from agent.domain.wishes import Wishes
    from agent.observe.metrics import Metrics
    from agent.parts import Parts
    from agent.pipeline import Reading
    from agent.schedule import Schedule

SERVICES_SECONDS = 1.0
"""How long the health checks wait for the first pass before they answer without it."""
LOOK_SECONDS = 1.0
"""Between two looks at the receipts while a rollout is not finished."""
ANSWER_SECONDS = 5.0
"""How much longer than a pass an operator's request may take."""
LEAVE_SECONDS = 0.6
REVOKE_SECONDS = 0.3
"""At the end, for giving the token back: one that is not given back ends by itself."""
NEVER = float("inf")

log = structlog.get_logger()


class Daemon:
    """Runs passes, and answers operators, until it is told to stop."""

    def __init__(self, parts: Parts, version: str) -> None:
        now = time.monotonic()
        self._parts = parts
        self._version = version
        self._settings = parts.settings
        self._pipeline = Pipeline(parts)
        state = document.decode_state(parts.volume.memory.read(STATE))
        self._rejections = Rejections.from_document(state.get("rejections"))
        self._loop = Loop()
        self._passing = Passing(
            self._pipeline,
            self._settings.pass_seconds,
            lambda *found: self._loop.post(partial(self._after_reading, *found)),
        )
        self._desk = Desk(self._settings)
        self._reminders = Reminders(parts.signals)
        self._metrics: Metrics | None = None
        self._schedule: Schedule | None = None
        jitter = random.uniform(0, self._settings.start_jitter_seconds)  # noqa: S311
        self._due_at = now + jitter  # of the first pass; then the schedule's counts
        self._boost_ends_at = NEVER
        self._is_watching = self._is_stopping = False
        self.view = View(
            self._pipeline.known,
            Passes.resumed(state, now),
            now,
            self._rollout(parts.receipts),
            source=parts.source.report(),
        )
        """The newest; made and replaced by the loop's thread alone."""

    def run(self) -> bool:
        """Poll until `stop` is called; return false if a pass is still stuck."""
        self._parts.gate.on_report_change(self._loop.wake)
        self._parts.receivers.on_report_change(self._loop.wake)
        self._parts.source.on_change(self.poll)
        try:
            while not self._is_stopping:
                if self._schedule is None:
                    self._start_services()
                self._loop.turn(self._wake_at())
                self._loop.safely(self._look)
        finally:
            ended = self._leave()
        return ended

    # Whatever thread calls these

    def stop(self) -> None:
        """Have `run` end."""
        self._loop.post(self._stop)

    def poll(self) -> None:
        """Have a pass begin at once, or right after the one that runs."""
        self._loop.post(self._passing.start_at_once)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry an operator's request out, and return the answer.

        `AgentError` says no; `KeyError`, `TypeError` or `ValueError`, that it is none.
        """
        answer: Future[Outcome] = Future()
        self._loop.post(partial(self._serve, request, answer))
        seconds = self._settings.pass_seconds + ANSWER_SECONDS
        try:
            outcome = answer.result(seconds)
        except TimeoutError:
            raise AgentError(
                f"{request['command']} got no answer within {seconds:g} s: "
                "a pass, or writing to the volume, hangs",
                "the agent goes on with the request; resentry-agent status shows what "
                "came of it",
            ) from None
        return document.answer(outcome, self._pipeline.known.current)

    def document(self) -> document.Whole:
        """Return what is known, as `/status` shows it, with the receipts of now."""
        receipts = Receipts(self._settings.receipts_dir)
        return document.whole(replace(self.view, rollout=self._rollout(receipts)))

    # In the loop's thread

    def _stop(self) -> None:
        self._is_stopping = True

    def _start_services(self) -> None:
        """Start what the first pass does without, once it has ended or takes long."""
        is_late = time.monotonic() >= self.view.began_at + SERVICES_SECONDS
        if self.view.passes.outcome is None and not is_late:
            return
        from agent import services  # noqa: PLC0415 - as above

        self._metrics, self._schedule, self._is_watching = services.start(
            self._settings,
            self._version,
            services.Doors(
                view=lambda: self.view,
                document=self.document,
                ask=self.ask,
                poll=lambda: self._loop.post(self._passing.start),
                wake=self._loop.wake,
            ),
        )
        nothing = replace(self.view, passes=Passes(0.0), confirmed_at=None)
        count_changes(nothing, self.view, self._metrics)
        self._plan()

    def _wake_at(self) -> float:
        """When there is something to do even if nobody posts a call."""
        times = [self._boost_ends_at]
        if not self._passing.is_running:
            times.append(self._overdue_at)
        if self._schedule is None:
            times.append(self.view.began_at + SERVICES_SECONDS)
        if self.view.rollout.is_unfinished or not self._is_watching:
            times.append(time.monotonic() + LOOK_SECONDS)
        return min(times)

    @property
    def _overdue_at(self) -> float:
        planned = self._schedule.overdue_at if self._schedule else NEVER
        return min(planned, self._due_at)

    def _look(self) -> None:
        """Do what is due, and take in what others have written."""
        now = time.monotonic()
        if now >= self._overdue_at and not self._passing.is_running:
            self._due_at = NEVER
            self._passing.start()
        if now >= self._boost_ends_at:
            self._publish(NOT_READ, self._pipeline.known.wishes)
        rollout = self._rollout(self._parts.receipts)
        confirmed_at = self.view.confirmed_at
        if confirmed_at is None and self._pipeline.known.is_own:
            confirmed_at = now if rollout.state in DONE else None
        self._update(rollout=rollout, confirmed_at=confirmed_at)
        self._note_rejections()
        self._reminders.remind(self.view.known.current, rollout.late)

    def _rollout(self, receipts: Receipts) -> Rollout:
        known, settings = self._pipeline.known, self._settings
        late = time.monotonic() - known.published_at > settings.confirm_seconds
        return receipts.rollout(known.current, settings.min_targets, late=late)

    def _update(self, **changes: Any) -> None:
        """Replace the view, and say what has changed."""
        before, reports = self.view, self._parts.gate.report()
        deliveries = self._parts.receivers.report()
        changes |= {"dsn_checks": reports, "deliveries": deliveries}
        after = replace(before, known=self._pipeline.known, **changes)
        log_changes(before, after)  # first: who sees the new view finds it in the log
        if self._metrics is not None:
            count_changes(before, after, self._metrics)
        self.view = after
        if (before.dsn_checks, before.deliveries) != (reports, deliveries):
            self._save()
        if before.dsn_checks != reports and self.view.passes.is_waiting:
            self._passing.start()  # it may be published now, or be refused

    def _note_rejections(self) -> None:
        current, rejections = self.view.known.current, self._rejections
        if self.view.rollout.state == "refused" and current is not None:
            rejections = rejections.with_revision(revision_without_boosts(current))
        rejections = rejections.judged(self.view.dsn_checks)
        if rejections != self._rejections:
            self._rejections = rejections
            self._save()

    def _publish(self, reading: Reading, wishes: Wishes) -> Outcome:
        published_at = self._pipeline.known.published_at
        try:
            outcome = self._pipeline.publish(reading, wishes)
        except Exception:
            log.exception("publishing failed in an unexpected way")
            error = AgentError(UNEXPECTED)
            outcome = Outcome.kept(error, self._pipeline.known.current)
        known = self._pipeline.known
        ends = next_end(known.current.boosts, time.time()) if known.current else None
        self._boost_ends_at = NEVER if ends is None else time.monotonic() + ends
        if known.published_at != published_at:
            self._update(confirmed_at=None, rollout=self._rollout(self._parts.receipts))
        return outcome

    def _after_reading(self, reading: Reading, began: float) -> None:
        """A pass has read: publish, under the wishes of now."""
        outcome = self._publish(reading, self._pipeline.known.wishes)
        moment = Moment(time.time(), time.monotonic())
        passes = self.view.passes.after(outcome, moment, moment.monotonic - began)
        self._parts.receivers.notify(self._pipeline.known.current)  # if not told yet
        try:
            self._update(passes=passes, source=self._parts.source.report())
            self._plan()
        finally:
            self._passing.finish(outcome)
        self._save()

    def _plan(self) -> None:
        """Say when the next pass comes, by what the newest one came to."""
        passes = self.view.passes
        if self._schedule is not None and passes.outcome is not None:
            due = self._parts.source.due_seconds()
            self._schedule.passed(passes.outcome, passes.failures, due)

    def _serve(self, request: dict[str, Any], answer: Future[Outcome]) -> None:
        """Do what an operator asks for; a `refresh` is answered after its pass."""
        try:
            if request["command"] == "refresh":
                self._passing.start_at_once(answer)
                return
            history = self._parts.volume.memory.history()
            grounds = Grounds(self._pipeline.known, self._rejections, history)
            wishes = self._desk.wishes(request, grounds)
            outcome = self._publish(NOT_READ, wishes)
            log_request(outcome, request["command"])
            answer.set_result(outcome)
        except Exception as error:  # noqa: BLE001 - the caller's thread raises it
            answer.set_exception(error)

    def _save(self) -> None:
        """Keep what only the daemon knows, for `status` and for the next agent."""
        saved = document.state(self.view) | {"rejections": self._rejections.document()}
        try:
            self._parts.volume.keep(STATE, json.dumps(saved).encode(), flush=False)
        except AgentError as error:
            log.warning(error.what, hint=error.hint)

    def _leave(self) -> bool:
        """Stop within a second; say whether no pass is stuck where nothing can cut it."""
        if self._schedule is not None:
            self._schedule.stop()
        self._parts.source.abort()
        if ended := self._passing.join(LEAVE_SECONDS):
            closing = threading.Thread(target=self._parts.source.close, daemon=True)
            closing.start()
            closing.join(REVOKE_SECONDS)
        self._save()
        self._parts.volume.close()
        log.info("stopped; what is published stays")
        return ended
