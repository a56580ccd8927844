"""One process that runs snapshots: it looks, swaps, says what runs, and survives forks.

`init` swaps in the thread that calls it, every other swap is in the follower's thread. A gate
lets one of them build at a time; an application's thread never waits for it. Any thread may
read `plan`, `running` and `refusal`: they are replaced as a whole.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Literal

import sentry_sdk

from resentry import clock, forks, holders, otlp, swap  # noqa: F401 - forks has hooks
from resentry.before import before_init
from resentry.contract import time_text
from resentry.effective import resolve
from resentry.harmless import Notice, fault, say
from resentry.newest import Newest
from resentry.options import usable
from resentry.plan import Plan, Refusal, Running, describe, make_plan
from resentry.process import Home, here, on_renewal
from resentry.report import FOREIGN, receipt, status
from resentry.sdk import client as sdk
from resentry.sdk.versions import IS_PLAIN, described

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentry_sdk import Client

    from resentry._types import Status
    from resentry.contract import Receipt, Snapshot
    from resentry.effective import Effective
    from resentry.follower import Follower

_EXIT_DRAIN_SECONDS = 2.0
Became = Literal["runs", "refused", "failed"]
"""The result of a swap: the snapshot runs, is refused for good, or is tried again."""


class Target:
    """The process's Sentry client, kept at the newest snapshot of a volume."""

    def __init__(self) -> None:
        self.plan = Plan()
        self.running: Running | None = None
        self.before: Mapping[str, int] = {}
        self.refusal: Refusal | None = None
        self.follower: Follower | None = None
        self.retiring: tuple[swap.Retiring, ...] = ()
        self.newest: Newest | None = None
        self.foreign = Notice(after=0.0)
        self._replaced: tuple[Any, ...] = ()
        """The application's own clients that a client of ours replaced."""
        self.dsns = frozenset[str]()
        """Fingerprints of every DSN that this process has sent by."""

    def start(
        self, role: object, options: Mapping[str, Any], environ: Mapping[str, str]
    ) -> None:
        """Run the newest snapshot and follow the volume. Later calls change the plan."""
        if IS_PLAIN and self.running is None:
            say(logging.WARNING, "resentry: sentry-sdk %s", described())
        self._stop_following()
        self.before = self.before or before_init()
        holders.note_clients()
        self.plan = make_plan(role, options, environ)
        volume, self.refusal = self.plan.volume, None
        volume.await_first(environ)
        self.newest = Newest(volume) if volume.expected else None
        if not self._take_up(explicitly=True):
            self._fall_back()
        if volume.expected:
            self.follower = self._new_follower()
            self.follower.start()

    def _new_follower(self) -> Follower:
        from resentry.follower import Follower  # noqa: PLC0415 - 8 ms

        return Follower(self, self.plan.volume, self.plan.signal)

    def _fall_back(self) -> None:
        """Run what ran before, or the environment's values. A refusal stays visible."""
        refused, running = self.refusal, self.running
        self._swap(running.snapshot if running is not None else None, explicitly=True)
        self.refusal = refused or self.refusal
        if self.refusal is not None and self.newest is not None:
            self.newest.unreachable.log()  # this may be the reason

    # In the follower's thread
    def look(self) -> bool:
        """Run the newest snapshot if the current client is ours; return if it is new."""
        self.foreign.note(FOREIGN if self.is_foreign else None)
        if self.is_foreign:
            return False
        current, running = sentry_sdk.get_global_scope().client, self.running
        if running is not None and current is not running.client:
            # A test's fixture, or a fork, has made an older client of ours current.
            sdk.set_current(running.client)
        return self._take_up()

    def _take_up(self, *, explicitly: bool = False) -> bool:
        """Run the newest snapshot if it is new; return whether it runs or is refused."""
        newest = self.newest
        snapshot = newest.look() if newest is not None else None
        if newest is None or snapshot is None:
            return False
        became = self._swap(snapshot, explicitly=explicitly)
        if became == "failed":
            newest.fail()
            return False
        if became == "runs":
            self.refusal = None
        # This comes last: a child that is forked during a swap must look again.
        newest.settle()
        return True

    def _swap(self, snapshot: Snapshot | None, *, explicitly: bool) -> Became:
        """Run these values, or record why they do not run."""
        plan, running = self.plan, self.running
        effective = resolve(snapshot, plan.role, plan.environ)
        name = (snapshot.revision, snapshot.sequence) if snapshot else None
        kept = running if not explicitly else None
        if effective.problems:
            if running is not None:
                self._refuse(name, effective.reason(), kept)
                return "refused"
            effective = effective.with_violations_reset()
        try:
            with swap.building(here(), explicitly=explicitly):
                new = self._build(plan, effective, snapshot, explicitly=explicitly)
        except swap.SupersededError:
            return "failed"
        except (Exception, SystemExit) as error:
            if explicitly and isinstance(error, SystemExit):
                raise  # a signal handler ends the process
            self._refuse(name, describe(effective, error), kept)
            return "failed"
        self.plan.log_problems(logged=plan)
        if effective.problems:
            self._refuse(name, effective.reason())
            return "refused"
        new.log(plan.role, after_error=self.refusal is not None and not explicitly)
        return "runs"

    def _build(
        self,
        plan: Plan,
        effective: Effective,
        snapshot: Snapshot | None,
        *,
        explicitly: bool,
    ) -> Running:
        """Build a client and make it current, unless `init` was called meanwhile."""
        began, running = time.perf_counter(), self.running
        goes_on = not explicitly and not self.is_foreign  # else it is set up anew
        previous = running.client if running is not None and goes_on else None

        def attempt(options: Mapping[str, Any]) -> Client:
            return swap.build(effective, plan.role, options, snapshot, previous)

        try:
            client = attempt(plan.options)
        except Exception:
            if not explicitly:
                raise
            kept = usable(
                plan.options,
                lambda some: swap.discard(attempt(some), None),
                lambda error: describe(effective, error),
            )
            client = attempt((better := plan.without(*kept)).options)
            if plan is self.plan:  # no `init` was called meanwhile
                self.plan = plan = better
        if plan is not self.plan or (self.is_foreign and not explicitly):
            swap.discard(client, None)
            raise swap.SupersededError
        ms = (time.perf_counter() - began) * 1000 if previous is not None else 0.0
        new = Running(snapshot, effective, client, time_text(time.time()), round(ms, 3))
        self._make_current(new)
        return new

    def _make_current(self, new: Running) -> None:
        """Make the new client current, never seen as drained, and retire the old one."""
        before, current = self.running, sentry_sdk.get_global_scope().client
        if self.is_foreign and current.is_active():
            self._replaced = (*self._replaced, current)
        leaving = (swap.retirement(before.client, new.client),) if before else ()
        self.retiring, self.running = (*self.retiring, *leaving), new  # in this order
        try:
            sdk.set_current(new.client)
        except Exception:
            if sentry_sdk.get_global_scope().client is not new.client:
                self.running = before
                self.retiring = tuple(r for r in self.retiring if r not in leaving)
                swap.discard(new.client, before.client if before is not None else None)
                raise
            fault("making a client current")
        self.dsns |= {new.dsn}
        otlp.follow(new.client.dsn or "", self.dsns)
        for old in leaving:
            old.begin()

    def _refuse(
        self, name: tuple[str, int] | None, reason: str, kept: Running | None = None
    ) -> None:
        """Record and log why a snapshot does not run; `kept` is what runs on."""
        refusal = Refusal(name, reason[:1000])
        if refusal != self.refusal:
            self.refusal = refusal
            refusal.log(kept)

    def retire(self) -> bool:
        """Do the next step of each retirement; return whether any is left."""
        for old in self.retiring:
            try:
                is_done = old.step()
            except Exception:  # noqa: BLE001 - of one of its parts
                fault("retiring a client")
                is_done = old.is_late
            if is_done:
                self.retiring = tuple(r for r in self.retiring if r is not old)
        return bool(self.retiring)

    @property
    def is_foreign(self) -> bool:
        """Whether the application called `sentry_sdk.init` itself, after our `init`."""
        current = sentry_sdk.get_global_scope().client
        return self.running is not None and not sdk.is_ours(current)

    @property
    def revision(self) -> str | None:
        """The snapshot that runs here; `None` if the environment variables decide."""
        return self.running.revision if self.running else None

    def receipt(self) -> Receipt:
        """Return the receipt of this process."""
        return receipt(self)

    def status(self) -> Status:
        """Return what runs here, without the secret part of the DSN."""
        self.ensure()
        return status(self)

    def ensure(self) -> None:
        """Start the follower again if its thread could not be started."""
        here()
        if self.follower is not None:
            self.follower.ensure()

    # The end, and forks
    def _stop_following(self) -> None:
        here()
        follower, self.follower = self.follower, None
        if follower is not None:
            follower.stop()
            follower.withdraw()

    def stop(self) -> None:
        """Stop following the volume; the current Sentry client stays."""
        self._stop_following()
        deadline = clock.monotonic() + _EXIT_DRAIN_SECONDS
        while self.retire() and clock.monotonic() < deadline:
            time.sleep(swap.RETIRING_LOOK_SECONDS)
        for old in self.retiring:
            try:
                old.finish()
            except Exception:  # noqa: BLE001 - as in `retire`
                fault("ending a client")
        self.retiring = ()

    def end(self) -> None:
        """Stop and send what is left, because the process ends."""
        here().ends_at = ends_at = clock.monotonic() + _EXIT_DRAIN_SECONDS
        try:
            self.stop()
            for client in self._replaced:
                client.flush(max(0.0, ends_at - clock.monotonic()))
        except Exception:  # noqa: BLE001 - the exit must not fail for us
            fault("ending")

    def _in_child(self, _home: Home) -> None:
        """Make this forked child a target of its own. The client stays current."""
        self.retiring = ()
        if self.running is not None:
            sdk.forget_captures(self.running.client)
        if self.follower is not None:
            self.follower.let_go()
            self.follower = self._new_follower()
            self.follower.start_in_child()


target = Target()
"""The target of this process; a forked child makes its own parts of it."""

on_renewal(target._in_child)  # noqa: SLF001
