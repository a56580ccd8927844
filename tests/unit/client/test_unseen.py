"""Nothing of ours is in what the application sends: no frame, no error, no line.

Each script runs with sentry-sdk alone, with the library, and after a swap: what is sent
must be the same.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from payloads import KeepingSink

pytestmark = pytest.mark.process


Run = Callable[..., Any]
WAYS = ["resentry", "swap"]

STEPS = """
import logging, threading, time
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.integrations.threading import ThreadingIntegration

A, HOW = os.environ["A"], os.environ["HOW"]
SETTINGS = {
    "SENTRY_DSN": A, "SENTRY_ENVIRONMENT": "staging",
    "SENTRY_TRACES_SAMPLE_RATE": 1.0, "SENTRY_SEND_PII": os.environ["PII"] == "on",
}

def start(**options):
    options = {
        "integrations": [LoggingIntegration(), ThreadingIntegration()],
        "attach_stacktrace": True, **QUICK, **options,
    }
    if HOW == "plain":
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # send_default_pii is deprecated
            sentry_sdk.init(
                dsn=A, environment="staging", traces_sample_rate=1.0,
                send_default_pii=SETTINGS["SENTRY_SEND_PII"] or None, **options,
            )
        return
    publish({**SETTINGS, "SENTRY_SAMPLE_RATE": 0.99999})
    resentry.init(**options)
    if HOW == "swap":
        take_up({**SETTINGS, "SENTRY_SAMPLE_RATE": 1.0})

def captured():
    "One event by each way."
    sentry_sdk.set_extra("password", "-".join(["hunter2", "in", "extra"]))
    sentry_sdk.capture_message("a message")
    logging.getLogger("app").error("a line")
    try:
        int("x")
    except ValueError as error:
        sentry_sdk.capture_exception(error)
    sentry_sdk.capture_event({"message": "an event"})
    thread = threading.Thread(target=lambda: {}["dies"])
    threading.excepthook = lambda _: None
    thread.start()
    thread.join()
    sentry_sdk.flush(5)
"""


@pytest.fixture
def sink() -> Iterator[KeepingSink]:
    with KeepingSink() as running:
        yield running


@pytest.fixture
def go(go: Run) -> Run:
    """Run a script one way; return what it said."""
    return lambda script, how, **more: (
        go(script, **{"HOW": how, "PII": "on", **more}).said
    )


def stacks(sink: KeepingSink) -> list[Any]:
    """Return each event's frames, with their variables but for the script's globals."""
    found = []
    for event in sink.payloads("event", 1):
        entries = [
            *event.get("exception", {}).get("values", []),
            *event.get("threads", {}).get("values", []),
        ]
        for entry in entries:
            frames = (entry.get("stacktrace") or {}).get("frames", [])
            found.append(
                [
                    (
                        frame["function"],
                        frame.get("module"),
                        None
                        if frame["function"] == "<module>"
                        else sorted(frame["vars"]),
                    )
                    for frame in frames
                ]
            )
    return found


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("pii", ["on", "off"])
@pytest.mark.parametrize("full", ["", "add_full_stack=True"])
def test_no_frame_of_ours_is_in_an_event(
    go: Run, sink: KeepingSink, full: str, pii: str, how: str
) -> None:
    """Nor a variable of one: the stacks are those of the SDK, however captured."""
    script = f"""
        start({full})
        captured()
        say()
    """
    go(script, "plain", PII=pii)
    plain = stacks(sink)
    assert len(plain) >= 4
    sink._kept.clear()
    go(script, how, PII=pii)
    assert stacks(sink) == plain
    assert "hunter2-in-extra" not in repr(sink.payloads("event", 1))


@pytest.mark.parametrize("how", WAYS)
def test_an_error_in_a_hook_or_a_client_s_making_shows_none_of_ours(
    go: Run, sink: KeepingSink, how: str
) -> None:
    """The application's code runs inside of ours there."""
    script = """
        def before_send(event, hint):
            if "log_record" not in hint:
                logging.getLogger("app").error("in the hook")
            return event

        class Own(sentry_sdk.Client):
            def __new__(cls, *args, **options):
                sentry_sdk.capture_message("in the making")
                raise LookupError("no client")

        start(before_send=before_send)
        sentry_sdk.capture_message("a message")
        try:
            Own()
        except LookupError as error:
            sentry_sdk.capture_exception(error)
        sentry_sdk.flush(5)
        say()
    """
    go(script, "plain")
    plain = stacks(sink)
    sink._kept.clear()
    go(script, how)
    assert len(plain) >= 3
    assert stacks(sink) == plain


def test_an_error_of_an_exporter_shows_none_of_ours(go: Run, sink: KeepingSink) -> None:
    """Its request goes through the library."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    pytest.importorskip("sentry_sdk.integrations.otlp")
    script = """
        import warnings
        warnings.simplefilter("ignore")
        from sentry_sdk.integrations.otlp import OTLPIntegration
        from resentry.otlp import SESSION, _first, exporters
        start(integrations=[OTLPIntegration()])
        from opentelemetry import trace
        processor = trace.get_tracer_provider()._active_span_processor
        exporter = _first(processor._span_processors[0], (
            "_batch_processor._exporter", "span_exporter",
        ))
        session = _first(exporter, SESSION)
        class Refusing:
            def __getattr__(self, name):
                raise ConnectionError("refused")
        session.adapters = {"http://": Refusing(), "https://": Refusing()}
        from resentry.otlp import ADDRESS
        try:
            session.request("POST", _first(exporter, ADDRESS), data=b"x")
        except ConnectionError as error:
            sentry_sdk.capture_exception(error)
        sentry_sdk.flush(5)
        say()
        os._exit(0)
    """
    go(script, "plain")
    plain = stacks(sink)
    assert len(plain) == 1
    sink._kept.clear()
    go(script, "resentry")
    assert stacks(sink) == plain


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_our_lines_are_none_of_the_application_s(
    go: Run, sink: KeepingSink, level: str
) -> None:
    """Neither events nor breadcrumbs nor Sentry logs, at whatever level they are on."""
    said = go(
        """
        lines = []
        logging.getLogger("resentry").setLevel(os.environ["LEVEL"])
        handler = logging.Handler()
        handler.emit = lines.append
        logging.getLogger("resentry").addHandler(handler)
        start(
            integrations=[
                LoggingIntegration(level=logging.DEBUG, event_level=logging.DEBUG)
            ],
            enable_logs=True, no_such_option=1,
        )
        resentry.init(role="celery", **QUICK, integrations=[
            LoggingIntegration(level=logging.DEBUG, event_level=logging.DEBUG)
        ])
        publish({**SETTINGS, "SENTRY_DSN": "nonsense"})
        eventually(lambda: resentry.status()["error"])
        sentry_sdk.capture_message("a message")
        sentry_sdk.flush(5)
        say(lines=len(lines))
        """,
        "swap",
        LEVEL=level,
    )
    assert said["lines"] >= 4
    (event,) = sink.payloads("event", 1)
    assert event["message"] == "a message"
    assert not event.get("breadcrumbs", {}).get("values")
    assert sink.count("log") == 0


def test_our_errors_are_none_of_the_application_s(go: Run, sink: KeepingSink) -> None:
    """Not those of a thread, nor those of a fork's hooks."""
    said = go(
        """
        import sys
        from mishaps import in_a_child, raising
        from resentry import forks, process
        from sentry_sdk.integrations import unraisablehook

        start(integrations=[
            ThreadingIntegration(), unraisablehook.UnraisablehookIntegration(),
        ])
        def wrong(*args):
            raise OSError(9, "Bad file descriptor")
        process.start_thread("resentry.wrong", wrong).join()
        ended = threading.Event()
        def wrong_at_last():
            ended.set()
            wrong()
        process.start_later(wrong_at_last)
        ended.wait()
        with raising(forks, "has_green_threads", OSError(9, "Bad file descriptor")):
            in_a_child(lambda: None)
        sentry_sdk.capture_message("a message")
        sentry_sdk.flush(5)
        say(faults=resentry.status()["tally"]["faults"])
        """,
        "swap",
    )
    assert said["faults"] >= 3
    assert [event.message for event in sink.events()] == ["a message"]
