"""A client that the application keeps over swaps goes on as with the SDK alone."""

from collections.abc import Callable
from typing import Any

import pytest

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]


@pytest.fixture
def environ(volume: str, sink: Sink) -> dict[str, str]:
    return {"RESENTRY_DIR": volume, "A": sink.dsn(1), "B": sink.dsn(2)}


def test_a_kept_client_sends_all_kinds_over_many_swaps(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """Logs, metrics and sessions too: what holds them back is the current client's."""
    run(
        """
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(enable_logs=True, **QUICK)
        kept = sentry_sdk.get_client()
        for dsn in "BABA":
            take_up({"SENTRY_DSN": os.environ[dsn]})
            with sentry_sdk.isolation_scope() as scope:
                scope.set_client(kept)
                sentry_sdk.capture_message("kept")
                sentry_sdk.logger.info("kept")
                sentry_sdk.metrics.count("kept", 1)
                scope.start_session()
                scope.end_session()
            sentry_sdk.flush(5)
        say()
        """,
        **environ,
    )
    kinds = ("event", "log", "trace_metric", "session")
    assert {kind: sink.count(kind) for kind in kinds} == dict.fromkeys(kinds, 4)


def test_to_close_a_former_client_ends_no_other(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """It sends nothing itself any more; the current one sends all kinds."""
    run(
        """
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(enable_logs=True, **QUICK)
        kept = sentry_sdk.get_client()
        take_up({"SENTRY_DSN": os.environ["B"]})
        sentry_sdk.logger.info("before")
        sentry_sdk.metrics.count("before", 1)
        kept.close()
        kept.capture_event({"message": "closed"})
        for _ in range(3):
            sentry_sdk.logger.info("after")
            sentry_sdk.metrics.count("after", 1)
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(5)
        say()
        """,
        **environ,
    )
    assert (sink.count("log"), sink.count("trace_metric"), sink.count("event")) == (
        4,
        4,
        1,
    )


def test_a_second_init_sees_what_was_changed_in_place(
    run: Run, environ: dict[str, str]
) -> None:
    """The same list, with one integration more: that is installed."""
    ran = run(
        """
        from sentry_sdk.integrations import Integration

        class Own(Integration):
            identifier = "own"
            set_up = 0

            @staticmethod
            def setup_once():
                Own.set_up += 1

        integrations = []
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(integrations=integrations, **QUICK)
        integrations.append(Own())
        resentry.init(integrations=integrations, **QUICK)
        take_up({"SENTRY_DSN": os.environ["B"]})
        client = sentry_sdk.get_client()
        say(set_up=Own.set_up, there=client.get_integration(Own) is not None)
        """,
        **environ,
    )
    assert ran.said == {"set_up": 1, "there": True}


def test_a_flush_waits_for_what_a_swap_hands_over_meanwhile(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """It began with the old client; both take their time."""
    sink.answer(1, "ok", seconds=2)
    sink.answer(2, "ok", seconds=0.7)
    ran = run(
        """
        from resentry import swap

        swap.DRAIN_SECONDS = 0.5
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        for _ in range(4):
            sentry_sdk.capture_message("handed over")
        left, waits = [], threading.Event()

        def flush():
            sentry_sdk.flush(30, callback=lambda pending, timeout: waits.set())
            left.append(sentry_sdk.get_client().transport.pending)

        flushing = threading.Thread(target=flush)
        flushing.start()
        assert waits.wait(5)
        take_up({"SENTRY_DSN": os.environ["B"]})
        flushing.join()
        say(left=left)
        os._exit(0)
        """,
        first="import threading",
        **environ,
    )
    assert ran.said == {"left": [0]}
    assert sink.count("event", 2) == 3
    assert sink.count("event") == 4


def test_a_flush_waits_through_a_second_swap(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """What the first swap handed over is still being sent by a client that left, too."""
    sink.answer(1, "ok", seconds=3)
    sink.answer(2, "ok", seconds=3)
    ran = run(
        """
        from resentry import swap

        swap.DRAIN_SECONDS = 0.5
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        first = sentry_sdk.get_client().transport
        for _ in range(4):
            sentry_sdk.capture_message("handed over")
        waits = threading.Event()

        def flush():
            sentry_sdk.flush(30, callback=lambda pending, timeout: waits.set())

        flushing = threading.Thread(target=flush)
        flushing.start()
        assert waits.wait(5)
        publish({"SENTRY_DSN": os.environ["B"]})
        wait_for(lambda now: now["sequence"] == 2)
        second = sentry_sdk.get_client().transport
        wait_for(lambda now: second.pending)
        swap.DRAIN_SECONDS = 60.0
        publish({"SENTRY_DSN": os.environ["C"]})
        wait_for(lambda now: now["sequence"] == 3)
        was_sending = first.pending
        flushing.join()
        say(was_sending=was_sending, left=[first.pending, second.pending])
        os._exit(0)
        """,
        first="import threading",
        **environ,
        C=sink.dsn(3),
    )
    assert ran.said == {"was_sending": 1, "left": [0, 0]}
    assert sink.count("event") == 4


def test_integrations_may_be_a_set_but_no_text(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """The SDK goes through whatever can be gone through; the other is named."""
    ran = run(
        """
        from sentry_sdk.integrations.stdlib import StdlibIntegration

        publish({"SENTRY_DSN": os.environ["A"]})
        options = {**QUICK, "default_integrations": False}
        resentry.init(**{**options, "integrations": {StdlibIntegration()}})
        there = sentry_sdk.get_client().get_integration(StdlibIntegration) is not None
        first = resentry.status()["error"]
        resentry.init(**{**options, "integrations": "text"})
        sentry_sdk.capture_message("works")
        sentry_sdk.flush(5)
        say(there=there, errors=[first, resentry.status()["error"]])
        """,
        **environ,
    )
    why = "option 'integrations' must be a list: it is left out"
    assert ran.said == {"there": True, "errors": [None, why]}
    assert sink.count("event") == 1
