"""Nothing waits without bound: not the end of the process, `close`, `init` or `flush`.

Whatever hangs in the library's own thread, and whatever the clock says.
"""

import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from arrivals import messages

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

BOUND = 10
"""Far less than for ever, and far more than any of them takes on a busy machine."""

STEPS = """
import logging, threading, time
from resentry.outlet import Outlet
A, B = os.environ["A"], os.environ["B"]
stuck = threading.Event()

def is_main():
    return threading.current_thread() is threading.main_thread()

def hang():
    "In another thread than the main one, for ever."
    stuck.set()
    threading.Event().wait()

def start():
    publish({"SENTRY_DSN": A})
    resentry.init(**QUICK)
    eventually(receipts)

def timed(function, *args, **kwargs):
    began = clock()
    function(*args, **kwargs)
    return clock() - began

clock = time.perf_counter
"""

ACTIONS = {
    "end": "say(took=0)",
    "close": "say(took=timed(resentry.close))",
    "second init": "say(took=timed(resentry.init, **QUICK))",
    "three inits": "say(took=sum(timed(resentry.init, **QUICK) for _ in range(3)))",
    "flush": "sentry_sdk.capture_message('x'); say(took=timed(sentry_sdk.flush, 3))",
    "status": "say(took=timed(resentry.status))",
}


@pytest.fixture
def environ(sink: Sink, volume: str) -> dict[str, str]:
    return {"RESENTRY_DIR": volume, "A": sink.dsn(1), "B": sink.dsn(2)}


@pytest.fixture
def go(run: Run, environ: dict[str, str]) -> Run:
    """Run a script; its process must have ended soon after the last line."""

    def go(script: str, **given: Any) -> Any:
        return run(STEPS + textwrap.dedent(script), **{**environ, **given})

    return go


# What hangs in our thread


@pytest.mark.parametrize("action", ACTIONS)
def test_a_log_filter_that_blocks(go: Run, action: str) -> None:
    """Our thread logs, and never comes back from there."""
    ran = go(
        f"""
        start()
        logging.getLogger("resentry").addFilter(lambda record: is_main() or hang())
        publish({{"SENTRY_DSN": B, "SENTRY_SEND_PII": True}})
        assert stuck.wait(10)
        {ACTIONS[action]}
        """,
        within=BOUND + 10,
    )
    assert ran.said["took"] < BOUND


@pytest.mark.parametrize("action", ACTIONS)
def test_a_build_that_never_ends(go: Run, action: str) -> None:
    """Our thread builds a client: an option of the application's hangs there."""
    ran = go(
        f"""
        start()
        build = Outlet.__init__

        def slow(*args):
            is_main() or hang()
            build(*args)

        Outlet.__init__ = slow
        publish({{"SENTRY_DSN": B}})
        assert stuck.wait(10)
        {ACTIONS[action]}
        """,
        within=BOUND + 10,
    )
    assert ran.said["took"] < BOUND


def test_the_second_init_runs_while_the_first_thread_hangs(go: Run, sink: Sink) -> None:
    """It takes the snapshot up that the hung thread never will, and follows."""
    go(
        """
        start()
        build = Outlet.__init__
        hangs = [True]

        def slow(*args):
            if hangs and not is_main():
                hangs.clear()
                hang()
            build(*args)

        Outlet.__init__ = slow
        publish({"SENTRY_DSN": B})
        assert stuck.wait(10)
        resentry.init(**QUICK)
        sentry_sdk.capture_message("second")
        take_up({"SENTRY_DSN": A})
        sentry_sdk.capture_message("third")
        sentry_sdk.flush(5)
        say()
        """
    )
    assert sorted(messages(sink, 2)) == ["second"]
    assert sorted(messages(sink, 1)) == ["third"]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_directory_that_hangs(go: Run, action: str) -> None:
    """A mount that does not answer: our thread is in `stat` for ever."""
    ran = go(
        f"""
        start()
        def hanging(function):
            def hangs(path, *args, **kwargs):
                if str(path).startswith(os.environ["RESENTRY_DIR"]) and not is_main():
                    hang()
                return function(path, *args, **kwargs)
            return hangs

        os.stat, os.open = hanging(os.stat), hanging(os.open)
        assert stuck.wait(10)
        {ACTIONS[action]}
        """,
        within=BOUND + 10,
    )
    assert ran.said["took"] < BOUND


# settings.json is no file


def test_init_with_a_fifo(go: Run, volume: str, sink: Sink) -> None:
    """It says what is wrong; the environment decides until there is a file."""
    Path(volume, "receipts").mkdir(parents=True)
    os.mkfifo(Path(volume, "settings.json"))
    ran = go(
        """
        took = timed(resentry.init, **QUICK)
        sentry_sdk.capture_message("by the environment")
        error = wait_for(lambda now: now["error"])["error"]
        os.unlink(os.path.join(os.environ["RESENTRY_DIR"], "settings.json"))
        take_up({"SENTRY_DSN": B})
        sentry_sdk.capture_message("by the snapshot")
        sentry_sdk.flush(5)
        say(took=took, error=error, after=resentry.status()["error"])
        """,
        SENTRY_DSN=sink.dsn(1),
        within=BOUND + 20,
    )
    assert ran.said["took"] < BOUND
    assert "settings.json" in ran.said["error"]
    assert ran.said["after"] is None
    assert sorted(messages(sink, 1)) == ["by the environment"]
    assert sorted(messages(sink, 2)) == ["by the snapshot"]


@pytest.mark.parametrize("action", [*ACTIONS, "a file"])
def test_a_fifo_later(go: Run, action: str) -> None:
    """Whoever follows does not stop there, and says it until there is a file again."""
    act = ACTIONS.get(action, "take_up({'SENTRY_DSN': B}); say(took=0)")
    ran = go(
        f"""
        start()
        path = os.path.join(os.environ["RESENTRY_DIR"], "fifo")
        os.mkfifo(path)
        os.rename(path, os.path.join(os.environ["RESENTRY_DIR"], "settings.json"))
        assert "settings.json" in wait_for(lambda now: now["error"])["error"]
        if {action == "a file"}:
            os.unlink(os.path.join(os.environ["RESENTRY_DIR"], "settings.json"))
            os.symlink("..data/settings.json", path)
            os.rename(path, os.path.join(os.environ["RESENTRY_DIR"], "settings.json"))
        {act}
        """,
        within=BOUND + 20,
    )
    assert ran.said["took"] < BOUND


def test_a_fork_while_a_client_is_built(go: Run) -> None:
    """The thread that forks waits a tenth of a second at most, of a build of three."""
    ran = go(
        """
        from children import Child
        start()
        build = Outlet.__init__
        gone = threading.Event()

        def slow(*args):
            if not is_main():
                stuck.set()
                gone.wait(3)
            build(*args)

        Outlet.__init__ = slow
        publish({"SENTRY_DSN": B})
        assert stuck.wait(10)
        began = clock()
        child = Child("hooks", lambda me: None)
        took = clock() - began
        gone.set()
        wait_for(lambda now: now["sequence"] == 2)
        say(took=took, end=child.ended())
        """
    )
    assert ran.said["took"] < 2
    assert ran.said["end"] == 0


# A clock that stands still

WHEN = ("before the import", "before init", "after init")


@pytest.fixture(params=["by hand", "freezegun"])
def frozen(
    run: Run, environ: dict[str, str], request: pytest.FixtureRequest
) -> Callable[..., Any]:
    """Run a script of two parts: the clock is frozen before the first, or between."""

    def frozen(when: str, before: str, after: str = "", **given: Any) -> Any:
        steps = STEPS.replace("time.perf_counter", "frozen.clock")
        parts = {name: "frozen.freeze()\n" if name == when else "" for name in WHEN}
        script = "import frozen\n" + steps + parts["before init"]
        script += textwrap.dedent(before) + "\n" + parts["after init"]
        script += textwrap.dedent(after)
        return run(
            script,
            first="import frozen\n" + parts["before the import"],
            within=30,
            **{**environ, "FREEZE": request.param, **given},
        )

    return frozen


@pytest.mark.parametrize("when", WHEN[:2])
def test_init_waits_for_the_first_snapshot_no_longer_than_it_should(
    frozen: Run, volume: str, when: str
) -> None:
    """`RESENTRY_WAIT_SECONDS` are seconds of the world."""
    Path(volume, "receipts").mkdir(parents=True)
    ran = frozen(
        when,
        """
        took = timed(resentry.init, **QUICK)
        take_up({"SENTRY_DSN": B})
        say(took=took, origin=resentry.status()["origins"]["SENTRY_DSN"])
        """,
        RESENTRY_WAIT_SECONDS="0.5",
        SENTRY_DSN="",
    )
    assert ran.said["took"] < BOUND
    assert ran.said["origin"] == "snapshot"


@pytest.mark.parametrize("when", WHEN)
def test_swaps_drain(frozen: Run, sink: Sink, when: str) -> None:
    """The old client's time passes, and what it held arrives."""
    frozen(
        when,
        "start()",
        """
        for turn in range(3):
            sentry_sdk.capture_message(str(turn))
            take_up({"SENTRY_DSN": (B, A)[turn % 2]})
        told = lambda: (receipts()[0]["sequence"], receipts()[0]["phase"])
        eventually(lambda: told() == (4, "drained"))
        say()
        """,
    )
    assert (sorted(messages(sink, 1)), sorted(messages(sink, 2))) == (["0", "2"], ["1"])


@pytest.mark.parametrize("when", WHEN)
def test_an_old_dsn_that_hangs_is_given_up(frozen: Run, sink: Sink, when: str) -> None:
    """Its client gets its seconds of the world, and what is left goes to the new DSN."""
    sink.answer(1, "hang")
    frozen(
        when,
        "start()",
        """
        sentry_sdk.capture_message("in flight")
        sentry_sdk.capture_message("left")
        take_up({"SENTRY_DSN": B})
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(3)
        say()
        """,
    )
    assert sorted(messages(sink, 2)) == ["after", "left"]


@pytest.mark.parametrize(
    ("when", "action"),
    [
        ("before the import", "end"),
        ("before init", "close"),
        ("after init", "second init"),
        ("after init", "flush"),
    ],
)
def test_a_hung_dsn_is_waited_for_no_longer_than_it_should(
    frozen: Run, sink: Sink, when: str, action: str
) -> None:
    """In the middle of a swap, too."""
    sink.answer(1, "hang")
    ran = frozen(
        when,
        "start()",
        f"""
        sentry_sdk.capture_message("in flight")
        eventually(lambda: len(os.listdir("/proc/self/fd")) > 3)
        publish({{"SENTRY_DSN": B}})
        wait_for(lambda now: now["sequence"] == 2)
        {ACTIONS[action]}
        """,
    )
    assert ran.said["took"] < BOUND


@pytest.mark.parametrize("when", WHEN)
def test_a_forked_child_gives_its_receipt(frozen: Run, sink: Sink, when: str) -> None:
    """It is silent for a moment of the world, not of the frozen clock."""
    frozen(
        when,
        """
        from children import Child, receipt_of
        start()
        """,
        """
        child = Child("hooks", lambda me: me.wait())
        eventually(lambda: receipt_of(child.pid))
        take_up({"SENTRY_DSN": B})
        eventually(lambda: receipt_of(child.pid)["sequence"] == 2)
        child.go()
        say(end=child.ended())
        """,
    )
    assert sink.events() == []


@pytest.mark.parametrize("when", WHEN)
def test_the_testing_volume_says_why_not(run: Run, when: str) -> None:
    """A swap that is refused raises within its time, in a test whose clock is frozen."""
    for how in ("by hand", "freezegun"):
        parts = {name: "frozen.freeze()" if name == when else "" for name in WHEN}
        ran = run(
            f"""
            from resentry.testing import FakeVolume
            {parts["before init"]}
            with FakeVolume(SENTRY_DSN="", SENTRY_ENVIRONMENT="test") as volume:
                resentry.init(**QUICK)
                {parts["after init"]}
                volume.swap(SENTRY_DSN="", SENTRY_ENVIRONMENT="other")
                try:
                    volume.swap(within=1, SENTRY_DSN="")
                except TimeoutError as error:
                    reason = str(error)
            say(reason=reason)
            """,
            first=f"import frozen\n{parts['before the import']}",
            within=30,
            FREEZE=how,
        )
        assert "SENTRY_DSN is required" in ran.said["reason"]
