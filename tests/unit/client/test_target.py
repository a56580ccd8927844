"""One process that takes snapshots up, on real clients and a real receiver."""

import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from arrivals import messages

from lab.sink import Sink, key_of

pytestmark = pytest.mark.process


Run = Callable[..., Any]


@pytest.fixture
def environ(sink: Sink, volume: str) -> dict[str, str]:
    """A volume, and two projects to choose from; nothing is published yet."""
    return {"RESENTRY_DIR": volume, "A": sink.dsn(1), "B": sink.dsn(2)}


def test_what_an_old_client_captures_after_the_swap_reaches_the_new_project(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """A thread that still holds the old client loses nothing."""
    run(
        """
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        old = sentry_sdk.get_client()
        sentry_sdk.capture_message("before")
        take_up({"SENTRY_DSN": os.environ["B"]})
        old.capture_event({"message": "late"})
        sentry_sdk.capture_message("after")
        resentry.close()
        say()
        """,
        **environ,
    )
    assert messages(sink, 1) == ["before"]
    assert messages(sink, 2) == ["late", "after"]


def test_a_swap_is_confirmed_before_the_old_client_is_retired(
    run: Run, environ: dict[str, str]
) -> None:
    """The agent waits for the receipt; nothing that can come later delays it."""
    ran = run(
        """
        import threading
        from resentry.target import Target
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        go_on, retire = threading.Event(), Target.retire
        Target.retire = lambda self: go_on.wait() and retire(self)
        second = publish({"SENTRY_DSN": os.environ["B"]}).sequence
        eventually(lambda: receipts()[0]["sequence"] == second, what="the receipt")
        names = [thread.name for thread in threading.enumerate()]
        go_on.set()
        eventually(lambda: resentry.status()["phase"] == "drained", what="the end")
        say(early=names.count("resentry.outlet"))
        """,
        **environ,
    )
    assert ran.said == {"early": 0}


def test_a_new_client_is_never_shown_as_drained_before_its_old_one_ends(
    run: Run, environ: dict[str, str]
) -> None:
    """A thread that asks in the middle of a swap is told of the old client, too."""
    ran = run(
        """
        from resentry.sdk import client as sdk
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        seen, set_current = [], sdk.set_current
        def asked(client):
            set_current(client)
            now = resentry.status()
            seen.append([now["sequence"], now["phase"]])
        sdk.set_current = asked
        take_up({"SENTRY_DSN": os.environ["B"]})
        say(seen=seen)
        """,
        **environ,
    )
    assert ran.said == {"seen": [[2, "running"]]}


def test_a_client_that_does_not_become_current_leaves_nothing_to_retire(
    run: Run, environ: dict[str, str]
) -> None:
    """The old client serves on; a later swap retires it as usual."""
    ran = run(
        """
        from resentry.sdk import client as sdk
        from resentry.target import target
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        set_current = sdk.set_current
        def fails(client):
            raise OSError("no")
        sdk.set_current = fails
        publish({"SENTRY_DSN": os.environ["B"]})
        refused = wait_for(lambda now: now["error"])
        left = [len(target.retiring), refused["sequence"], refused["phase"]]
        sdk.set_current = set_current
        take_up({"SENTRY_DSN": os.environ["B"]})
        say(left=left, error=resentry.status()["error"])
        """,
        **environ,
    )
    assert ran.said == {"left": [0, 1, "drained"], "error": None}


def test_what_is_queued_at_the_swap_reaches_the_old_project(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """The old client sends what it holds, once, while the new one already serves."""
    sink.answer(1, "ok", seconds=0.01)
    ran = run(
        """
        from resentry.target import target
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        begins = target.receipt().swap_ms
        for number in range(30):
            sentry_sdk.capture_message(str(number))
        second = publish({"SENTRY_DSN": os.environ["B"]})
        phase = wait_for(lambda now: now["sequence"] == second.sequence)["phase"]
        sentry_sdk.capture_message("after")
        wait_for(lambda now: now["phase"] == "drained")
        say(phase=phase, begins=begins, swapped=target.receipt().swap_ms > 0)
        """,
        **environ,
    )
    assert ran.said == {"phase": "running", "begins": 0, "swapped": True}
    assert [str(number) for number in range(30)] == messages(sink, 1)
    assert messages(sink, 2) == ["after"]
    assert sink.duplicates() == 0


def test_a_forked_child_sends_nothing_of_its_parent_s_queue(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """Each event is sent once, by the process that captured it."""
    sink.answer(1, "ok", seconds=0.02)
    run(
        """
        import warnings
        warnings.simplefilter("default")  # from Python 3.12 on a fork is one
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        for number in range(10):
            sentry_sdk.capture_message(str(number))
        child = os.fork()
        if child == 0:
            sentry_sdk.capture_message("child")
            sentry_sdk.flush(5)
            os._exit(0)
        os.waitpid(child, 0)
        sentry_sdk.flush(5)
        say()
        """,
        **environ,
    )
    expected = {*map(str, range(10)), "child"}
    assert expected == set(messages(sink, 1))
    assert sink.duplicates() == 0
    assert len(expected) == len(messages(sink, 1))


def test_the_sending_thread_imports_nothing(run: Run, sink: Sink) -> None:
    """A child that is forked during an import inherits its lock, and hangs for ever."""
    ran = run(
        """
        import sys
        resentry.init(**QUICK)
        before = set(sys.modules)
        sentry_sdk.capture_message("first")
        sentry_sdk.flush(5)
        say(imported=sorted(set(sys.modules) - before))
        """,
        SENTRY_DSN=sink.dsn(1),
    )
    assert ran.said == {"imported": []}
    assert messages(sink, 1) == ["first"]


def test_a_forked_child_keeps_the_application_s_own_client(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """Where the application has called `sentry_sdk.init` itself, a fork changes nothing."""
    run(
        """
        import warnings
        warnings.simplefilter("default")
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        sentry_sdk.init(dsn=os.environ["B"], **QUICK)
        child = os.fork()
        if child == 0:
            sentry_sdk.capture_message("child")
            sentry_sdk.flush(5)
            os._exit(0)
        os.waitpid(child, 0)
        say()
        """,
        **environ,
    )
    assert messages(sink, 1) == []
    assert messages(sink, 2) == ["child"]


def test_a_forked_child_is_a_target_of_its_own(
    run: Run, environ: dict[str, str]
) -> None:
    """It has an id, a lock and a thread of its own, and takes up what comes next."""
    ran = run(
        """
        import warnings
        warnings.simplefilter("default")
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        eventually(lambda: len(receipts()) == 1)
        leave, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(told)
            os.read(leave, 1)
            os._exit(0)
        eventually(lambda: len(receipts()) == 2)
        second = take_up({"SENTRY_DSN": os.environ["B"]})
        eventually(lambda: {r["sequence"] for r in receipts()} == {second.sequence})
        found = {r["pid"]: r for r in receipts()}
        os.close(told)
        os.waitpid(child, 0)
        say(
            parents=[found[os.getpid()]["parent"], found[child]["parent"]],
            ids=[found[os.getpid()]["id"], found[child]["id"]],
        )
        """,
        **environ,
    )
    assert [None, ran.said["ids"][0]] == ran.said["parents"]
    assert len(set(ran.said["ids"])) == 2


def test_a_refused_snapshot_keeps_the_old_client_and_stands_in_the_receipt(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """Bad values change nothing but the receipt, and the next good ones are taken."""
    ran = run(
        """
        first = publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        bad = publish({"SENTRY_DSN": os.environ["B"], "SENTRY_SEND_PII": True})
        wait_for(lambda now: now["error"])
        eventually(lambda: receipts() and receipts()[0]["error"])
        receipt = receipts()[0]
        sentry_sdk.capture_message("still the old one")
        sentry_sdk.flush(2)
        take_up({"SENTRY_DSN": os.environ["B"]})
        eventually(lambda: not receipts()[0]["error"])
        say(
            runs=[receipt["revision"], receipt["sequence"]],
            refused=receipt["refused"],
            error=receipt["error"],
            expected=[[s.revision, s.sequence] for s in (first, bad)],
            after=receipts()[0]["refused"],
            at_last=resentry.revision(),
        )
        """,
        **environ,
    )
    assert ran.said["expected"] == [ran.said["runs"], ran.said["refused"]]
    assert ran.said["error"] == (
        "SENTRY_SEND_PII must be false in production (the default: neither "
        "SENTRY_ENVIRONMENT nor ENVIRONMENT is set)"
    )
    (kept, _), (refused, _) = ran.said["expected"]
    assert (
        f"resentry: refused revision {refused}: {ran.said['error']}; revision {kept} keeps "
        "running"
    ) in ran.log
    assert "Failed to initialize Sentry" not in ran.log
    assert re.search(
        f"runs revision {ran.said['at_last']}, .*error before is over", ran.log
    )
    assert ran.said["after"] is None
    assert messages(sink, 1) == ["still the old one"]


@pytest.mark.parametrize("body", ["", "{", '{"schema": 99}'])
def test_a_file_that_is_no_snapshot_keeps_the_old_client(
    run: Run, environ: dict[str, str], body: str
) -> None:
    """Half a file, or one of another version, is an error and nothing more."""
    ran = run(
        """
        from pathlib import Path
        first = publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        path = Path(os.environ["RESENTRY_DIR"], "..data", "settings.json")
        path.write_text(os.environ["BODY"])
        now = wait_for(lambda now: now["error"])
        second = publish({"SENTRY_DSN": os.environ["B"]})
        wait_for(lambda now: not now["error"] and now["sequence"] == second.sequence)
        say(
            same=now["revision"] == first.revision,
            dsn=sentry_sdk.get_client().dsn,
            error=now["error"],
        )
        """,
        BODY=body,
        **environ,
    )
    error = ran.said.pop("error")
    assert ran.said == {"same": True, "dsn": environ["B"]}
    assert (
        f"resentry: cannot use the new snapshot: {error}; this process keeps its settings"
    ) in ran.log
    assert "the snapshot can be read again; the error before is over" in ran.log


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("c0ffee00", "is not a DSN"),
        ("http://c0ffee00@example.org/1", "must be https"),
        ("", "is required"),
    ],
)
def test_a_bad_dsn_at_the_start_means_no_dsn_and_an_error(
    run: Run, bad: str, reason: str
) -> None:
    """The application starts, sends nothing, and says why without a quote."""
    ran = run(
        """
        resentry.init(**QUICK)
        say(error=resentry.status()["error"], dsn=sentry_sdk.get_client().dsn)
        """,
        SENTRY_DSN=bad,
    )
    assert ran.said["dsn"] in (None, "")
    assert f"SENTRY_DSN {reason}" in ran.said["error"]
    assert "Failed to initialize Sentry" in ran.log
    assert "c0ffee" not in ran.log + ran.said["error"]


def test_pii_in_production_at_the_start_is_off_and_an_error(
    run: Run, environ: dict[str, str]
) -> None:
    """The DSN serves, personal data does not leave, and the receipt refuses."""
    ran = run(
        """
        bad = publish({"SENTRY_DSN": os.environ["A"], "SENTRY_SEND_PII": True})
        resentry.init(**QUICK)
        eventually(receipts)
        say(
            pii=sentry_sdk.get_client().options["send_default_pii"],
            dsn=sentry_sdk.get_client().dsn,
            refused=receipts()[0]["refused"] == [bad.revision, bad.sequence],
        )
        """,
        **environ,
    )
    assert not ran.said["pii"]
    assert (ran.said["dsn"], ran.said["refused"]) == (environ["A"], True)


def test_reporting_is_turned_off_and_on_again(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """An empty DSN outside production sends nothing, the next one brings it back."""
    run(
        """
        here = {"SENTRY_ENVIRONMENT": "staging"}
        publish({"SENTRY_DSN": os.environ["A"], **here})
        resentry.init(**QUICK)
        sentry_sdk.capture_message("on")
        take_up({"SENTRY_DSN": "", **here})
        sentry_sdk.capture_message("off")
        take_up({"SENTRY_DSN": os.environ["A"], **here})
        sentry_sdk.capture_message("on again")
        sentry_sdk.flush(2)
        say()
        """,
        SENTRY_DSN=sink.dsn(3),
        **environ,
    )
    assert messages(sink, 1) == ["on", "on again"]
    assert messages(sink, 3) == []


@pytest.mark.parametrize(
    ("role", "expected"), [("celery", ["back"]), ("api", ["off", "back"])]
)
def test_celery_can_be_turned_off_and_back_on(
    run: Run, sink: Sink, environ: dict[str, str], role: str, expected: list[str]
) -> None:
    """`SENTRY_ENABLE_FOR_CELERY` off silences role `celery` alone, until it is on."""
    run(
        """
        dsn, role = {"SENTRY_DSN": os.environ["A"]}, os.environ["ROLE"]
        publish({**dsn, "SENTRY_ENABLE_FOR_CELERY": False})
        resentry.init(role=role, **QUICK)
        sentry_sdk.capture_message("off")
        take_up({**dsn, "SENTRY_ENABLE_FOR_CELERY": True})
        sentry_sdk.capture_message("back")
        sentry_sdk.flush(2)
        say()
        """,
        ROLE=role,
        **environ,
    )
    assert expected == messages(sink, 1)


def test_an_option_that_the_snapshot_decides_is_ignored_with_a_warning(
    run: Run, environ: dict[str, str]
) -> None:
    """An application that passes a DSN or a rate is told so, and nothing else happens."""
    ran = run(
        """
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(dsn=os.environ["B"], traces_sample_rate=1.0, debug=False, **QUICK)
        options = sentry_sdk.get_client().options
        say(dsn=options["dsn"], rate=options["traces_sample_rate"])
        """,
        **environ,
    )
    assert ran.said == {"dsn": environ["A"], "rate": None}
    for name in ("dsn", "traces_sample_rate"):
        assert f"the snapshot decides option '{name}'" in ran.log
    assert key_of(2) not in ran.log


def test_init_never_raises_even_when_the_client_does(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """An option that the SDK refuses is named, and costs no event; a good `init` ends it."""
    ran = run(
        """
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(no_such_option=1, **QUICK)
        error = resentry.status()["error"]
        sentry_sdk.capture_message("without it")
        resentry.init(**QUICK)
        sentry_sdk.capture_message("works")
        sentry_sdk.flush(2)
        say(error=error, after=resentry.status()["error"])
        """,
        **environ,
    )
    assert "no_such_option" in ran.said["error"]
    assert ran.said["after"] is None
    assert "no_such_option" in ran.log
    assert messages(sink, 1) == ["without it", "works"]


def test_a_second_init_that_the_client_refuses_keeps_the_first(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """A bad option later on leaves the client that serves."""
    ran = run(
        """
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        resentry.init(no_such_option=1, **QUICK)
        sentry_sdk.capture_message("works")
        sentry_sdk.flush(2)
        say(error=resentry.status()["error"])
        """,
        **environ,
    )
    assert "no_such_option" in ran.said["error"]
    assert messages(sink, 1) == ["works"]


def test_an_error_of_the_sdk_never_quotes_the_dsn(run: Run, sink: Sink) -> None:
    """An exception that has the DSN in its text is logged and shown without it."""
    ran = run(
        """
        from sentry_sdk.integrations import Integration

        class Odd(Integration):
            identifier = "odd"

            @staticmethod
            def setup_once():
                raise RuntimeError("cannot use " + os.environ["SENTRY_DSN"])

        resentry.init(integrations=[Odd()], **QUICK)
        say(error=resentry.status()["error"])
        """,
        SENTRY_DSN=sink.dsn(1),
    )
    assert "integration Odd can't be used" in ran.said["error"]
    assert "RuntimeError: cannot use DSN" in ran.said["error"]
    assert key_of(1) not in ran.log


def test_without_an_agent_the_environment_decides(run: Run, sink: Sink) -> None:
    """The guide's variables work as ever, with no thread and no file of ours."""
    ran = run(
        """
        import threading
        resentry.init(**QUICK)
        sentry_sdk.capture_message("works")
        sentry_sdk.flush(2)
        say(
            revision=resentry.revision(),
            origin=resentry.status()["origins"]["SENTRY_DSN"],
            ours=[t.name for t in threading.enumerate() if t.name == "resentry"],
        )
        """,
        SENTRY_DSN=sink.dsn(1),
        ENVIRONMENT="staging",
        VERSION="lms@7",
    )
    assert ran.said == {"revision": None, "origin": "environment", "ours": []}
    event = sink.events(1)[0]
    assert (
        event.message,
        event.environment,
        event.release,
    ) == ("works", "staging", "lms@7")


def test_a_snapshot_that_comes_in_time_is_waited_for(
    run: Run, environ: dict[str, str]
) -> None:
    """`RESENTRY_WAIT_SECONDS` lets `init` return with the first snapshot."""
    ran = run(
        """
        import threading
        later = threading.Timer(0.1, publish, [{"SENTRY_DSN": os.environ["A"]}])
        later.start()
        resentry.init(**QUICK)
        say(sequence=resentry.status()["sequence"])
        """,
        RESENTRY_WAIT_SECONDS="30",
        **environ,
    )
    assert ran.said == {"sequence": 1}


@pytest.mark.parametrize("seconds", ["", "0.05", "-1", "soon", "nan", "inf"])
def test_a_snapshot_that_does_not_come_is_waited_for_no_longer(
    run: Run, environ: dict[str, str], seconds: str
) -> None:
    """After a bounded time the environment decides; the snapshot is taken up later."""
    ran = run(
        """
        import time
        os.mkdir(os.environ["RESENTRY_DIR"])
        began = time.monotonic()
        resentry.init(**QUICK)
        waited = time.monotonic() - began
        before = resentry.status()
        take_up({"SENTRY_DSN": os.environ["A"]})
        say(
            waited=waited,
            before=[before["sequence"], before["origins"]["SENTRY_DSN"]],
            after=resentry.status()["origins"]["SENTRY_DSN"],
        )
        """,
        SENTRY_DSN=environ["B"],
        RESENTRY_WAIT_SECONDS=seconds,
        **environ,
    )
    assert ran.said["waited"] < 1
    assert ran.said["before"] == [0, "environment"]
    assert ran.said["after"] == "snapshot"


def test_our_own_errors_are_not_the_application_s_events(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """An application that turns logged errors into events does not get ours."""
    run(
        """
        import logging
        from sentry_sdk.integrations.logging import LoggingIntegration

        publish({"SENTRY_DSN": os.environ["A"]})
        events = LoggingIntegration(level=logging.INFO, event_level=logging.ERROR)
        resentry.init(integrations=[events], **QUICK)
        publish({"SENTRY_DSN": os.environ["B"], "SENTRY_SEND_PII": True})
        wait_for(lambda now: now["error"])
        logging.getLogger("app").error("the application's own")
        sentry_sdk.flush(2)
        say()
        """,
        **environ,
    )
    assert [e.message for e in sink.events()] == ["the application's own"]


def test_a_later_init_with_another_role_takes_effect(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """The new role's values count at once, and what the first client held is sent."""
    ran = run(
        """
        roles = {"celery": {"SENTRY_DSN": os.environ["B"]}}
        publish({"SENTRY_DSN": os.environ["A"]}, roles=roles)
        resentry.init(role="api", **QUICK)
        sentry_sdk.capture_message("as api")
        resentry.init(role="celery", **QUICK)
        sentry_sdk.capture_message("as celery")
        eventually(lambda: receipts() and receipts()[0]["role"] == "celery")
        resentry.close()
        say(origin=resentry.status()["origins"]["SENTRY_DSN"], left=len(receipts()))
        """,
        **environ,
    )
    assert ran.said == {"origin": "role", "left": 0}
    assert messages(sink, 1) == ["as api"]
    assert messages(sink, 2) == ["as celery"]


def test_twenty_swaps_leave_no_thread_and_no_descriptor_behind(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """Each old client goes with its threads and connections."""
    ran = run(
        """
        import threading
        options = {"enable_logs": True, **QUICK}

        def used():
            sentry_sdk.capture_message("one")
            sentry_sdk.logger.info("a line")
            sentry_sdk.flush(2)
            return threading.active_count(), len(os.listdir("/proc/self/fd"))

        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**options)
        before = used()
        for number in range(20):
            dsn = os.environ["B" if number % 2 == 0 else "A"]
            take_up({"SENTRY_DSN": dsn})
            used()
        eventually(lambda: used() == before, what=f"{used()} is {before}")
        say()
        """,
        **environ,
    )
    assert ran.said == {}
    assert sink.duplicates() == 0


def test_the_application_s_own_signal_handler_stays(
    run: Run, environ: dict[str, str]
) -> None:
    """Ours is blocked and read in one thread: what others do with it is theirs."""
    ran = run(
        """
        import signal
        number, got = signal.SIGRTMIN + 6, []
        signal.signal(number, lambda *_: got.append(1))
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        eventually(receipts)
        os.kill(os.getpid(), number)
        say(got=len(got), same=receipts()[0]["signal"] == number)
        """,
        **environ,
    )
    assert ran.said == {"got": 1, "same": True}


@pytest.mark.parametrize(
    ("chosen", "offset"), [("", 6), ("SIGRTMIN+9", 9), ("off", None), ("SIGTERM", None)]
)
def test_the_receipt_names_the_signal_that_is_listened_to(
    run: Run, environ: dict[str, str], chosen: str, offset: int | None
) -> None:
    """The chosen real-time signal goes to our thread; none other can be chosen."""
    ran = run(
        """
        import ctypes, signal
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        eventually(receipts)
        number, tid = receipts()[0]["signal"], receipts()[0]["tid"]
        if number:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.tgkill(os.getpid(), tid, number) == 0
            assert signal.getsignal(number) is signal.SIG_DFL
        say(offset=number and number - signal.SIGRTMIN, both=bool(number) == bool(tid))
        """,
        RESENTRY_SIGNAL=chosen,
        **environ,
    )
    assert ran.said == {"offset": offset, "both": True}


def test_init_in_another_thread_takes_the_signal_as_well(
    run: Run, environ: dict[str, str]
) -> None:
    """The signal is read by our own thread, wherever `init` was called."""
    ran = run(
        """
        import signal, threading
        publish({"SENTRY_DSN": os.environ["A"]})
        other = threading.Thread(target=resentry.init, kwargs=QUICK)
        other.start()
        other.join()
        take_up({"SENTRY_DSN": os.environ["B"]})
        eventually(receipts)
        number = receipts()[0]["signal"] - signal.SIGRTMIN
        say(signal=number, error=resentry.status()["error"])
        """,
        **environ,
    )
    assert ran.said == {"signal": 6, "error": None}


def test_the_end_of_the_process_withdraws_its_receipt(
    run: Run, sink: Sink, environ: dict[str, str], volume: str
) -> None:
    """An application that ends by itself leaves no receipt and no event behind."""
    run(
        """
        from sentry_sdk.integrations.atexit import AtexitIntegration

        publish({"SENTRY_DSN": os.environ["A"]})
        flushing = AtexitIntegration(callback=lambda pending, timeout: None)
        resentry.init(integrations=[flushing], **QUICK)
        take_up({"SENTRY_DSN": os.environ["B"]})
        eventually(receipts)
        sentry_sdk.capture_message("last words")
        say()
        """,
        **environ,
    )
    assert messages(sink, 2) == ["last words"]
    assert os.listdir(f"{volume}/receipts") == []


def test_status_shows_no_key(run: Run, environ: dict[str, str]) -> None:
    """The DSN is shown as host, project and the key's last four."""
    ran = run(
        """
        before = resentry.status()
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        say(status=resentry.status(), before=before["role"], typed=resentry.settings())
        """,
        **environ,
    )
    shown = ran.said["status"]["values"]["SENTRY_DSN"]
    assert shown.endswith(f"/1 (key …{key_of(1)[-4:]})")
    assert key_of(1) not in str(ran.said["status"])
    assert ran.said["before"] == ""
    assert environ["A"] == ran.said["typed"]["SENTRY_DSN"]


def test_rules_reach_the_sdk_s_sampler(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """A rule samples the transactions that it names, and the rate all others."""
    run(
        """
        from resentry.contract import Rule

        publish({"SENTRY_DSN": os.environ["A"]}, rules=(Rule("wanted", 1.0),))
        resentry.init(**QUICK)
        for name in ("wanted", "other"):
            with sentry_sdk.start_transaction(name=name):
                pass
        sentry_sdk.flush(2)
        say()
        """,
        **environ,
    )
    assert [each.message for each in sink.transactions(1)] == ["wanted"]


@pytest.mark.parametrize(
    ("dsn", "code", "said"),
    [("http://key@127.0.0.1:9/1", 0, "runs as __main__"), ("nonsense", 1, "")],
)
def test_a_script_can_be_run_with_sentry_initialised(
    run: Run, dsn: str, code: int, said: str
) -> None:
    """`python -m resentry SCRIPT` runs it, or says why Sentry did not start."""
    ran = run(
        """
        import subprocess, sys
        with open("app.py", "w") as file:
            file.write("import sys; print('runs as', __name__, *sys.argv[1:])")
        asked = [sys.executable, "-m", "resentry", "--role", "celery", "app.py"]
        done = subprocess.run(asked, capture_output=True, text=True)
        say(code=done.returncode, out=done.stdout.strip())
        """,
        SENTRY_DSN=dsn,
    )
    assert ran.said == {"code": code, "out": said}
