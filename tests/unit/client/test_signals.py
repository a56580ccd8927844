"""The real-time signal goes to the library's own thread: nobody else notices it."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from lab.sink import Sink

Run = Callable[..., Any]
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="tgkill is Linux's"),
]

STEPS = """
import ctypes, errno, signal, subprocess, threading, time
from children import *

A, B = os.environ["A"], os.environ["B"]
NUMBER = signal.SIGRTMIN + 6
libc = ctypes.CDLL(None, use_errno=True)

def start(**options):
    publish({"SENTRY_DSN": A})
    resentry.init(**{**QUICK, **options})
    return own_receipt(sequence=1)

def notify(pid, tid):
    "As an agent does it; the error's name, or None."
    failed = libc.tgkill(pid, tid, NUMBER)
    return errno.errorcode[ctypes.get_errno()] if failed else None

def thread_status(tid, field):
    with open(f"/proc/self/task/{tid}/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines[field], 16)

def is_set(tid, field):
    return bool(thread_status(tid, field) >> (NUMBER - 1) & 1)

def was_read(tid):
    "Wait until the thread has taken every signal that was sent to it."
    eventually(lambda: not is_set(tid, "SigPnd"), what="no signal pending")

def alive():
    "Whether the process still works."
    return resentry.status()["sequence"] > 0
"""


def test_the_receipt_names_signal_and_thread(go: Run) -> None:
    """The thread is one of this process, blocks the signal, and reads what comes."""
    ran = go(
        """
        receipt = start()
        tid = receipt["tid"]
        sent = [notify(os.getpid(), tid) for _ in range(5)]
        was_read(tid)
        say(
            signal=receipt["signal"] - NUMBER,
            main=tid == os.getpid(),
            ours=str(tid) in os.listdir("/proc/self/task"),
            blocks=is_set(tid, "SigBlk"),
            handler=signal.getsignal(NUMBER) == signal.SIG_DFL,
            sent=sent,
        )
        """
    )
    assert ran.said == {
        "signal": 0,
        "main": False,
        "ours": True,
        "blocks": True,
        "handler": True,
        "sent": [None] * 5,
    }


@pytest.mark.parametrize("chosen", ["off", "SIGTERM"])
def test_without_a_signal_there_is_no_thread_for_it(go: Run, chosen: str) -> None:
    """Both stand in the receipt, or neither."""
    ran = go(
        """
        receipt = start()
        take_up({"SENTRY_DSN": B})
        say(both=[receipt["signal"], receipt["tid"]])
        """,
        RESENTRY_SIGNAL=chosen,
    )
    assert ran.said == {"both": [None, None]}


def test_init_in_another_thread_has_the_signal_too(go: Run) -> None:
    """No handler is needed, so any thread will do."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        other = threading.Thread(target=resentry.init, kwargs=QUICK)
        other.start()
        other.join()
        receipt = own_receipt(sequence=1)
        sent = notify(os.getpid(), receipt["tid"])
        was_read(receipt["tid"])
        say(signal=receipt["signal"] - NUMBER, sent=sent)
        """
    )
    assert ran.said == {"signal": 0, "sent": None}


def test_a_signal_has_the_snapshot_taken_up(go: Run) -> None:
    """Where nothing else shows a change: the thread looks when it is told."""
    ran = go(
        """
        from resentry.reader import SharedDir
        receipt = start()
        time.sleep(1.5)
        looks, mark = [], SharedDir.mark

        def counting(*args, **kwargs):
            looks.append(time.monotonic())
            return mark(*args, **kwargs)

        SharedDir.mark = counting
        for turn in range(20):
            seen = len(looks)
            assert notify(os.getpid(), receipt["tid"]) is None
            eventually(lambda: len(looks) > seen)
        say(took=looks[-1] - looks[0])
        """
    )
    assert ran.said["took"] < 15  # twenty looks by the clock alone take 20 s


# The main thread


def test_pause_lasts(go: Run) -> None:
    """`signal.pause()` returns for the application's own signal alone."""
    ran = go(
        """
        receipt = start()
        signal.signal(signal.SIGUSR1, lambda *_: None)
        done, main = [], threading.main_thread().ident

        def others():
            try:
                for _ in range(5):
                    done.append(notify(os.getpid(), receipt["tid"]))
                    was_read(receipt["tid"])
                done.append("all")
            finally:
                signal.pthread_kill(main, signal.SIGUSR1)

        thread = threading.Thread(target=others)
        thread.start()
        signal.pause()
        say(done=list(done))
        thread.join()
        """
    )
    assert ran.said == {"done": [None] * 5 + ["all"]}


def test_poll_and_sleep_last(go: Run) -> None:
    """The calls of libc, which Python does not repeat, are not interrupted."""
    ran = go(
        """
        receipt = start()
        stop = threading.Event()

        def others():
            while not stop.wait(0.02):
                assert notify(os.getpid(), receipt["tid"]) is None

        thread = threading.Thread(target=others)
        thread.start()
        polled = [libc.poll(None, 0, 200) for _ in range(3)]
        left = [libc.usleep(200_000) for _ in range(3)]
        stop.set()
        thread.join()
        was_read(receipt["tid"])
        say(polled=polled, left=left)
        """
    )
    assert ran.said == {"polled": [0] * 3, "left": [0] * 3}


@pytest.mark.parametrize("when", ["before init", "after init"])
def test_the_application_s_own_handler_never_runs_for_ours(go: Run, when: str) -> None:
    """It keeps the number for itself: only what is sent to the process reaches it."""
    ran = go(
        """
        got = []
        own = lambda: signal.signal(NUMBER, lambda *_: got.append(1))
        if os.environ["WHEN"] == "before init":
            own()
        receipt = start()
        if os.environ["WHEN"] == "after init":
            own()
        take_up({"SENTRY_DSN": B})
        if receipt["tid"]:
            for _ in range(5):
                notify(os.getpid(), receipt["tid"])
            was_read(receipt["tid"])
        ours = len(got)
        os.kill(os.getpid(), NUMBER)
        eventually(lambda: got)
        say(ours=ours, its=len(got), handler=callable(signal.getsignal(NUMBER)))
        """,
        WHEN=when,
    )
    assert ran.said == {"ours": 0, "its": 1, "handler": True}


# Masks


def test_only_our_thread_blocks_the_signal(go: Run, sink: Sink) -> None:
    """Threads that it starts, at a swap, have the mask that the application chose."""
    ran = go(
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        receipt = start(enable_logs=True)
        before = set(os.listdir("/proc/self/task"))
        take_up({"SENTRY_DSN": B})
        sentry_sdk.logger.info("a line")
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(10)
        resting = threading.Thread(target=time.sleep, args=[60], daemon=True)
        resting.start()
        tasks = os.listdir("/proc/self/task")
        blocked = [int(tid) for tid in tasks if is_set(tid, "SigBlk")]
        usr1 = [bool(thread_status(t, "SigBlk") >> (signal.SIGUSR1 - 1) & 1) for t in tasks]
        started = subprocess.check_output(["cat", "/proc/self/status"], text=True)
        mask = [line for line in started.splitlines() if "SigBlk" in line]
        say(
            blocked=blocked == [receipt["tid"]],
            started=len(set(tasks) - before),
            usr1=all(usr1),
            child=int(mask[0].split()[1], 16) >> (NUMBER - 1) & 1,
        )
        """
    )
    assert ran.said["started"] >= 2
    assert (ran.said["blocked"], ran.said["usr1"], ran.said["child"]) == (True, True, 0)
    assert [event.message for event in sink.events(2)] == ["after"]


# Who has no thread of ours


@pytest.mark.parametrize("fork", ["no hooks", "hooks"])
def test_a_child_is_not_ended_by_its_parent_s_signal(go: Run, fork: str) -> None:
    """The thread of the parent's receipt does not exist there: nothing happens."""
    ran = go(
        """
        receipt = start()

        def work(me):
            me.wait()
            me.tell(works=alive())

        child = Child(os.environ["FORK"], work)
        sent = [notify(child.pid, receipt["tid"]) for _ in range(5)]
        child.go()
        says = child.heard()
        say(sent=sent, works=says["works"], end=child.ended())
        """,
        FORK=fork,
    )
    assert ran.said == {"sent": ["ESRCH"] * 5, "works": True, "end": 0}


@pytest.mark.parametrize("fork", ["no hooks", "hooks"])
def test_a_child_has_a_thread_of_its_own(go: Run, fork: str) -> None:
    """Its receipt names it once it has captured, and the signal reaches it."""
    ran = go(
        """
        receipt = start()

        def work(me):
            sentry_sdk.capture_message("child")
            mine = own_receipt(sequence=1)
            sent = notify(os.getpid(), mine["tid"])
            was_read(mine["tid"])
            me.tell(sent=sent, tid=mine["tid"], signal=mine["signal"] - NUMBER)

        child = Child(os.environ["FORK"], work)
        says = child.heard()
        say(says=says, own=says["tid"] != receipt["tid"], end=child.ended())
        """,
        FORK=fork,
    )
    assert ran.said["says"]["sent"] is None
    assert ran.said["says"]["signal"] == 0
    assert (ran.said["own"], ran.said["end"]) == (True, 0)


def test_a_process_whose_thread_has_ended(go: Run) -> None:
    """After `close` a late signal finds nobody, and the process lives."""
    ran = go(
        """
        receipt = start()
        resentry.close()
        sent = eventually(lambda: notify(os.getpid(), receipt["tid"]))
        say(sent=sent, works=alive(), handler=signal.getsignal(NUMBER) == signal.SIG_DFL)
        """
    )
    assert ran.said == {"sent": "ESRCH", "works": True, "handler": True}


def test_an_init_again_names_its_thread(go: Run) -> None:
    """The receipt of the second `init` names the thread that lives."""
    ran = go(
        """
        start()
        resentry.init(role="celery", **QUICK)
        receipt = eventually(lambda: [r for r in receipts() if r["role"] == "celery"])[0]
        sent = notify(os.getpid(), receipt["tid"])
        was_read(receipt["tid"])
        say(sent=sent, blocks=is_set(receipt["tid"], "SigBlk"))
        """
    )
    assert ran.said == {"sent": None, "blocks": True}


def test_signals_without_end(go: Run, sink: Sink) -> None:
    """A flood of them costs the application neither an event nor a swap."""
    ran = go(
        """
        receipt = start()
        stop = threading.Event()

        def others():
            while not stop.wait(0.001):
                notify(os.getpid(), receipt["tid"])

        thread = threading.Thread(target=others)
        thread.start()
        for turn in range(4):
            sentry_sdk.capture_message(str(turn))
            take_up({"SENTRY_DSN": (B, A)[turn % 2]})
        stop.set()
        thread.join()
        sentry_sdk.flush(10)
        resentry.close()
        say(works=alive())
        """
    )
    assert ran.said == {"works": True}
    assert sorted(event.message for event in sink.events()) == ["0", "1", "2", "3"]
