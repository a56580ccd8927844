"""Each thread comes back: what fails once is tried again, and told until it is over.

And what an application has done to logging neither ends the follower nor raises.
"""

import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from arrivals import messages

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

FIRST = """
import _thread, threading

class Starts:
    "Every way to start a thread; none works while `refused`."
    refused = False

    def __init__(self):
        for module in (_thread, threading):
            for name in ("start_new_thread", "start_new", "start_joinable_thread"):
                for spelt in (name, f"_{name}"):
                    if hasattr(module, spelt):
                        self._guard(module, spelt)

    def _guard(self, module, name):
        start = getattr(module, name)

        def guarded(*args, **kwargs):
            if self.refused:
                raise RuntimeError("can't start new thread")
            return start(*args, **kwargs)

        setattr(module, name, guarded)

starts = Starts()
"""
"""Run before the library is imported: it may take the functions by name."""

STEPS = """
import errno, logging, time
from resentry.outlet import Outlet
A, B = os.environ["A"], os.environ["B"]

def follow(sequence):
    "Wait until that snapshot runs; the application captures meanwhile, as ever."
    def fits():
        sentry_sdk.capture_message("meanwhile")
        now = resentry.status()
        return (now["sequence"], now["phase"], now["error"]) == (sequence, "drained", None)
    eventually(fits, 30, f"{resentry.status()}")
    eventually(lambda: [r for r in receipts() if r["sequence"] == sequence], 30)
"""


@pytest.fixture
def environ(sink: Sink, volume: str) -> dict[str, str]:
    return {"RESENTRY_DIR": volume, "A": sink.dsn(1), "B": sink.dsn(2)}


@pytest.fixture
def go(run: Run, environ: dict[str, str]) -> Run:
    """Run a script that can refuse threads, and follow a snapshot with patience."""

    def go(script: str, **given: str) -> Any:
        text = STEPS + textwrap.dedent(script)
        return run(text, first=FIRST, **{**environ, **given})

    return go


# No thread can be started


def test_no_thread_at_init(go: Run, sink: Sink) -> None:
    """It is told, nothing raises or is lost, and the process follows later."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        starts.refused = True
        resentry.init(**QUICK)
        sentry_sdk.capture_message("first")
        error = resentry.status()["error"]
        starts.refused = False
        publish({"SENTRY_DSN": B})
        follow(2)
        sentry_sdk.capture_message("last")
        sentry_sdk.flush(10)
        say(error=error)
        """
    )
    assert "thread" in ran.said["error"]
    assert messages(sink).count("first") == 1
    assert messages(sink, 2)[-1] == "last"
    assert "Traceback" not in ran.log


def test_no_thread_in_a_child(go: Run, sink: Sink) -> None:
    """A forked child tells it, sends what it captures, and follows later."""
    ran = go(
        """
        from children import *
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(receipts)

        def work(me):
            sentry_sdk.capture_message("first")
            error = eventually(lambda: resentry.status()["error"])
            me.tell(error=error)
            starts.refused = False
            me.wait()
            sentry_sdk.capture_message("more")
            receipt = own_receipt(sequence=2)
            sentry_sdk.capture_message("last")
            sentry_sdk.flush(10)
            me.tell(**receipt)

        starts.refused = True
        children = [Child(fork, work) for fork in FORKS]
        starts.refused = False
        errors = [child.heard().get("error") for child in children]
        take_up({"SENTRY_DSN": B})
        for child in children:
            child.go()
        after = [child.heard().get("error") for child in children]
        say(errors=errors, after=after, ends=end_all(children))
        """
    )
    assert ["thread" in str(error) for error in ran.said["errors"]] == [True, True]
    assert (ran.said["after"], ran.said["ends"]) == ([None, None], {"0": 2}), ran.log
    assert messages(sink).count("first") == 2
    assert messages(sink).count("more") == 2
    assert messages(sink, 2).count("last") == 2


def test_no_thread_for_sending(go: Run, sink: Sink) -> None:
    """What is captured meanwhile is sent with what comes after it."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(receipts)
        starts.refused = True
        sentry_sdk.capture_message("while there is none")
        began = time.monotonic()
        sentry_sdk.flush(5)
        took = time.monotonic() - began
        starts.refused = False
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(10)
        say(took=took)
        """
    )
    assert messages(sink) == ["while there is none", "after"]
    assert "Traceback" not in ran.log


def test_no_thread_at_a_swap(go: Run, sink: Sink) -> None:
    """Our own thread swaps; the new client's threads start when they can."""
    go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(enable_logs=True, **QUICK)
        eventually(receipts)
        starts.refused = True
        second = publish({"SENTRY_DSN": B})
        wait_for(lambda now: now["sequence"] == 2)
        starts.refused = False
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(10)
        follow(2)
        say()
        """
    )
    assert messages(sink, 2)[0] == "after"


# A build that fails once

BUILDS = """
build = Outlet.__init__
failures = []

def failing(*args):
    if failures:
        raise failures.pop()
    build(*args)

Outlet.__init__ = failing

def fail(times):
    kind = os.environ["KIND"]
    for _ in range(times):
        failures.append(
            OSError(errno.EMFILE, "Too many open files")
            if kind == "OSError"
            else {"MemoryError": MemoryError, "RuntimeError": RuntimeError}[kind](kind)
        )
"""
KINDS = ("MemoryError", "OSError", "RuntimeError")


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_swap_that_fails_once_is_tried_again(
    go: Run, sink: Sink, kind: str, times: int
) -> None:
    """Told until it is over; no new snapshot is needed, and the old client serves."""
    ran = go(
        BUILDS
        + textwrap.dedent("""
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(receipts)
        fail(int(os.environ["TIMES"]))
        publish({"SENTRY_DSN": B})
        error = wait_for(lambda now: now["error"])["error"]
        receipt = eventually(lambda: [r for r in receipts() if r["error"]])[0]
        sentry_sdk.capture_message("meanwhile")
        follow(2)
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(10)
        say(error=error, told=receipt["error"], refused=receipts()[0]["refused"])
        """),
        KIND=kind,
        TIMES=str(times),
    )
    assert kind in ran.said["error"]
    assert kind in ran.said["told"]
    assert ran.said["refused"] is None
    assert messages(sink, 2)[-1] == "after"


@pytest.mark.parametrize("kind", KINDS)
def test_an_init_that_fails_once_is_tried_again(go: Run, sink: Sink, kind: str) -> None:
    """The first client comes as soon as it can be built."""
    ran = go(
        BUILDS
        + textwrap.dedent("""
        publish({"SENTRY_DSN": A})
        # With all options, twice with few, and as often for what `init` falls back to.
        fail(6)
        resentry.init(**QUICK)
        error = resentry.status()["error"]
        follow(1)
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(10)
        say(error=error)
        """),
        KIND=kind,
    )
    assert kind in ran.said["error"]
    assert messages(sink, 1)[-1] == "after"


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_in_which_a_build_fails(go: Run, sink: Sink, kind: str) -> None:
    """It loses nothing: it goes on with what it has inherited."""
    ran = go(
        BUILDS
        + textwrap.dedent("""
        from children import *
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(receipts)

        def work(me):
            sentry_sdk.capture_message("child")
            sentry_sdk.flush(10)
            me.tell(**own_receipt(sequence=1))
            me.wait()
            me.tell(**own_receipt(sequence=2))

        fail(1)
        children = [Child(fork, work) for fork in FORKS]
        failures.clear()
        first = [child.heard()["sequence"] for child in children]
        take_up({"SENTRY_DSN": B})
        for child in children:
            child.go()
        second = [child.heard()["sequence"] for child in children]
        say(sequences=[first, second], ends=end_all(children))
        """),
        KIND=kind,
    )
    assert ran.said == {"sequences": [[1, 1], [2, 2]], "ends": {"0": 2}}
    assert messages(sink, 1) == ["child", "child"]


# An exception in the sending thread

SENDING = """
class Odd(BaseException):
    "What is no Exception: of a greenlet that is killed, of an injected interrupt."

def once(owner, name, *errors):
    "Raise in the next call from another thread than this one, or in several."
    real, left = getattr(owner, name), list(errors)

    def odd(*args, **kwargs):
        if left and threading.current_thread() is not threading.main_thread():
            raise left.pop()
        return real(*args, **kwargs)

    setattr(owner, name, odd)
"""
REPORT = "from sentry_sdk.transport import HttpTransport as H; "
REPORT += "once(H, '_fetch_pending_client_report', {0}, {0})"
"""The SDK asks for it inside of what it guards itself; then the library asks again."""

PLACES = {
    "the pool": "import urllib3; once(urllib3.PoolManager, 'request', Odd())",
    "an exit": "import urllib3; once(urllib3.PoolManager, 'request', SystemExit())",
    "the report": REPORT.format("RuntimeError()"),
    "the report, no memory": REPORT.format("MemoryError()"),
    "the report, odd": REPORT.format("Odd()"),
    "the SDK's sending": "from sentry_sdk.transport import HttpTransport as H; "
    "once(H, '_send_envelope', Odd())",
}


@pytest.mark.parametrize("place", PLACES)
def test_the_sending_thread_outlives_an_exception(
    go: Run, sink: Sink, place: str
) -> None:
    """Later events arrive, and `flush` waits for no thread that has ended."""
    ran = go(
        SENDING
        + textwrap.dedent(f"""
        publish({{"SENTRY_DSN": A}})
        resentry.init(**QUICK)
        eventually(receipts)
        sentry_sdk.capture_message("before")
        sentry_sdk.flush(10)
        threading.excepthook = lambda args: None
        {PLACES[place]}
        sentry_sdk.capture_message("odd")
        began = time.monotonic()
        sentry_sdk.flush(40)
        for number in range(3):
            sentry_sdk.capture_message(str(number))
        sentry_sdk.flush(40)
        took = time.monotonic() - began
        take_up({{"SENTRY_DSN": B}})
        sentry_sdk.capture_message("after the swap")
        sentry_sdk.flush(40)
        say(took=took)
        """)
    )
    assert ran.said["took"] < 20
    found = messages(sink, 1)
    assert [one for one in found if one != "odd"] == ["before", "0", "1", "2"]
    assert found.count("odd") <= 1
    assert messages(sink, 2) == ["after the swap"]


def test_the_sending_thread_outlives_an_exception_over_a_refused_event(
    go: Run, sink: Sink
) -> None:
    """What a revoked DSN refuses is kept for the next one, after that too."""
    sink.answer(1, 403)
    go(
        SENDING
        + textwrap.dedent("""
        from sentry_sdk.envelope import Envelope
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(receipts)
        threading.excepthook = lambda args: None
        once(Envelope, "serialize", Odd())
        sentry_sdk.capture_message("odd")
        sentry_sdk.flush(10)
        for number in range(3):
            sentry_sdk.capture_message(str(number))
        sentry_sdk.flush(10)
        take_up({"SENTRY_DSN": B})
        sentry_sdk.flush(10)
        say()
        """)
    )
    assert [one for one in messages(sink, 2) if one != "odd"] == ["0", "1", "2"]


# What an application does to logging

ODD_LOGGING = """
import sys
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.integrations.threading import ThreadingIntegration

def odd(record):
    raise LookupError("there is no request here")

class OddHandler(logging.Handler):
    emit = staticmethod(odd)

def filtered():
    handler = logging.StreamHandler()
    handler.addFilter(odd)
    return handler

PLACES = {
    "a filter of ours": lambda: logging.getLogger("resentry").addFilter(odd),
    "a handler of ours": lambda: logging.getLogger("resentry").addHandler(OddHandler()),
    "a handler of all": lambda: logging.getLogger().addHandler(OddHandler()),
    "a handler's filter": lambda: logging.getLogger().addHandler(filtered()),
}
make_odd = PLACES[os.environ["PLACE"]]
logging.getLogger("resentry").setLevel(logging.DEBUG)
OPTIONS = {**QUICK, "integrations": [LoggingIntegration(), ThreadingIntegration()]}
"""
ODD_PLACES = (
    "a filter of ours",
    "a handler of ours",
    "a handler of all",
    "a handler's filter",
)


@pytest.mark.parametrize("place", ODD_PLACES)
def test_odd_logging_before_init(go: Run, sink: Sink, place: str) -> None:
    """`init` neither raises nor fails because of it, whatever it has to say."""
    go(
        ODD_LOGGING
        + textwrap.dedent("""
        make_odd()
        publish({"SENTRY_DSN": A})
        resentry.init(dsn="ignored, with a warning", **OPTIONS)
        sentry_sdk.capture_message("first")
        publish({"SENTRY_DSN": B, "SENTRY_SEND_PII": True})
        wait_for(lambda now: now["error"])
        take_up({"SENTRY_DSN": B})
        sentry_sdk.capture_message("second")
        resentry.init(dsn="ignored, with a warning", **OPTIONS)
        sentry_sdk.capture_message("third")
        resentry.close()
        sentry_sdk.flush(10)
        say()
        """),
        PLACE=place,
    )
    assert messages(sink, 1) == ["first"]
    assert messages(sink, 2) == ["second", "third"]


@pytest.mark.parametrize("place", ODD_PLACES)
def test_odd_logging_later(go: Run, sink: Sink, place: str) -> None:
    """The follower goes on, and the application gets no event of ours."""
    go(
        ODD_LOGGING
        + textwrap.dedent("""
        publish({"SENTRY_DSN": A})
        resentry.init(**OPTIONS)
        eventually(receipts)
        make_odd()
        for settings in ({"SENTRY_SEND_PII": True}, {"SENTRY_DSN": "no DSN"}):
            bad = publish({"SENTRY_DSN": A, **settings})
            eventually(
                lambda: [r for r in receipts() if r["refused"] == [bad.revision, bad.sequence]],
                what="the refusal in the receipt",
            )
        with open(os.path.join(os.environ["RESENTRY_DIR"], "..data/settings.json"), "w") as f:
            f.write("no snapshot")
        wait_for(lambda now: "JSON" in str(now["error"]))
        take_up({"SENTRY_DSN": B})
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(10)
        say()
        """),
        PLACE=place,
    )
    assert messages(sink) == ["after"]


@pytest.mark.parametrize("place", ODD_PLACES)
def test_odd_logging_and_a_mistake_of_ours(go: Run, sink: Sink, place: str) -> None:
    """Both together: an exception inside the library, and one while it is logged."""
    go(
        ODD_LOGGING
        + textwrap.dedent("""
        publish({"SENTRY_DSN": A})
        resentry.init(**OPTIONS)
        eventually(receipts)
        make_odd()
        from resentry.reader import SharedDir
        mark, left = SharedDir.mark, [1, 2, 3]

        def mistaken(*args, **kwargs):
            if left and threading.current_thread() is not threading.main_thread():
                left.pop()
                raise RuntimeError("a mistake of ours")
            return mark(*args, **kwargs)

        SharedDir.mark = mistaken
        eventually(lambda: not left, 20)
        take_up({"SENTRY_DSN": B})
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(10)
        say()
        """),
        PLACE=place,
    )
    assert messages(sink) == ["after"]


@pytest.mark.parametrize("place", ODD_PLACES)
def test_odd_logging_in_a_child(go: Run, sink: Sink, place: str) -> None:
    """A fork neither raises nor says anything, and the child follows."""
    ran = go(
        ODD_LOGGING
        + textwrap.dedent("""
        from children import *
        publish({"SENTRY_DSN": A})
        resentry.init(**OPTIONS)
        eventually(receipts)
        make_odd()

        def work(me):
            sentry_sdk.capture_message("child")
            own_receipt(sequence=1)
            me.tell()
            own_receipt(sequence=2)
            sentry_sdk.capture_message("later")
            sentry_sdk.flush(10)

        children = [Child(fork, work) for fork in FORKS]
        for child in children:
            child.heard()
        take_up({"SENTRY_DSN": B})
        say(ends=end_all(children))
        """),
        PLACE=place,
    )
    assert ran.said == {"ends": {"0": 2}}
    assert messages(sink, 1) == ["child", "child"]
    assert messages(sink, 2) == ["later", "later"]
