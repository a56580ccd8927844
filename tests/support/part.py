"""An application with one role, which is odd in the way that its second argument names.

    part.py api plain

It sends an error and a transaction each fifth of a second, unless it is odd in not doing so.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from agent.domain.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROLE, ODDITY = sys.argv[1:3]
OTHER_USER = 54321
HOURS = 2 * 3600.0

if ODDITY == "greenlets":
    from gevent import monkey

    monkey.patch_all()
if ODDITY == "slow clock":
    real_time = time.time
    time.time = lambda: real_time() - HOURS

import sentry_sdk  # noqa: E402 - after what makes it odd

if ODDITY == "old SDK":
    sentry_sdk.VERSION = "3.0.0"

if ODDITY == "SDK that can hang":
    sentry_sdk.VERSION = "2.58.0"

import mishaps  # noqa: E402 - as before
import mounts  # noqa: E402 - as before

import resentry  # noqa: E402
from resentry import parking, receipt_file, report  # noqa: E402
from resentry.receipt_file import Identity, ReceiptFile  # noqa: E402
from resentry.target import target  # noqa: E402


def alone() -> None:
    """See the snapshot's file alone, as with `subPath`."""
    mounts.own_mounts()
    folder = f"{os.environ['RESENTRY_DIR']}-alone-{os.getpid()}"
    os.mkdir(folder)
    mounts.bind_file(
        f"{os.environ['RESENTRY_DIR']}/settings.json", f"{folder}/settings.json"
    )
    os.environ["RESENTRY_RECEIPTS"] = receipts()
    os.environ["RESENTRY_DIR"] = folder


def other_user() -> None:
    """Be in the receipts' group, and read the volume as a user without the right."""
    folder = f"{os.environ['RESENTRY_DIR']}-other-{os.getpid()}"
    os.mkdir(folder, 0o700)
    os.environ["RESENTRY_RECEIPTS"] = receipts()
    os.environ["RESENTRY_DIR"] = folder
    os.environ["B"] = "http://key@127.0.0.1:9/1"
    mishaps.become_another_user(os.stat(receipts()).st_gid)


def receipts() -> str:
    directory = os.environ["RESENTRY_DIR"]
    return os.environ.get("RESENTRY_RECEIPTS") or f"{directory}/receipts"


def hold_lock() -> None:
    """Be a live target without a receipt."""
    ReceiptFile(receipts(), Identity())._hold()
    os.write(1, b"ready\n")
    forever()


def fail_once() -> None:
    """Let the library fail in its own thread."""
    real = target.look

    def look() -> None:
        target.look = real  # type: ignore[method-assign]
        raise RuntimeError("a fault in the library")

    target.look = look  # type: ignore[method-assign]


def knows_no_ceilings() -> None:
    """Be a library from before ceilings, error rules and budgets."""
    real = target.receipt
    target.receipt = lambda: real()._replace(  # type: ignore[method-assign]
        dropped=None, budgets={}, decided_errors=None
    )


def many_errors() -> None:
    for _ in range(200):
        sentry_sdk.capture_message("one of many")


def old_library() -> None:
    vars(report)["__version__"] = "0.9.0"


def forever() -> None:
    while True:
        time.sleep(60)


def own_init() -> None:
    sentry_sdk.init(dsn=sentry_sdk.get_client().dsn)


def does_not_know() -> None:
    """Be a library that skips a field of the snapshot's rules."""
    running = target.running
    assert running is not None
    assert running.snapshot is not None
    older = replace(running.snapshot, ignored=("rules.parent",))
    target.running = running._replace(snapshot=older)


held: list[Any] = []


def second_client() -> None:
    held.append(sentry_sdk.Client(dsn=sentry_sdk.get_client().dsn))


def flood() -> None:
    """Send more than can be kept for the next DSN, until something was lost."""
    parking.PARKED_ENVELOPES = 20
    while not resentry.status()["tally"]["dropped"]:
        for _ in range(50):
            sentry_sdk.capture_message("flood")
        sentry_sdk.flush(2)


def fork() -> None:
    if not os.fork():
        forever()


def seem_old() -> None:
    """Look like a process that began hours ago: many of these end soon, and are well."""
    hold, began = receipt_file._lock_record, time.time() - HOURS

    def hold_as_old(lock: int) -> None:
        hold(lock)
        os.utime(lock, (began, began))

    receipt_file._lock_record = hold_as_old


BEFORE: Mapping[str, Callable[[], None]] = {
    "subPath": alone,
    "another user": other_user,
    "no receipt": hold_lock,
    "a fault": fail_once,
    "old library": old_library,
    "knows no ceilings": knows_no_ceilings,
    "late": fork,
}
AFTER: Mapping[str, Callable[[], None]] = {
    "own init": own_init,
    "second client": second_client,
    "flood": flood,
    "many errors": many_errors,
    "does not know": does_not_know,
    "SDK that can hang": fork,
}
SILENT = {
    "silent",
    "greenlets",
    "own init",
    "second client",
    "own DSN",
    *BEFORE,
    "SDK that can hang",
    "does not know",
    "old SDK",
    "short-lived",
    "many errors",
}
OPTIONS = {"own DSN": {"dsn": "https://key@sentry.example.org/1"}}

signal.signal(signal.SIGTERM, lambda *_: sys.exit())
if ODDITY != "short-lived":
    seem_old()
BEFORE.get(ODDITY, int)()
resentry.init(role=ROLE, **OPTIONS.get(ODDITY, {}))
os.write(1, b"ready\n")
AFTER.get(ODDITY, int)()
while True:
    if ODDITY not in SILENT:
        sentry_sdk.capture_message("still here")
        for _ in range(10):
            with sentry_sdk.start_transaction(name="turn"):
                pass
    time.sleep(0.2)
