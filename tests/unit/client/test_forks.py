"""Forks as C programs do them, without Python's hooks, beside those of `os.fork`.

All that the library has in a process must be right by its pid alone: the hooks make it
early, and nothing else.
"""

import functools
import os
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from arrivals import messages

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]
FORKS = ("no hooks", "hooks")

STEPS = """
import signal, threading, time
from children import *
from sentry_sdk.integrations.atexit import AtexitIntegration
A, B, FORK = os.environ["A"], os.environ["B"], os.environ["FORK"]

def options(*integrations, **more):
    "With the SDK's own end of a process, which says nothing."
    silent = AtexitIntegration(callback=lambda pending, timeout: None)
    found = {"integrations": [silent, *integrations], "shutdown_timeout": 20}
    return QUICK | found | more

def start(*integrations, **more):
    publish({"SENTRY_DSN": A, "SENTRY_TRACES_SAMPLE_RATE": 1.0})
    resentry.init(**options(*integrations, **more))
    eventually(receipts)

def let_go(children):
    "Have them go on. One whose thread follows already takes a snapshot up in its own time."
    for child in children:
        if FORK == "hooks":
            eventually(lambda: (receipt_of(child.pid) or {}).get("sequence") == 2)
        child.go()
"""


@pytest.fixture(params=FORKS)
def go(go: Run, request: pytest.FixtureRequest) -> Run:
    """Run a script that has one of the two ways to fork."""
    return functools.partial(go, FORK=request.param)


# What children capture


@pytest.mark.parametrize("before", ["", "an event of the parent's"])
def test_children_lose_nothing_and_end_by_themselves(
    go: Run, sink: Sink, before: str
) -> None:
    """Each child's event arrives once, also where the parent has a connection open."""
    ran = go(
        """
        start()
        if os.environ["BEFORE"]:
            sentry_sdk.capture_message(os.environ["BEFORE"])
            sentry_sdk.flush(10)
        children = [
            Child(FORK, lambda me, n=n: sentry_sdk.capture_message(f"child {n:02}"))
            for n in range(10)
        ]
        say(ends=end_all(children))
        """,
        BEFORE=before,
    )
    assert ran.said["ends"] == {"0": 10}
    expected = [before][: len(before)] + [f"child {number:02}" for number in range(10)]
    assert expected == sorted(messages(sink, 1))


def test_children_end_at_once_on_sigterm(go: Run, sink: Sink) -> None:
    """A server's handler ends the interpreter, and what was captured is sent."""
    ran = go(
        """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        start()

        def work(me):
            sentry_sdk.capture_message("child")
            me.tell()
            while True:  # not `pause`: a signal just before it would be waited for
                time.sleep(0.01)

        children = [Child(FORK, work) for _ in range(10)]
        for child in children:
            child.heard()
            os.kill(child.pid, signal.SIGTERM)
        say(ends=end_all(children))
        """
    )
    assert ran.said["ends"] == {"7": 10}
    assert sorted(messages(sink, 1)) == ["child"] * 10


def test_a_child_that_captures_nothing_ends_at_once(go: Run) -> None:
    """It waits for no thread, which it has not, and leaves its parent's receipt alone."""
    ran = go(
        """
        start()
        mine = own_receipt()
        ends = end_all([Child(FORK, lambda me: None) for _ in range(10)])
        ends_closed = end_all([Child(FORK, lambda me: resentry.close())])
        take_up({"SENTRY_DSN": B})
        say(ends=ends, closed=ends_closed, same=own_receipt()["id"] == mine["id"])
        """
    )
    assert ran.said == {"ends": {"0": 10}, "closed": {"0": 1}, "same": True}


def test_flush_in_a_child_sends_what_the_child_has_captured(
    go: Run, sink: Sink
) -> None:
    """A child that ends without the interpreter's end, as pools do, loses nothing."""
    ran = go(
        """
        start()

        def work(me):
            sentry_sdk.capture_message("child")
            began = time.monotonic()
            sentry_sdk.flush(30)
            me.tell(took=time.monotonic() - began)
            os._exit(0)

        children = [Child(FORK, work) for _ in range(10)]
        took = [child.heard()["took"] for child in children]
        say(took=max(took), ends=end_all(children))
        """
    )
    assert ran.said["ends"] == {"0": 10}
    assert ran.said["took"] < 20
    assert sorted(messages(sink, 1)) == ["child"] * 10


@pytest.mark.parametrize(
    ("kind", "capture"),
    [
        ("log", "sentry_sdk.logger.info('a line')"),
        ("trace_metric", "sentry_sdk.metrics.count('lines', 1)"),
        ("session", "scope.start_session(); scope.end_session()"),
        ("transaction", "sentry_sdk.start_transaction(name='t').__enter__().finish()"),
    ],
)
def test_a_child_s_first_item_may_be_of_any_kind(
    go: Run, sink: Sink, kind: str, capture: str
) -> None:
    """It arrives, at the project of the newest snapshot: nothing is lost but events."""
    sink.answer(1, 403)
    ran = go(
        """
        if os.environ["KIND"] == "trace_metric" and not hasattr(sentry_sdk, "metrics"):
            say(ends={"0": 5}, lacks=True)
            sys.exit()
        start(enable_logs=True)

        def work(me):
            me.wait()
            scope = sentry_sdk.get_isolation_scope()
            exec(os.environ["CAPTURE"])

        children = [Child(FORK, work) for _ in range(5)]
        take_up({"SENTRY_DSN": B, "SENTRY_TRACES_SAMPLE_RATE": 1.0})
        let_go(children)
        say(ends=end_all(children))
        """,
        KIND=kind,
        CAPTURE=capture,
    )
    assert ran.said["ends"] == {"0": 5}
    if "lacks" not in ran.said:
        assert sink.count(kind, 2) == 5


# A target of its own


def test_a_child_is_a_target_by_its_first_capture(go: Run, sink: Sink) -> None:
    """It gives a receipt of its own, and takes up what comes next."""
    ran = go(
        """
        start()
        parent = own_receipt()

        def work(me):
            sentry_sdk.capture_message("first")
            first = own_receipt()
            me.tell(**first)
            me.wait()
            me.tell(**own_receipt(sequence=2))
            sentry_sdk.capture_message("second")

        child = Child(FORK, work)
        first = child.heard()
        take_up({"SENTRY_DSN": B})
        child.go()
        second = child.heard()
        end = child.ended()
        say(
            end=end,
            pid=first["pid"] == child.pid,
            alone=first["id"] != parent["id"],
            parent=first["parent"] == parent["id"],
            same=first["id"] == second["id"],
            sequences=[first["sequence"], second["sequence"]],
            error=second["error"],
            left=[each["pid"] == os.getpid() for each in receipts()],
        )
        """
    )
    assert ran.said == {
        "end": 0,
        "pid": True,
        "alone": True,
        "parent": True,
        "same": True,
        "sequences": [1, 2],
        "error": None,
        "left": [True],
    }
    assert sorted(messages(sink, 1)) == ["first"]
    assert sorted(messages(sink, 2)) == ["second"]


@pytest.mark.parametrize("answer", ["ok", 403])
def test_the_newest_snapshot_is_taken_up_before_the_first_envelope_leaves(
    go: Run, sink: Sink, answer: Any
) -> None:
    """A child that was forked long ago sends nothing to the DSN of that time."""
    sink.answer(1, answer)
    ran = go(
        """
        start()

        def work(me):
            me.wait()
            sentry_sdk.capture_message("child")

        children = [Child(FORK, work) for _ in range(10)]
        take_up({"SENTRY_DSN": B})
        let_go(children)
        say(ends=end_all(children))
        """
    )
    assert ran.said["ends"] == {"0": 10}
    assert sorted(messages(sink, 1)) == []
    assert sorted(messages(sink, 2)) == ["child"] * 10
    assert sink.answered(403) == 0


def test_a_child_that_becomes_another_program_gives_no_receipt(go: Run) -> None:
    """Fork and exec at once cost neither a thread nor a file."""
    ran = go(
        """
        start()
        work = lambda me: os.execv("/bin/true", ["true"])
        ends = end_all([Child(FORK, work) for _ in range(20)])
        files = os.listdir(os.path.join(os.environ["RESENTRY_DIR"], "receipts"))
        say(ends=ends, files=len(files))
        """
    )
    assert ran.said == {"ends": {"0": 20}, "files": 2}


def test_a_child_answers_what_runs_in_it(go: Run) -> None:
    """`status` and `revision` neither wait nor raise before the first capture."""
    ran = go(
        """
        start()
        work = lambda me: me.tell(now=resentry.status(), revision=resentry.revision())
        child = Child(FORK, work)
        said = child.heard()
        end = child.ended()
        say(end=end, sequence=said["now"]["sequence"], error=said["now"]["error"],
            same=said["revision"] == resentry.revision())
        """
    )
    assert ran.said == {"end": 0, "sequence": 1, "error": None, "same": True}


def test_a_child_may_call_init_again(go: Run, sink: Sink) -> None:
    """As servers have it in a hook of their own, after the fork."""
    ran = go(
        """
        start()

        def work(me):
            resentry.init(role="celery", **options())
            sentry_sdk.capture_message("child")
            me.tell(**own_receipt())

        child = Child(FORK, work)
        said = child.heard()
        say(end=child.ended(), role=said["role"], mine=own_receipt()["role"])
        """
    )
    assert ran.said == {"end": 0, "role": "celery", "mine": "api"}
    assert sorted(messages(sink, 1)) == ["child"]


def test_a_child_of_a_child_is_like_any_other(go: Run, sink: Sink) -> None:
    """Also where the one between has captured, or has ended."""
    ran = go(
        """
        start()

        def last(me):
            sentry_sdk.capture_message("grandchild")
            me.tell(**own_receipt())

        def work(me, captures):
            if captures:
                sentry_sdk.capture_message("child")
            child = Child(FORK, last)
            said = child.heard()
            me.tell(end=child.ended(), pid=said["pid"] == child.pid)

        children = [
            Child(FORK, lambda me, captures=captures: work(me, captures))
            for captures in (False, True)
        ]
        heard = [child.heard() for child in children]
        say(ends=end_all(children), heard=heard)
        """
    )
    assert ran.said["ends"] == {"0": 2}
    assert ran.said["heard"] == [{"end": 0, "pid": True}] * 2
    assert sorted(messages(sink, 1)) == ["child", "grandchild", "grandchild"]


def test_a_child_without_a_volume_sends_as_ever(go: Run, sink: Sink) -> None:
    """Where the environment decides there is no thread, and nothing is lost."""
    ran = go(
        """
        resentry.init(**options())
        sentry_sdk.capture_message("parent")
        work = lambda me: sentry_sdk.capture_message("child")
        say(ends=end_all([Child(FORK, work) for _ in range(5)]))
        """,
        SENTRY_DSN=sink.dsn(1),
        RESENTRY_DIR="",
    )
    assert ran.said["ends"] == {"0": 5}
    assert sorted(messages(sink, 1)) == ["child"] * 5 + ["parent"]


# What the parent was doing

LOCKS = """
import gc

def locks():
    "Every lock of the library: of its modules, and of all its objects."
    kinds = (type(threading.Lock()), type(threading.RLock()), threading.Condition)
    ours = lambda thing: str(type(thing).__module__).partition(".")[0] == "resentry"
    modules = [m for n, m in sys.modules.items() if n.partition(".")[0] == "resentry"]
    things = modules + [thing for thing in gc.get_objects() if ours(thing)]
    fields = [getattr(thing, "__dict__", {}).values() for thing in things]
    found = {id(one): one for each in fields for one in each if isinstance(one, kinds)}
    return list(found.values())

class Holder:
    "Another thread, which holds locks while the process forks."
    def __init__(self, held):
        self._release, ready = threading.Event(), threading.Event()

        def hold():
            taken = [lock for lock in held if lock.acquire(timeout=0.5)]
            ready.set()
            self._release.wait()
            for lock in taken:
                lock.release()

        # A daemon: Python itself waits for any other thread, at the end of a child, too.
        self._thread = threading.Thread(target=hold, daemon=True)
        self._thread.start()
        ready.wait()

    def release(self):
        self._release.set()
        self._thread.join()

def quick_fork(work):
    began = time.monotonic()
    child = Child(FORK, work)
    return child, time.monotonic() - began
"""


def test_a_child_of_a_moment_when_another_thread_holds_our_locks(
    go: Run, sink: Sink
) -> None:
    """The holder does not exist in the child: each lock of ours is made anew there."""
    ran = go(
        LOCKS
        + textwrap.dedent("""
        start()
        sentry_sdk.capture_message("parent")
        sentry_sdk.flush(10)
        holder = Holder(locks())

        def work(me):
            sentry_sdk.capture_message("child")
            me.tell(receipt=own_receipt()["pid"], sequence=resentry.status()["sequence"])
            me.wait()
            own_receipt(sequence=2)
            sentry_sdk.capture_message("after")

        child, took = quick_fork(work)
        holder.release()
        heard = child.heard()
        take_up({"SENTRY_DSN": B})
        child.go()
        say(end=child.ended(), right=heard["receipt"] == child.pid, took=took)
        """)
    )
    assert (ran.said["end"], ran.said["right"]) == (0, True)
    assert ran.said["took"] < 5
    assert sorted(messages(sink, 1)) == ["child", "parent"]
    assert sorted(messages(sink, 2)) == ["after"]


def test_a_child_of_a_moment_when_another_thread_sends(go: Run, sink: Sink) -> None:
    """What the parent is sending is sent once, by the parent; the child's is the child's."""
    sink.answer(1, "ok", seconds=0.5)
    ran = go(
        """
        start()
        for number in range(3):
            sentry_sdk.capture_message(f"parent {number}")
        from foreign import kind_of, numbers
        eventually(lambda: "socket" in map(kind_of, numbers()))
        work = lambda me: sentry_sdk.capture_message("child") and sentry_sdk.flush(20)
        children = [Child(FORK, work) for _ in range(3)]
        say(ends=end_all(children))
        """
    )
    assert ran.said["ends"] == {"0": 3}
    assert ["child"] * 3 + [f"parent {n}" for n in range(3)] == sorted(
        messages(sink, 1)
    )
    assert sink.duplicates() == 0


# In the middle of a build

BUILDS = """
import resentry.swap
from resentry.outlet import Outlet

class Build:
    "The next client is built by another thread, which stops at a stage of it."
    def __init__(self, stage):
        self.reached, self.go_on = threading.Event(), threading.Event()
        self._stage, self._armed = stage, False
        for name, (owner, attribute) in self.STAGES.items():
            setattr(owner, attribute, self._stopping(name, getattr(owner, attribute)))

    STAGES = {
        "before": (resentry.swap, "build"),
        "transport": (Outlet, "__init__"),
        "current": (sentry_sdk.Scope, "set_client"),
    }

    def arm(self):
        self.reached.clear()
        self.go_on.clear()
        self._armed = True

    def _stopping(self, name, function):
        def stop(*args, **kwargs):
            if self._armed and name == self._stage and not is_main():
                self._armed = False
                self.reached.set()
                self.go_on.wait(3)
            return function(*args, **kwargs)
        return stop

def is_main():
    return threading.current_thread() is threading.main_thread()
"""


@pytest.mark.parametrize("stage", ["before", "transport", "current"])
@pytest.mark.parametrize("twice", [False, True], ids=["one fork", "a double fork"])
def test_children_of_a_moment_when_a_client_is_built(
    go: Run, sink: Sink, stage: str, *, twice: bool
) -> None:
    """None of them hangs, loses its event or is late; the fork waits for no build."""
    ran = go(
        BUILDS
        + textwrap.dedent("""
        build = Build(os.environ["STAGE"])
        start()
        children, forking = [], []

        def work(me):
            sentry_sdk.capture_message("child")
            sentry_sdk.flush(20)

        def between(me):
            child = Child(FORK, work)
            assert child.ended() == 0

        for number in range(13):
            build.arm()
            snapshot = publish({"SENTRY_DSN": (B, A)[number % 2]})
            assert build.reached.wait(10)
            began = time.monotonic()
            child = Child(FORK, between if os.environ["TWICE"] else work)
            forking.append(time.monotonic() - began)
            build.go_on.set()
            wait_for(lambda now: now["sequence"] == snapshot.sequence)
            children.append(child)
        say(ends=end_all(children), forking=max(forking))
        """),
        STAGE=stage,
        TWICE="yes" if twice else "",
    )
    assert ran.said["ends"] == {"0": 13}
    assert sorted(messages(sink, 1)) + sorted(messages(sink, 2)) == ["child"] * 13
    assert ran.said["forking"] < 2


def test_a_fork_in_the_middle_of_the_first_init(go: Run, sink: Sink) -> None:
    """The child's own `init` returns, whatever the parent's thread was doing."""
    ran = go(
        BUILDS
        + textwrap.dedent("""
        publish({"SENTRY_DSN": A})
        build = Build("before")
        build.arm()
        thread = threading.Thread(target=resentry.init, kwargs=options(), daemon=True)
        thread.start()
        assert build.reached.wait(10)

        def work(me):
            resentry.init(**options())
            sentry_sdk.capture_message("child")
            me.tell(**own_receipt())

        began = time.monotonic()
        child = Child(FORK, work)
        took = time.monotonic() - began
        build.go_on.set()
        thread.join()
        said = child.heard()
        sentry_sdk.capture_message("parent")
        sentry_sdk.flush(10)
        say(end=child.ended(), took=took, own=said["pid"] == child.pid)
        """)
    )
    assert (ran.said["end"], ran.said["own"]) == (0, True)
    assert ran.said["took"] < 2
    assert sorted(messages(sink, 1)) == ["child", "parent"]


# git


def test_git_is_asked_for_the_release_once(go: Run, sink: Sink, tmp_path: Any) -> None:
    """Neither a swap nor a child starts a process, or leaves its trace in an event."""
    programs = tmp_path / "programs"
    programs.mkdir()
    git = programs / "git"
    git.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho c0ffee\n")
    git.chmod(0o755)
    ran = go(
        """
        from sentry_sdk.integrations.stdlib import StdlibIntegration
        start(StdlibIntegration())
        take_up({"SENTRY_DSN": B})
        take_up({"SENTRY_DSN": A})
        seen = []
        sentry_sdk.get_global_scope().add_event_processor(
            lambda event, hint: seen.append(event) or event
        )

        def work(me):
            sentry_sdk.capture_message("child")
            crumbs = seen[0].get("breadcrumbs", {}).get("values", [])
            me.tell(crumbs=[str(crumb.get("message")) for crumb in crumbs])

        children = [Child(FORK, work) for _ in range(3)]
        heard = [child.heard()["crumbs"] for child in children]
        say(ends=end_all(children), crumbs=[one for each in heard for one in each])
        """,
        VERSION="",
        PATH=f"{programs}:{os.environ['PATH']}",
    )
    assert ran.said["ends"] == {"0": 3}
    assert [crumb for crumb in ran.said["crumbs"] if "git" in crumb] == []
    assert (tmp_path / "asked").read_text().split() == ["asked"]
    assert {event.release for event in sink.events(1)} == {"c0ffee"}
