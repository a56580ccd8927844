"""A process of greenlets that forks, starts programs, captures and swaps.

    GREEN=gevent python greenlets.py SCENARIO DSN DSN

Prints one JSON object, which is what its scenario returns. GREEN is gevent, eventlet, or
plain for neither of them.
"""

from __future__ import annotations

import os
import warnings

warnings.simplefilter("ignore")
GREEN = os.environ["GREEN"]
if GREEN == "gevent":
    from gevent import monkey

    monkey.patch_all()
elif GREEN == "eventlet":
    import eventlet

    eventlet.monkey_patch()

# ruff: noqa: E402 - nothing may be imported before
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import sentry_sdk

import resentry
from lab.process import eventually
from lab.swaps import publish
from resentry.outlet import Outlet

# eventlet's own switches to another greenlet before it writes to a pipe.
write = eventlet.patcher.original("os").write if GREEN == "eventlet" else os.write
DIRECTORY = Path(os.environ["RESENTRY_DIR"])
DSNS = sys.argv[2:]
FORKS = 20


class Application:
    """Threads, which are greenlets here: each turn they leave their process's pid."""

    def __init__(self) -> None:
        self._log = Path("turns").resolve()
        self._file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for pause in (0.0, 0.0, 0.001):
            threading.Thread(target=self._run, args=[pause], daemon=True).start()
        eventually(self.turns)

    def _run(self, pause: float) -> None:
        while True:
            write(self._file, b"%d\n" % os.getpid())
            time.sleep(pause)

    def turns(self) -> dict[str, int]:
        """Return how many turns were taken here, and how many in other processes."""
        pids = self._log.read_text().split()
        here = pids.count(str(os.getpid()))
        return {"here": here, "elsewhere": len(pids) - here}


class Captures:
    """Threads that capture all the time."""

    def __init__(self) -> None:
        self.ids: list[str | None] = []
        self._on = True
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        pid = os.getpid()
        while self._on:
            if pid != os.getpid():  # gevent prints a traceback for one that ends there
                time.sleep(3600)
            self.ids.append(sentry_sdk.capture_message("parent"))
            time.sleep(0.03)

    def stop(self) -> None:
        self._on = False
        for thread in self._threads:
            thread.join()


published = 0


def rotate(*, wait: bool = True) -> None:
    """Publish a snapshot without a release; wait until it is taken up."""
    global published  # noqa: PLW0603 - one volume, one number
    dsn = DSNS[published % len(DSNS)]
    published += 1
    publish(DIRECTORY, published, {"SENTRY_DSN": dsn, "SENTRY_ENVIRONMENT": "green"})
    if wait:
        eventually(is_done, 30, f"{resentry.status()}")


def is_done() -> bool:
    now = resentry.status()
    return (now["sequence"], now["phase"]) == (published, "drained")


def start() -> None:
    rotate(wait=False)
    resentry.init(role="api", shutdown_timeout=20)
    eventually(lambda: receipt_of(os.getpid()))


def receipt_of(pid: int) -> dict[str, Any] | None:
    for path in (DIRECTORY / "receipts").glob("*.json"):
        found: dict[str, Any] = json.loads(path.read_bytes())
        if found["pid"] == pid:
            return found
    return None


def fork(work: Any) -> tuple[int, int]:
    """Fork; return the child's pid, and where it tells the id that `work` returns."""
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            write(told, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(told)
    return pid, heard


def answer(child: tuple[int, int]) -> Any:
    """Return what the child has told, once it has ended; `stuck` if it has not."""
    pid, heard = child
    deadline = time.monotonic() + 20
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "stuck"
        time.sleep(0.005)
    said = os.read(heard, 65536)
    os.close(heard)
    return json.loads(said) if said else "nothing"


# The scenarios


def programs() -> dict[str, Any]:
    """Start programs, and fork children that end at once, beside busy greenlets."""
    start()
    application = Application()
    codes = [subprocess.run(["true"], check=False).returncode for _ in range(FORKS)]
    codes += [
        subprocess.run(["true"], preexec_fn=int, check=False).returncode
        for _ in range(FORKS)
    ]
    answers = [answer(fork(int)) for _ in range(FORKS)]
    sentry_sdk.capture_message("last")
    sentry_sdk.flush(20)
    return {"codes": sum(codes), "answers": answers, **application.turns()}


def load() -> dict[str, Any]:
    """Fork, start programs and swap while greenlets capture."""
    start()
    captures = Captures()

    def work() -> str | None:
        found = sentry_sdk.capture_message("child")
        sentry_sdk.flush(20)
        return found

    children = []
    for number in range(FORKS):
        children.append(fork(work))
        subprocess.run(["true"], check=True)
        if number % 5 == 0:
            rotate()
        time.sleep(0.02)
    answers = [answer(child) for child in children]
    captures.stop()
    sentry_sdk.flush(20)
    return {"ids": captures.ids, "answers": answers, "swaps": published - 1}


def follow() -> dict[str, Any]:
    """Fork children that live on, and rotate: each follows, with a receipt of its own."""
    start()
    mine = receipt_of(os.getpid())
    last = published + 3

    def work() -> Any:
        sentry_sdk.capture_message("first")
        eventually(lambda: resentry.status()["sequence"] == last, 20)
        sentry_sdk.capture_message("last")
        sentry_sdk.flush(20)
        return eventually(follows, 20)

    def follows() -> dict[str, Any] | None:
        mine = receipt_of(os.getpid())
        return mine if mine is not None and mine["sequence"] == last else None

    children = [fork(work) for _ in range(3)]
    for _ in range(3):
        eventually(lambda: all(receipt_of(pid) for pid, _ in children), 20)
        rotate()
    found = [answer(child) for child in children]
    pids = [each["pid"] for each in found]
    return {
        "sequences": [each["sequence"] - last for each in found],
        "own": pids == [pid for pid, _ in children],
        "errors": [each["error"] for each in [mine, *found]],
        "parents": {each["parent"] for each in found} == {mine and mine["id"]},
    }


def silent() -> dict[str, Any]:
    """Fork while it is noted what happens inside the library's hooks."""
    seen: list[str] = []
    inside = [False]
    forking = threading.get_ident()

    def note(what: str) -> None:
        # While the hook waits for a connection, another thread makes it.
        if inside[0] and threading.get_ident() == forking:
            seen.append(what)

    def enter() -> None:
        inside[0] = True

    def leave() -> None:
        inside[0] = False

    start()
    sentry_sdk.capture_message("before")
    # Ours last: "before" hooks are called in the reverse order.
    os.register_at_fork(before=enter, after_in_parent=leave, after_in_child=leave)
    sys.addaudithook(lambda event, _: note(event) if event in LOUD else None)
    if GREEN != "plain":
        import greenlet  # noqa: PLC0415 - of the library that GREEN names

        greenlet.settrace(lambda event, _: note(f"a {event} to another greenlet"))
    build = Outlet.__init__

    def noting(outlet: Any, options: Any) -> None:
        note("a client is built")
        build(outlet, options)

    Outlet.__init__ = noting  # type: ignore[assignment,method-assign]
    log = logging.Handler()
    log.emit = lambda record: note(f"logged: {record.msg}")  # type: ignore[method-assign]
    logging.getLogger().addHandler(log)
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger("resentry").setLevel(logging.DEBUG)
    answers = [answer(fork(lambda: seen)) for _ in range(3)]
    return {"parent": seen, "children": answers}


LOUD = {
    "subprocess.Popen",
    "os.posix_spawn",
    "os.fork",
    "os.exec",
    "socket.connect",
    "time.sleep",
}


def main() -> None:
    said = globals()[sys.argv[1]]()
    resentry.close()
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
