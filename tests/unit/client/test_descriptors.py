"""Descriptors that are ours no more: the application has closed them, and has its own.

As `os.closerange`, daemons and servers do it. None of the application's is read, written
or closed, and the process goes on as a target.
"""

import functools
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from arrivals import messages

from lab.sink import Sink

Run = Callable[..., Any]
KINDS = ("eventfd", "inotify", "epoll", "signalfd", "pipe", "socket", "file")
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's"),
]

FIRST = """
import atexit, json, os
at_last = {}

@atexit.register
def say_at_last():
    "Registered before everything else, and so called after everything else."
    print(json.dumps({key: function() for key, function in at_last.items()}), flush=True)
"""

STEPS = """
import itertools, signal, subprocess, sys, threading, time
from children import *
from foreign import *
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.integrations.threading import ThreadingIntegration

A, B, FORK = os.environ["A"], os.environ["B"], os.environ.get("FORK")
before = numbers()

def start():
    publish({"SENTRY_DSN": A})
    noticing = [LoggingIntegration(), ThreadingIntegration()]
    resentry.init(integrations=noticing, **QUICK)
    sentry_sdk.capture_message("first")
    sentry_sdk.flush(10)
    own_receipt(sequence=1)

def ours():
    return sorted(numbers() - before)

def is_live():
    "Whether an agent would find this process alive: it holds its receipt's lock."
    def held():
        lock = f"{os.environ['RESENTRY_DIR']}/receipts/{own_receipt()['id']}.lock"
        ask = "import os, sys; from resentry.locks import is_held as held; "
        ask += "sys.exit(not held(os.open(sys.argv[1], os.O_RDONLY)))"
        return not subprocess.run([sys.executable, "-c", ask, lock]).returncode
    return eventually(held, what="a lock that is held")
"""


@pytest.fixture
def go(go: Run) -> Run:
    """Run a script; at the end of all it says `at_last`."""
    return functools.partial(go, first=FIRST)


@pytest.mark.parametrize("kind", [*KINDS, "mixed"])
def test_an_application_that_closes_all_and_opens_its_own(
    go: Run, sink: Sink, kind: str
) -> None:
    """Nothing of it is touched: at once, at `close`, in children, at the end."""
    ran = go(
        """
        start()
        highest = max(ours())
        os.closerange(3, 256)
        kind = os.environ["KIND"]
        kinds = itertools.cycle(KINDS if kind == "mixed" else [kind])
        foreign = [Foreign(number, next(kinds)) for number in range(3, highest + 4)]
        at_last["at_last"] = lambda: wrong(foreign, read=True)

        take_up({"SENTRY_DSN": B})
        own_receipt(sequence=2)
        live = is_live()
        sentry_sdk.capture_message("second")
        sentry_sdk.flush(10)
        busy = time.process_time()
        time.sleep(1)
        busy = time.process_time() - busy
        soon = wrong(foreign)

        def work(me):
            at_last.clear()
            sentry_sdk.capture_message("child")
            sentry_sdk.flush(10)
            atexit.register(lambda: me.tell(wrong=wrong(foreign)))

        in_children = []
        for fork in FORKS:
            child = Child(fork, work)
            in_children.append([child.heard(), child.ended()])
        after = wrong(foreign)
        resentry.close()
        closed = wrong(foreign)
        at_last["said"] = lambda: [live, soon, in_children, after, closed]
        at_last["busy"] = lambda: busy
        """,
        KIND=kind,
    )
    live, soon, children, after, closed = ran.said["said"]
    assert (live, soon, after, closed) == (True, [], [], [])
    assert children == [[{"wrong": []}, 0]] * 2
    assert ran.said["at_last"] == []
    assert ran.said["busy"] < 0.5
    assert sorted(messages(sink, 1)) == ["first"]
    assert sorted(messages(sink, 2)) == ["child", "child", "second"]
    assert "Exception ignored" not in ran.log


def test_one_after_the_other_becomes_the_application_s(go: Run, sink: Sink) -> None:
    """Of the same kind at the same number, the process goes on each time."""
    ran = go(
        """
        start()
        foreign, kinds, sent, found = [], [], ["first"], []
        at_last["at_last"] = lambda: wrong(foreign, read=True)
        at_last["said"] = lambda: [found, kinds, sent]

        def next_one():
            "The library's, of a kind that it has not lost yet."
            mine = {one.number for one in foreign}
            for number in set(ours()) - mine:
                if is_open(number) and kind_of(number) not in kinds:
                    return number

        while (number := next_one()) is not None:
            kinds.append(kind_of(number))
            os.close(number)
            foreign.append(Foreign(number, kinds[-1]))
            turn = len(kinds)
            snapshot = publish({"SENTRY_DSN": (A, B)[turn % 2]})
            wait_for(lambda now: now["sequence"] == snapshot.sequence)
            sent.append(str(turn))
            sentry_sdk.capture_message(sent[-1])
            sentry_sdk.flush(10)
            wait_for(lambda now: now["phase"] == "drained")
            own_receipt(sequence=snapshot.sequence)
            found += wrong(foreign) + ([] if is_live() else ["not live"])
        resentry.close()
        found += wrong(foreign)
        """
    )
    found, kinds, sent = ran.said["said"]
    assert (found, ran.said["at_last"]) == ([], [])
    assert {"inotify", "file", "socket"} <= set(kinds)
    assert sorted(sent) == sorted(event.message for event in sink.events())


def test_a_connection_s_number_becomes_the_application_s(go: Run, sink: Sink) -> None:
    """What the application exchanges on its socket is whole, and no event is lost.

    Between two requests: one that waits for its answer meanwhile would read there, as
    with sentry-sdk alone.
    """
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        own_receipt(sequence=1)
        earlier = numbers()
        sentry_sdk.capture_message("first")
        sentry_sdk.flush(10)
        (number,) = [n for n in numbers() - earlier if kind_of(n) == "socket"]
        os.close(number)
        foreign = [Foreign(number, "socket")]
        at_last["at_last"] = lambda: wrong(foreign, read=True)
        sentry_sdk.capture_message("second")
        sentry_sdk.flush(10)
        found = wrong(foreign)
        at_last["found"] = lambda: found
        """
    )
    assert (ran.said["found"], ran.said["at_last"]) == ([], [])
    assert sorted(messages(sink, 1)) == ["first", "second"]


@pytest.mark.parametrize("fork", ["no hooks", "hooks"])
def test_a_daemon(go: Run, sink: Sink, fork: str) -> None:
    """It forks twice, closes all that it has and opens its own, as python-daemon does."""
    ran = go(
        """
        start()

        def daemon(me):
            os.closerange(3, me._out)
            os.closerange(me._out + 1, 256)
            os.chdir("/")
            free = [number for number in range(3, 30) if not is_open(number)]
            kinds = itertools.cycle(KINDS)
            foreign = [Foreign(number, next(kinds)) for number in free]
            sentry_sdk.capture_message("daemon")
            sentry_sdk.flush(10)
            me.tell(**own_receipt(sequence=1))
            own_receipt(sequence=2)
            sentry_sdk.capture_message("later")
            atexit.register(lambda: me.tell(wrong=wrong(foreign, read=True)))

        def between(me):
            at_last.clear()
            child = Child(FORK, daemon)
            me.tell(first=child.heard(), pid=child.pid)
            me.tell(last=child.heard(), end=child.ended())

        child = Child(FORK, between)
        first = child.heard()
        take_up({"SENTRY_DSN": B})
        last = child.heard()
        at_last["end"] = lambda: child_end
        child_end = child.ended()
        at_last["own"] = lambda: first["first"]["pid"] == first["pid"]
        at_last["last"] = lambda: last
        """,
        FORK=fork,
    )
    assert ran.said == {
        "end": 0,
        "own": True,
        "last": {"last": {"wrong": []}, "end": 0},
    }
    assert sorted(messages(sink, 1)) == ["daemon", "first"]
    assert sorted(messages(sink, 2)) == ["later"]


# No descriptor is free

FULL = """
import resource

def fill():
    "Use every number that the limit allows."
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(numbers()) + 3, hard))
    filled = []
    while True:
        try:
            filled.append(os.dup(0))
        except OSError:
            return filled

def free(filled):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1024), hard))
    for number in filled:
        os.close(number)
"""


@pytest.mark.parametrize("fork", ["no hooks", "hooks"])
def test_a_fork_with_no_descriptor_free(go: Run, sink: Sink, fork: str) -> None:
    """It says nothing and costs nothing: the child works, without its parent's sockets."""
    ran = go(
        FULL
        + textwrap.dedent("""
        start()
        at_last["said"] = lambda: [heard, end]
        sockets = lambda: {
            os.readlink(f"/proc/self/fd/{number}")
            for number in numbers()
            if kind_of(number) == "socket"
        }
        inherited = sockets()
        assert inherited

        def work(me):
            free(filled)
            sentry_sdk.capture_message("child")
            sentry_sdk.flush(10)
            receipt = own_receipt(sequence=1)
            at_last.clear()
            me.tell(own=receipt["pid"] == os.getpid(), left=len(inherited & sockets()))

        def full():
            filled.extend(fill())
            pid = FORKS[FORK]()
            if pid:
                free(filled)
            return pid

        filled = []
        child = Child.__new__(Child)
        FORKS["full"] = full
        child.__init__("full", work)
        heard, end = child.heard(), child.ended()
        """),
        FORK=fork,
    )
    assert ran.said["said"] == [{"own": True, "left": 0}, 0]
    assert sorted(messages(sink, 1)) == ["child", "first"]
    assert "Exception ignored" not in ran.log
    assert "Traceback" not in ran.log


def test_a_process_with_no_descriptor_free_for_a_while(go: Run, sink: Sink) -> None:
    """It says so in `status`, and goes on when there is one again."""
    ran = go(
        FULL
        + textwrap.dedent("""
        start()
        filled = fill()
        publishing = "import scenario, sys; next(scenario._sequences); "
        publishing += "scenario.publish({'SENTRY_DSN': sys.argv[1]})"
        command = [sys.executable, "-c", publishing, B]
        child = os.posix_spawn(sys.executable, command, os.environ)
        assert os.waitpid(child, 0)[1] == 0
        error = wait_for(lambda now: now["error"])["error"]
        free(filled)
        wait_for(lambda now: (now["sequence"], now["phase"]) == (2, "drained"))
        own_receipt(sequence=2)
        sentry_sdk.capture_message("second")
        sentry_sdk.flush(10)
        live, after = is_live(), resentry.status()["error"]
        at_last["said"] = lambda: [bool(error), live, after]
        """)
    )
    assert ran.said["said"] == [True, True, None]
    assert sorted(messages(sink, 2)) == ["second"]


# eventlet


def test_without_poll_nothing_leaks(run: Run, sink: Sink, volume: str) -> None:
    """As under eventlet, which removes it: the rest is the same, and all is closed."""
    ran = run(
        """
        from foreign import numbers
        publish({"SENTRY_DSN": os.environ["A"]})
        before = numbers()
        for _ in range(5):
            resentry.init(**QUICK)
            eventually(receipts)
            resentry.close()
        closed = len(numbers() - before)
        resentry.init(**QUICK)
        take_up({"SENTRY_DSN": os.environ["B"]})
        say(left=closed)
        """,
        first="import select; del select.poll",
        RESENTRY_DIR=volume,
        A=sink.dsn(1),
        B=sink.dsn(2),
    )
    assert ran.said == {"left": 0}
