"""How a process ends, and what it has sent by then."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading

import sentry_sdk
from program import ask_runner, case, fail, main, pause, report, say, work


def capture() -> None:
    """Hold an item of each kind."""
    work()
    report()
    sentry_sdk.metrics.count("lessons", 1)
    sentry_sdk.logger.warning("late")
    sentry_sdk.get_isolation_scope().start_session()
    pause()


@case("exit: normal", enable_logs=True)
def normal() -> None:
    capture()
    sentry_sdk.capture_message("the last")


@case("exit: captures at exit", enable_logs=True)
def atexit_capture() -> None:
    atexit.register(sentry_sdk.capture_message, "at exit")
    capture()


@case("exit: unhandled exception", enable_logs=True, code=1)
def unhandled() -> None:
    capture()
    fail()


@case("exit: sys.exit with a code", enable_logs=True, code=3)
def sys_exit() -> None:
    capture()
    sys.exit(3)


@case("exit: unhandled exception in a thread")
def in_thread() -> None:
    for _ in range(2):
        thread = threading.Thread(target=fail, name="worker")
        thread.start()
        thread.join()
        pause()


@case("exit: a thread goes on after the main one")
def late_thread() -> None:
    def go_on() -> None:
        threading.main_thread().join()
        report()

    pause()
    threading.Thread(target=go_on, name="late").start()


@case("exit: KeyboardInterrupt", enable_logs=True, code=-2)
def interrupted() -> None:
    capture()
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(10)


@case("exit: SIGTERM, no handler", enable_logs=True, code=-15)
def terminated() -> None:
    capture()
    sentry_sdk.flush()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(10)


@case("exit: SIGTERM, handler that exits", enable_logs=True)
def terminated_handled() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    capture()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(10)


@case("exit: os._exit after a flush", enable_logs=True, code=7)
def hard_exit() -> None:
    capture()
    sentry_sdk.flush()
    os._exit(7)


@case("flush and close by hand", enable_logs=True)
def closed() -> None:
    capture()
    sentry_sdk.flush(timeout=5)
    sentry_sdk.get_client().close(timeout=5)
    say(after=sentry_sdk.capture_message("after the end"))


def fork(in_child: str) -> None:
    """Capture in the parent, in a child that ends in its own way, in the parent."""
    report()
    sentry_sdk.flush()
    pause()
    child = os.fork()
    if child == 0:
        sentry_sdk.set_tag("in", "child")
        report()
        work("in the child")
        if in_child == "flush":
            sentry_sdk.flush()
            os._exit(0)
        sys.exit(0)
    say(code=os.waitpid(child, 0)[1])
    pause()
    report()


@case("fork: child flushes, os._exit")
def fork_flush() -> None:
    fork("flush")


@case("fork: child ends by sys.exit")
def fork_exit() -> None:
    fork("exit")


@case("fork: while the parent has something queued")
def fork_queued() -> None:
    pause()
    ask_runner("stay")
    ask_runner("hold")
    sentry_sdk.capture_message("on its way")
    ask_runner("received 1")
    sentry_sdk.capture_message("queued")
    child = os.fork()
    if child == 0:
        sentry_sdk.capture_message("of the child")
        ask_runner("release")
        sentry_sdk.flush()
        os._exit(0)
    os.waitpid(child, 0)


@case("fork: in a transaction")
def fork_transaction() -> None:
    with sentry_sdk.start_transaction(name="forking"):
        pause()
        child = os.fork()
        if child == 0:
            with sentry_sdk.start_span(op="child"):
                report()
            sentry_sdk.flush()
            os._exit(0)
        os.waitpid(child, 0)
        report()


@case(
    "an unhandled exception that before_send drops", before_send=lambda *_: None, code=1
)
def unhandled_dropped() -> None:
    pause()
    fail()


if __name__ == "__main__":
    main()
