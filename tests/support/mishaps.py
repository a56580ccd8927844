"""What goes wrong around the library in the scripts of these tests, and is mended.

Nothing here is of the agent: a mishap is what the SDK, the application or the machine
does. What every client needs is an `Outlet`: one that can't be made is a failed build.
"""

import ctypes
import errno
import logging
import os
import pkgutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import sentry_sdk
from scenario import QUICK, receipts, wait_for
from sentry_sdk.profiler import transaction_profiler
from sentry_sdk.scope import Scope

import resentry
from lab.process import eventually
from resentry.contract import Snapshot
from resentry.outlet import Outlet

OTHER_USER, OTHER_GROUP = 54321, 54322
"""Ids that no system has a name for."""


@contextmanager
def raising(
    owner: Any, name: str, error: BaseException | None = None, *, after: bool = False
) -> Iterator[list[int]]:
    """Let `owner.name` raise, before its work or `after` it; the list counts calls."""
    real, calls = getattr(owner, name), list[int]()

    def broken(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        if after:
            real(*args, **kwargs)
        raise error or RuntimeError("no " + name)

    setattr(owner, name, broken)
    try:
        yield calls
    finally:
        setattr(owner, name, real)


class Unprintable(Exception):
    """An exception that raises once more when it is written down."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Moody:
    """An option of the application's that raises in whatever is done with it."""

    angry = False

    def _do(self, *_: Any) -> Any:
        if Moody.angry:
            raise RuntimeError("a moody option")
        return 1000

    def __call__(self, *_: Any) -> float:
        return 1.0

    def __bool__(self) -> bool:
        return bool(self._do())

    __len__ = __hash__ = _do


class MoodyNumber(int):
    """The same as a number."""

    __int__ = __index__ = Moody._do  # type: ignore[assignment]


@contextmanager
def moody() -> Iterator[None]:
    """Let each moody option raise."""
    Moody.angry = True
    try:
        yield
    finally:
        Moody.angry = False


@contextmanager
def log_mistake(*, with_filter: bool = False) -> Iterator[None]:
    """Let whatever the library logs raise in the application's handler or filter."""
    log, handler = logging.getLogger("resentry"), logging.Handler()

    def mistake(_record: logging.LogRecord) -> bool:
        raise LookupError("no request id here")

    handler.emit = mistake  # type: ignore[assignment]
    before, install = log.level, log.addFilter if with_filter else log.addHandler
    remove = log.removeFilter if with_filter else log.removeHandler
    log.setLevel(logging.DEBUG)
    install(mistake if with_filter else handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        remove(mistake if with_filter else handler)  # type: ignore[arg-type]
        log.setLevel(before)


@contextmanager
def profiler_in_mid_start() -> Iterator[None]:
    """Be where a transaction starts the profiler's thread: it is there, not started."""
    scheduler: Any = transaction_profiler._scheduler
    scheduler.thread = threading.Thread(target=print)
    scheduler.running = True
    yield


@contextmanager
def no_new_thread() -> Iterator[None]:
    """Let no thread be started: its stack would not fit into the address space."""
    before = threading.stack_size(1 << 47)
    try:
        yield
    finally:
        threading.stack_size(before)


BREAKS: dict[str, Callable[[], Any]] = {
    "nothing": nullcontext,
    "no client": lambda: raising(Outlet, "__init__"),
    "a client that is built, and raises": lambda: raising(
        Outlet, "__init__", after=True
    ),
    "no descriptor left": lambda: raising(
        Outlet, "__init__", OSError(errno.EMFILE, "Too many open files")
    ),
    "no memory left": lambda: raising(Outlet, "__init__", MemoryError()),
    "an error without text": lambda: raising(Outlet, "__init__", Unprintable()),
    "an exit": lambda: raising(Outlet, "__init__", SystemExit(3)),
    "not set": lambda: raising(Scope, "set_client"),
    "set, and raises": lambda: raising(Scope, "set_client", after=True),
    "the profiler's end": lambda: raising(transaction_profiler._scheduler, "teardown"),
    "the profiler's start": profiler_in_mid_start,
    "a log handler": log_mistake,
    "a log filter": lambda: log_mistake(with_filter=True),
    "an option": moody,
}
"""What may go wrong in the middle of a swap, by name."""


def runs(snapshot: Snapshot) -> None:
    """Wait until status and the one receipt of this process tell only that it runs."""
    wait_for(lambda now: now["sequence"] == snapshot.sequence and not now["error"])
    wait_for(lambda now: now["phase"] == "drained")

    def told() -> list[tuple[Any, ...]]:
        mine = (one for one in receipts() if one["pid"] == os.getpid())
        return [(one["sequence"], one["error"], one["refused"]) for one in mine]

    eventually(lambda: told() == [(snapshot.sequence, None, None)], what=f"{told()}")


def settled(sequence: int) -> dict[str, Any]:
    """Return status and client once a swap has succeeded or failed, and its receipt.

    They must tell the same; the test compares.
    """
    wait_for(lambda now: bool(now["error"]) or now["sequence"] == sequence)

    def told() -> bool:
        now = resentry.status()
        return any(
            (one["sequence"], one["error"]) == (now["sequence"], now["error"])
            for one in receipts()
        )

    eventually(told, what=f"{resentry.status()} in {receipts()}")
    now, receipt = resentry.status(), receipts()[0]
    return {
        "sequence": now["sequence"],
        "error": now["error"],
        "refused": receipt["refused"],
        "dsn": sentry_sdk.get_client().dsn,
    }


_held = list[str]()


def hold(text: str) -> None:
    """Capture an event, a log line and a session; a client holds the last two back."""
    _held.append(text)
    sentry_sdk.capture_message(text)
    sentry_sdk.logger.info(text)
    with sentry_sdk.new_scope() as scope:
        scope.start_session()
        scope.end_session()


def held() -> int:
    """Return how often `hold` was called in this process."""
    return len(_held)


def used() -> tuple[int, int]:
    """Return how many threads and descriptors there are, with everything in use."""
    hold("in use")
    sentry_sdk.flush(5)
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def busy() -> None:
    """Work for so long that a profiler takes several samples."""
    until = time.monotonic() + 0.15
    while time.monotonic() < until:
        sum(range(1000))


def back_to(before: tuple[int, int]) -> None:
    """Wait until there are no more threads and descriptors than before."""

    def is_back() -> bool:
        return all(now <= then for now, then in zip(used(), before, strict=True))

    names = [thread.name for thread in threading.enumerate()]
    eventually(is_back, what=f"{used()} is {before}: {names}")


def in_a_child(work: Callable[[], Any]) -> None:
    """Do the work in a forked child, and return when it has ended well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from Python 3.12 on a fork is one
        child = os.fork()
    if child == 0:
        try:
            work()
            sentry_sdk.flush(5)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def become_another_user(*groups: int) -> None:
    """Give up being root, and all of its groups but these.

    The interpreter may be root's alone: what is imported later is out of reach,
    so everything that may be needed is imported, and used once, before.
    """
    for module in pkgutil.walk_packages(resentry.__path__, "resentry."):
        if not module.name.endswith(("__main__", ".otel")):  # `.otel` is an extra
            __import__(module.name)
    client = sentry_sdk.Client(dsn=os.environ["B"], **QUICK)
    client.capture_event({"message": "imports what sending needs"})
    client.close()
    os.setgroups([OTHER_GROUP, *groups])
    os.setgid(OTHER_GROUP)
    os.setuid(OTHER_USER)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: /proc/self is ours, as after exec


class Told(logging.Handler):
    """What the library has logged, from here on."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []
        logging.getLogger("resentry").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelname, record.getMessage()))

    def about(self, text: str) -> list[tuple[str, str]]:
        """Return level and text of each line in which that text stands."""
        return [line for line in self.lines if text in line[1]]
