"""One process that takes snapshots up: looks, swaps, gives its receipt, survives forks.

Everything of the library that changes over time is in `Target`. Its thread is the
only one that swaps after `start`; the application's threads never wait for it.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger

from resentry import sdk
from resentry._version import __version__
from resentry.contract import ContractError, Receipt, time_text
from resentry.harmless import fault, tally
from resentry.listen import listen
from resentry.reader import Volume
from resentry.receipt import Identity, ReceiptFile
from resentry.swap import MANAGED, Retiring, announce, build, retire
from resentry.values import Effective, resolve, show_dsn
from resentry.watch import Watch, watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resentry.contract import Snapshot
    from resentry.reader import Mark

log = logging.getLogger("resentry")
ignore_logger("resentry")  # our errors are not the application's events

LOOK_SECONDS = 1.0
_FORK_SECONDS = 0.05
"""So long a forked child gives no receipt: it may be about to exec."""
_DRAIN_LOOK_SECONDS = 0.02
_EXIT_DRAIN_SECONDS = 2.0
FOREIGN = "the application called sentry_sdk.init itself; its client is in place"


class Target:
    """The process's Sentry client, kept at the newest snapshot of a volume."""

    def __init__(self) -> None:
        self._volume = Volume("", "", expected=False)
        self._environ: Mapping[str, str] = {}
        self._role = ""
        self._options: Mapping[str, Any] = {}
        self._snapshot: Snapshot | None = None
        self._mark: Mark | None = None
        self._effective: Effective | None = None
        self._client: sentry_sdk.Client | None = None
        self._retiring: list[Retiring] = []
        self._refused: tuple[str, int] | None = None
        self._error: str | None = None
        self._unread: str | None = None
        self._since = ""
        self._swap_ms = 0.0
        self._gate = threading.RLock()  # held while a client is built and set
        self._identity = Identity()
        self._receipt = ReceiptFile(self._volume.receipts, self._identity)
        self._silent_until = 0.0
        self._signal: int | None = None
        self._watch: Watch | None = None
        self._thread: threading.Thread | None = None

    def start(
        self, role: str, options: Mapping[str, Any], environ: Mapping[str, str]
    ) -> None:
        """Run the newest snapshot, then keep up with it. Again: new role, options."""
        for name in sorted(MANAGED & options.keys()):
            log.warning("resentry decides the Sentry option %r; yours is ignored", name)
        if sdk.LACKS and self._client is None:
            log.warning("resentry: sentry-sdk is %s", sdk.described())
        self.stop()
        self._role = re.sub(r"[^A-Za-z0-9_.-]", "_", role)[:64]
        self._options = {k: v for k, v in options.items() if k not in MANAGED}
        self._environ = environ
        self._volume = Volume.from_environ(environ)
        self._receipt = ReceiptFile(self._volume.receipts, self._identity)
        self._mark = None
        self._volume.await_first(environ)
        if not self._look() or self._client is None:
            self._swap(None)
        if self._volume.expected:
            self._signal = self._signal or listen(environ, self._wake)
            self._arm()

    # The thread

    def _arm(self) -> None:
        self._watch = watch(self._volume.directory)
        self._thread = sdk.start_thread("resentry", self._run, self._watch)

    def _run(self, own: Watch) -> None:
        while self._watch is own:
            try:
                self._look()
                self._retiring = [old for old in self._retiring if not old.step()]
                silent = self._silent_until - time.monotonic()
                if silent > 0:
                    own.wait(silent)
                    continue
                self._receipt.give(self._receipt_now())
                own.wait(_DRAIN_LOOK_SECONDS if self._retiring else LOOK_SECONDS)
            except Exception:  # noqa: BLE001 - the thread outlives every mistake of ours
                fault("looking at the volume")
                own.wait(LOOK_SECONDS)

    def _halt(self) -> None:
        """End the thread, at once."""
        own, self._watch = self._watch, None
        if own is not None:
            own.wake()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if own is not None:
            own.close()  # last: a descriptor that is closed may be somebody else's

    def _wake(self) -> None:
        own = self._watch
        if own is not None:
            own.wake()

    def _look(self) -> bool:
        """Take the snapshot up if its file has changed; say whether there is one."""
        mark = self._volume.mark()
        if mark is None or mark == self._mark:
            return mark is not None
        unread = self._unread
        try:
            snapshot = self._volume.read()
        except FileNotFoundError:
            return False  # replaced this moment; the next look has it
        except (ContractError, OSError) as error:
            # Looked at again each second: rights may change without the file.
            self._unread = str(error)
            if self._unread != unread:
                log.error("Failed to initialize Sentry: %s", self._unread)  # noqa: TRY400
            return True
        self._unread = None
        self._swap(snapshot)
        # Last: a child forked in the middle of a swap must look again.
        self._mark = mark
        return True

    def _swap(self, snapshot: Snapshot | None) -> None:
        effective = resolve(snapshot, self._role, self._environ)
        if effective.problems:
            if self._client is not None:
                self._refuse(effective.reason(), snapshot)
                return
            effective = effective.tamed()
        if self._is_foreign():
            self._refuse(FOREIGN, snapshot)
            return
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
        self._since = time_text(time.time())
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

    def _is_foreign(self) -> bool:
        """Whether the application has called `sentry_sdk.init` itself, after us."""
        current = sentry_sdk.get_global_scope().client
        return self._client is not None and current is not self._client

    def _make_current(self, client: sentry_sdk.Client) -> None:
        old, self._client = self._client, client
        if old is not None:
            announce(old, client)
        sdk.set_current(client)
        if old is not None:
            self._retiring.append(retire(old, client))

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
        tally.reset()
        try:
            if self._effective is not None and not self._is_foreign():
                self._client = build(
                    self._effective,
                    self._role,
                    self._options,
                    self._snapshot,
                    self._client,
                )
                sdk.set_current(self._client)
            if self._watch is not None:
                self._look()  # the parent may be about to
        except Exception:  # noqa: BLE001 - then the inherited client sends nothing here
            fault("making a client for the forked child")
        self._receipt.forget()
        self._identity = Identity(parent=self._identity.id)
        self._receipt = ReceiptFile(self._volume.receipts, self._identity)
        self._silent_until = time.monotonic() + _FORK_SECONDS
        inherited, self._watch = self._watch, None
        if inherited is not None:
            inherited.close()
            self._arm()

    # What others see

    def _receipt_now(self) -> Receipt:
        me, snapshot = self._identity, self._snapshot
        error = FOREIGN if self._is_foreign() else self._unread or self._error
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
            error=error,
            signal=self._signal,
            watch=self._watch.kind if self._watch else "none",
            tally=tally.as_dict(),
            origins=self._effective.origins if self._effective else {},
            sdk=sdk.described(),
            library=__version__,
        )

    @property
    def revision(self) -> str | None:
        """The snapshot that runs here; `None` when the environment decides."""
        return self._snapshot.revision if self._snapshot else None

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
            "sdk": receipt.sdk,
            "tally": dict(receipt.tally),
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
        for old in self._retiring:
            old.finish()
        self._retiring = []
        self._receipt.withdraw()
