"""One process that takes snapshots up: looks, swaps, gives its receipt, survives forks.

Everything of the library that changes over time is in `Target`. Its thread is the
only one that swaps after `start`; the application's threads never wait for it.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger

from resentry import sdk
from resentry._version import __version__
from resentry.contract import ContractError, Receipt, signal_number
from resentry.outlet import reset_tally, tally
from resentry.receipt import Identity, ReceiptFile
from resentry.swap import MANAGED, Retirement, build
from resentry.values import Effective, resolve, show_dsn
from resentry.watch import Watch, watch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from resentry.contract import Snapshot
    from resentry.reader import Mark, Volume

log = logging.getLogger("resentry")
ignore_logger("resentry")  # our errors are not the application's events

LOOK_SECONDS = 1.0
_DRAIN_LOOK_SECONDS = 0.02
_EXIT_DRAIN_SECONDS = 2.0


class Target:
    """The process's Sentry client, kept at the newest snapshot of `volume`."""

    def __init__(self, volume: Volume, environ: Mapping[str, str]) -> None:
        self._volume = volume
        self._environ = environ
        self._role = ""
        self._options: Mapping[str, Any] = {}
        self._snapshot: Snapshot | None = None
        self._mark: Mark | None = None
        self._effective: Effective | None = None
        self._client: sentry_sdk.Client | None = None
        self._retiring: list[Retirement] = []
        self._refused: tuple[str, int] | None = None
        self._error: str | None = None
        self._since = ""
        self._swap_ms = 0.0
        self._gate = threading.RLock()  # held while a client is built and set
        self._identity = Identity()
        self._receipt = ReceiptFile(volume.receipts, self._identity)
        self._signal: int | None = None
        self._watch: Watch | None = None
        self._thread: threading.Thread | None = None

    def start(self, role: str, options: Mapping[str, Any], wait_seconds: float) -> None:
        """Run the newest snapshot, then keep up with it. Again: new role, options."""
        for name in sorted(MANAGED & options.keys()):
            log.warning("resentry decides the Sentry option %r; yours is ignored", name)
        self._halt()
        self._role = role
        self._options = {k: v for k, v in options.items() if k not in MANAGED}
        self._mark = None
        self._await_first(wait_seconds)
        self._look()
        if self._snapshot is None:
            self._swap(None)
        if self._volume.expected:
            self._listen()
            self._arm()

    def _await_first(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._volume.expected and self._volume.mark() is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(0.05, left))

    # The thread

    def _arm(self) -> None:
        self._watch = watch(self._volume.directory)
        self._thread = threading.Thread(
            target=self._run, args=(self._watch,), name="resentry", daemon=True
        )
        self._thread.start()

    def _run(self, own: Watch) -> None:
        while self._watch is own:
            try:
                self._look()
                self._retiring = [old for old in self._retiring if not old.step()]
                self._receipt.give(self._receipt_now())
                own.wait(_DRAIN_LOOK_SECONDS if self._retiring else LOOK_SECONDS)
            except Exception:  # nothing of ours may end the thread, or the process
                log.exception("resentry: looking at %s failed", self._volume.directory)
                own.wait(LOOK_SECONDS)
        own.close()

    def _halt(self) -> None:
        """End the thread, at once."""
        own, self._watch = self._watch, None
        if own is not None:
            own.wake()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _look(self) -> None:
        """Take the snapshot up if its file has changed since the last look."""
        mark = self._volume.mark()
        if mark is None or mark == self._mark:
            return
        try:
            self._swap(self._volume.read())
        except FileNotFoundError:
            return  # replaced this moment; the next look has it
        except (OSError, ContractError) as error:
            self._refuse(str(error), None)
        finally:
            # Last: a child forked in the middle of a swap must look again.
            self._mark = mark

    def _swap(self, snapshot: Snapshot | None) -> None:
        effective = resolve(snapshot, self._role, self._environ)
        if effective.problems:
            if self._client is not None:
                self._refuse(effective.reason(), snapshot)
                return
            effective = effective.tamed()
        began = time.perf_counter()
        try:
            with self._gate:
                client = build(
                    effective, self._role, self._options, snapshot, self._client
                )
                self._make_current(client)
        except Exception as error:  # noqa: BLE001 - a bad option of the application's
            text = str(error).replace(effective.values["SENTRY_DSN"] or "\0", "DSN")
            self._refuse(f"{type(error).__name__}: {text}", snapshot)
            return
        self._snapshot, self._effective = snapshot, effective
        self._refused = self._error = None
        self._since = _now()
        self._swap_ms = round((time.perf_counter() - began) * 1000, 3)
        if effective.problems:
            self._refuse(effective.reason(), snapshot)
            return
        log.info(
            "resentry: runs %s, role %s, DSN %s",
            f"revision {snapshot.revision}" if snapshot else "no snapshot",
            self._role,
            show_dsn(effective.values["SENTRY_DSN"]),
        )

    def _make_current(self, client: sentry_sdk.Client) -> None:
        old, self._client = self._client, client
        sdk.set_current(client)
        if old is not None:
            self._retiring.append(Retirement(old, client))

    def _refuse(self, reason: str, snapshot: Snapshot | None) -> None:
        self._refused = (snapshot.revision, snapshot.sequence) if snapshot else None
        self._error = reason
        log.error("Failed to initialize Sentry: %s", reason)

    # Forks

    def before_fork(self) -> None:
        """Let no client be half built in the child."""
        self._gate.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._gate.release()

    def after_fork_in_child(self) -> None:
        """Become a target of its own, with a client of its own.

        What the parent's client holds is the parent's to send, its connections are the
        parent's, and its locks may belong to a thread that does not exist here.
        """
        self._gate = threading.RLock()
        self._retiring = []
        reset_tally()
        try:
            if self._client is not None and self._effective is not None:
                self._client = build(
                    self._effective,
                    self._role,
                    self._options,
                    self._snapshot,
                    self._client,
                )
                sdk.set_current(self._client)
        except Exception:  # the inherited client hands over to none: nothing is sent
            log.exception("resentry: no Sentry client in the forked child")
        self._receipt.forget()
        self._identity = Identity(parent=self._identity.id)
        self._receipt = ReceiptFile(self._volume.receipts, self._identity)
        inherited, self._watch = self._watch, None
        if inherited is not None:
            inherited.close()
            self._arm()

    # The signal

    def _listen(self) -> None:
        """Register for the real-time signal, unless somebody else has it."""
        try:
            number = signal_number(self._environ.get("RESENTRY_SIGNAL", ""))
            if number is None or signal.getsignal(number) is not signal.SIG_DFL:
                return
            signal.signal(number, self._on_signal)
            signal.siginterrupt(number, False)  # no EINTR for the application
            self._signal = number
        except ValueError as error:  # not in the main thread; not a real-time signal
            log.info("resentry: no signal handler (%s); watching serves", error)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        own = self._watch
        if own is not None:
            with contextlib.suppress(OSError):  # closed this moment
                own.wake()

    # What others see

    def _receipt_now(self) -> Receipt:
        me, snapshot = self._identity, self._snapshot
        return Receipt(
            id=me.id,
            role=self._role,
            pid=me.pid,
            pidns=me.pidns,
            start_time=me.start_time,
            parent=me.parent,
            revision=snapshot.revision if snapshot else None,
            sequence=snapshot.sequence if snapshot else 0,
            phase="running" if self._retiring else "drained",
            since=self._since,
            swap_ms=self._swap_ms,
            refused=self._refused,
            error=self._error,
            signal=self._signal,
            tally=tally.as_dict(),
            origins=self._effective.origins if self._effective else {},
            sdk=sentry_sdk.VERSION,
            library=__version__,
        )

    def status(self) -> dict[str, Any]:
        """Return what runs here, with the DSN in its shown form."""
        values = dict(self._effective.values) if self._effective else {}
        values["SENTRY_DSN"] = show_dsn(values.get("SENTRY_DSN", ""))
        receipt = self._receipt_now()
        return {
            "role": receipt.role,
            "revision": receipt.revision,
            "sequence": receipt.sequence,
            "phase": receipt.phase,
            "since": receipt.since,
            "error": receipt.error,
            "values": values,
            "origins": dict(receipt.origins),
        }

    def drain(self, seconds: float) -> None:
        """Wait until retired clients have sent what they hold, at most `seconds`."""
        deadline = time.monotonic() + seconds
        while self._retiring and time.monotonic() < deadline:
            self._retiring = [old for old in self._retiring if not old.step()]
            time.sleep(_DRAIN_LOOK_SECONDS)

    def stop(self) -> None:
        """Stop following the volume; the current Sentry client stays."""
        self._halt()
        self.drain(_EXIT_DRAIN_SECONDS)
        self._receipt.withdraw()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
