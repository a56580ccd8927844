"""A client of the application's own, for a moment or for good; and two of ours.

A look never replaces it, an explicit `init` always does, and once it is gone the
newest snapshot runs.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from arrivals import messages

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

STEPS = """
import importlib
import sys
import threading
import time
from contextlib import contextmanager
from unittest import mock

from mishaps import Told, in_a_child, runs

A, B, C = os.environ["A"], os.environ["B"], os.environ["C"]

def foreign_client():
    return sentry_sdk.Client(dsn=B, **QUICK)

def told():
    "The foreign client is named in status and receipt, and it stays."
    error = wait_for(lambda now: now["error"])["error"]
    eventually(lambda: receipts() and receipts()[0]["error"] == error)
    return error

def capture(text):
    sentry_sdk.capture_message(text)

def ours():
    return [t.name for t in threading.enumerate() if t.name == "resentry"]

@contextmanager
def by_set_client():
    scope = sentry_sdk.get_global_scope()
    before = scope.client
    scope.set_client(foreign_client())
    yield
    scope.set_client(before)

@contextmanager
def by_attribute():
    with mock.patch.object(sentry_sdk.get_global_scope(), "client", foreign_client()):
        yield

@contextmanager
def by_scope():
    with mock.patch.object(sentry_sdk.scope, "_global_scope", None):
        sentry_sdk.get_global_scope().set_client(foreign_client())
        yield

@contextmanager
def by_init():
    client = sentry_sdk.get_client()
    sentry_sdk.init(dsn=B, **QUICK)
    yield
    sentry_sdk.get_global_scope().set_client(client)

WAYS = {w.__name__: w for w in (by_set_client, by_attribute, by_scope, by_init)}
"""


def test_a_look_never_replaces_a_foreign_client(go: Run, sink: Sink) -> None:
    """Whatever is published, it stays; status and receipt say so; it is logged once."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        log = Told()
        sentry_sdk.init(dsn=B, **QUICK)
        foreign = sentry_sdk.get_client()
        second = publish({"SENTRY_DSN": C})
        error = told()
        publish({"SENTRY_DSN": A})
        time.sleep(1.5)  # a look later
        capture("the application's")
        sentry_sdk.flush(5)
        say(
            error=error,
            stays=sentry_sdk.get_client() is foreign,
            sequence=receipts()[0]["sequence"],
            foreign=receipts()[0]["foreign"],
            lines=len(log.about("sentry_sdk.init")),
        )
        """
    )
    assert "sentry_sdk.init" in ran.said["error"]
    assert ran.said["stays"]
    assert ran.said["sequence"] == 1
    assert ran.said["foreign"]
    assert ran.said["lines"] == 1
    assert messages(sink, 2) == ["the application's"]
    assert messages(sink, 1) + messages(sink, 3) == []


def test_a_foreign_client_is_told_without_a_new_snapshot(go: Run) -> None:
    """Within a look, and no longer than it is there."""
    ran = go(
        """
        first = publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(receipts)
        with by_set_client():
            error = told()
        runs(first)
        say(error=error)
        """
    )
    assert "sentry_sdk.init" in ran.said["error"]


@pytest.mark.parametrize("publishes", [True, False])
def test_an_explicit_init_takes_over_at_once(
    go: Run, sink: Sink, *, publishes: bool
) -> None:
    """No event of the foreign client is lost or sent twice."""
    sink.answer(2, "ok", seconds=0.02)
    ran = go(
        """
        first = newest = publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        capture("ours")
        sentry_sdk.init(dsn=B, **QUICK)
        foreign = sentry_sdk.get_client()
        for number in range(10):
            capture(str(number))
        told()
        if os.environ["PUBLISHES"]:
            newest = publish({"SENTRY_DSN": C})
        resentry.init(**QUICK)
        now = resentry.status()
        dsn = sentry_sdk.get_client().dsn
        capture("ours again")
        runs(newest)
        sentry_sdk.flush(5)
        foreign.flush(5)
        say(sequence=now["sequence"] == newest.sequence, error=now["error"], dsn=dsn)
        """,
        PUBLISHES="yes" if publishes else "",
    )
    newest = 3 if publishes else 1
    assert ran.said == {"sequence": True, "error": None, "dsn": sink.dsn(newest)}
    expected = Counter(["ours", *map(str, range(10)), "ours again"])
    assert Counter(event.message for event in sink.events()) == expected
    assert sorted(messages(sink, 2)) == sorted(map(str, range(10)))
    assert messages(sink, newest)[-1] == "ours again"


def test_what_a_replaced_foreign_client_holds_is_sent_at_the_end(
    go: Run, sink: Sink
) -> None:
    """The process ends right after the take-over; the queue of both is sent."""
    sink.answer(2, "ok", seconds=0.02)
    go(
        """
        from sentry_sdk.integrations.atexit import AtexitIntegration
        quiet = AtexitIntegration(callback=lambda pending, timeout: None)
        publish({"SENTRY_DSN": A})
        resentry.init(integrations=[quiet], **QUICK)
        sentry_sdk.init(dsn=B, integrations=[quiet], **QUICK)
        for number in range(10):
            capture(str(number))
        resentry.init(integrations=[quiet], **QUICK)
        capture("ours again")
        say()
        """
    )
    assert sorted(messages(sink, 2)) == sorted(map(str, range(10)))
    assert messages(sink, 1) == ["ours again"]


@pytest.mark.parametrize(
    "way", ["by_set_client", "by_attribute", "by_scope", "by_init"]
)
@pytest.mark.parametrize("publishes", [True, False])
def test_the_newest_snapshot_runs_once_the_foreign_client_is_gone(
    go: Run, sink: Sink, way: str, *, publishes: bool
) -> None:
    """A test's fixture that puts ours back leaves nothing behind, lost or doubled."""
    ran = go(
        """
        newest = publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(receipts)
        capture("before")
        with WAYS[os.environ["WAY"]]():
            if os.environ["PUBLISHES"]:
                newest = publish({"SENTRY_DSN": C})
            told()
            capture("meanwhile")
            sentry_sdk.flush(5)
            foreign = sentry_sdk.get_client()
        runs(newest)
        capture("after")
        sentry_sdk.flush(5)
        say(gone=sentry_sdk.get_client() is not foreign)
        """,
        WAY=way,
        PUBLISHES="yes" if publishes else "",
    )
    assert ran.said["gone"]
    assert messages(sink, 2) == ["meanwhile"]
    assert messages(sink, 1) == ["before"] + ([] if publishes else ["after"])
    assert messages(sink, 3) == (["after"] if publishes else [])
    assert sink.duplicates() == 0


def test_fifty_fixtures_under_new_snapshots_lose_nothing(go: Run, sink: Sink) -> None:
    """A test suite replaces the client for each test while snapshots come."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        for number in range(50):
            newest = publish({"SENTRY_DSN": A if number % 2 else C})
            with by_set_client():
                capture(f"foreign {number}")
                sentry_sdk.flush(5)
            capture(f"ours {number}")
        runs(newest)
        sentry_sdk.flush(5)
        say()
        """
    )
    assert ran.said == {}
    assert sorted(messages(sink, 2)) == sorted(f"foreign {n}" for n in range(50))
    ours = messages(sink, 1) + messages(sink, 3)
    assert sorted(ours) == sorted(f"ours {n}" for n in range(50))
    assert sink.duplicates() == 0


def test_a_child_that_is_forked_meanwhile_follows_once_it_is_gone(
    go: Run, sink: Sink
) -> None:
    """It keeps the application's client until that goes, as its parent does."""
    go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(receipts)
        mine = sentry_sdk.get_client()
        with by_set_client():
            newest = publish({"SENTRY_DSN": C})
            told()
            def work():
                capture("in the child")
                sentry_sdk.flush(5)
                sentry_sdk.get_global_scope().set_client(mine)
                runs(newest)
                capture("in the child, later")
            in_a_child(work)
        say()
        """
    )
    assert messages(sink, 2) == ["in the child"]
    assert messages(sink, 3) == ["in the child, later"]


# Two of ours


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("how", ["reload", "import anew"])
def test_a_reload_leaves_one_target(go: Run, sink: Sink, how: str, times: int) -> None:
    """One thread, one receipt, which confirms; nothing is lost over it."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(receipts)
        capture("before")
        for _ in range(int(os.environ["TIMES"])):
            if os.environ["HOW"] == "reload":
                resentry = importlib.reload(resentry)
            else:
                del sys.modules["resentry"]
                import resentry
            resentry.init(**QUICK)
            import mishaps
            import scenario
            mishaps.resentry = scenario.resentry = resentry
            capture("after a reload")
        runs(publish({"SENTRY_DSN": C}))
        eventually(lambda: len(receipts()) == 1, what=f"{receipts()}")
        eventually(lambda: len(ours()) == 1, what=f"{ours()}")
        capture("after")
        resentry.close()
        say(left=len(receipts()), threads=len(ours()))
        """,
        HOW=how,
        TIMES=str(times),
    )
    assert ran.said == {"left": 0, "threads": 0}
    assert messages(sink, 1) == ["before", *["after a reload"] * times]
    assert messages(sink, 3) == ["after"]


def test_a_reloaded_module_tells_of_what_runs(go: Run) -> None:
    """Before its own `init`, too: the process has not changed."""
    ran = go(
        """
        first = publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        importlib.reload(resentry)
        say(
            same=resentry.revision() == first.revision,
            role=resentry.status()["role"],
        )
        """
    )
    assert ran.said == {"same": True, "role": "api"}


def test_two_inits_from_each_of_eight_threads_leave_one_target(
    go: Run, sink: Sink
) -> None:
    """All return, one client serves, and it follows; nothing is lost."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        begin = threading.Barrier(8)
        def work(number):
            begin.wait()
            for round in range(2):
                resentry.init(**QUICK)
                capture(f"{number} {round}")
        threads = [threading.Thread(target=work, args=[n]) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        runs(publish({"SENTRY_DSN": C}))
        capture("after")
        sentry_sdk.flush(5)
        say(receipts=len(receipts()), threads=len(ours()))
        """
    )
    assert ran.said == {"receipts": 1, "threads": 1}
    expected = sorted(f"{n} {r}" for n in range(8) for r in range(2))
    assert sorted(messages(sink, 1)) == expected
    assert messages(sink, 3) == ["after"]
