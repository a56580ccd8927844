"""Every kind of item that sentry-sdk sends."""

from __future__ import annotations

import logging
from typing import Any

import sentry_sdk
from program import ask_runner, case, fail, main, pause, report, rest, say
from sentry_sdk.crons import monitor
from sentry_sdk.envelope import Envelope, Item


@case("event: message")
def message() -> None:
    for level in ("info", "warning", "fatal"):
        said = sentry_sdk.capture_message(f"a {level}", level=level)
        say(has_id=said is not None, last=said == sentry_sdk.last_event_id())
        pause()


@case("event: exception, cause and group")
def exception() -> None:
    report()
    pause()
    try:
        try:
            fail()
        except ValueError as error:
            raise RuntimeError("because") from error
    except RuntimeError:
        sentry_sdk.capture_exception()
    pause()
    try:
        raise_group()
    except Exception as error:  # noqa: BLE001 - an ExceptionGroup
        sentry_sdk.capture_exception(error, tags={"is": "a group"})


def planted() -> None:
    """Personal data and secrets, in places where the SDK leaves them."""
    sentry_sdk.set_extra("note", "write to ann@example.org")
    sentry_sdk.set_context("order", {"paid by": "4111 1111 1111 1111", "rows": 3})
    sentry_sdk.set_user({"id": "1234567812345670"})
    for _ in range(2):
        report()
        pause()


@case("personal data, PII off")
def pii_off() -> None:
    planted()


@case("personal data, PII on", send_default_pii=True)
def pii_on() -> None:
    planted()


@case("a burst of 150 events, while the receiver answers nothing")
def burst() -> None:
    pause()
    ask_runner("stay")
    ask_runner("hold")
    sentry_sdk.capture_message("on its way")
    ask_runner("received 1")
    for number in range(150):
        sentry_sdk.capture_message(f"queued {number}")
    ask_runner("release")
    ask_runner("received 101")


def raise_group() -> None:
    raise ExceptionGroup("several", [ValueError("first"), KeyError("second")])


@case("event: user, tags, contexts, breadcrumbs, fingerprint, scopes")
def scope() -> None:
    sentry_sdk.set_user({"id": "7", "segment": "teachers"})
    sentry_sdk.set_tag("course", "algebra")
    sentry_sdk.set_context("lesson", {"number": 3, "parts": ["a", "b"]})
    sentry_sdk.set_extra("rows", [1, 2, 3])
    sentry_sdk.add_breadcrumb(category="ui", message="opened", data={"page": 1})
    report()
    pause()
    with sentry_sdk.new_scope() as inner:
        inner.fingerprint = ["one", "two"]
        inner.set_level("warning")
        inner.set_transaction_name("lesson")
        inner.add_event_processor(lambda event, _: {**event, "logger": "processed"})
        report()
    pause()
    with sentry_sdk.isolation_scope() as isolated:
        isolated.set_tag("isolated", "yes")
        isolated.clear_breadcrumbs()
        report()


@case("attachment")
def attachment() -> None:
    with sentry_sdk.new_scope() as inner:
        inner.add_attachment(bytes=b"one,two", filename="rows.csv")
        report()
        pause()
        inner.add_attachment(path=__file__, add_to_transactions=True)
        report()


@case("event: user feedback")
def feedback() -> None:
    for text in ("it is slow", "it is fast"):
        said = {"message": text, "name": "Reader", "source": "form"}
        event: Any = {"type": "feedback", "contexts": {"feedback": said}}
        sentry_sdk.capture_event(event)
        pause()


@case("user report, an envelope made by hand")
def user_report() -> None:
    for number in range(2):
        envelope = Envelope(headers={"event_id": f"{number}" * 32})
        envelope.add_item(Item(b'{"comments": "none"}', type="user_report"))
        transport = sentry_sdk.get_client().transport
        assert transport is not None
        transport.capture_envelope(envelope)
        pause()


@case("transaction with spans")
def transaction() -> None:
    for number in range(3):
        with sentry_sdk.start_transaction(op="task", name=f"work {number}") as root:
            root.set_tag("number", number)
            with sentry_sdk.start_span(op="db", name="SELECT 1") as span:
                span.set_data("rows", 7)
                pause()
                with sentry_sdk.start_span(op="http.client", name="GET /"):
                    report()
            root.set_status("ok")


@case('span streaming: trace_lifecycle="stream"', trace_lifecycle="stream")
def streaming() -> None:
    for number in range(3):
        sentry_sdk.traces.new_trace()
        with sentry_sdk.traces.start_span(name=f"work {number}") as root:
            root.set_attribute("number", number)
            with sentry_sdk.traces.start_span(name="inner"):
                pause()
                report()


@case("session by hand")
def session() -> None:
    for number in range(3):
        sentry_sdk.get_isolation_scope().start_session()
        if number == 1:
            report()
        pause()
        sentry_sdk.get_isolation_scope().end_session()


@case("session of a request")
def request_session() -> None:
    for number in range(3):
        with sentry_sdk.isolation_scope() as isolated:
            isolated.start_session(session_mode="request")
            if number == 1:
                report()
            isolated.end_session()
        pause()


@case("check-in")
def check_in() -> None:
    config: Any = {"schedule": {"type": "crontab", "value": "0 0 * * *"}}
    with monitor("nightly", monitor_config=config):
        pause()
    try:
        with monitor("nightly"):
            pause()
            fail()
    except ValueError:
        report()


@case("log", enable_logs=True)
def log() -> None:
    logger = logging.getLogger("course")
    for number in range(3):
        sentry_sdk.logger.info("lesson {number}", number=number)
        sentry_sdk.logger.warning("late", attributes={"late": True})
        logger.error("lesson %d failed", number)
        pause()


@case("metric")
def metric() -> None:
    for number in range(3):
        sentry_sdk.metrics.count("lessons", 1, attributes={"number": number})
        sentry_sdk.metrics.gauge("rows", number)
        with sentry_sdk.start_transaction(name="measured"):
            sentry_sdk.metrics.distribution("took", 2.5, unit="second")
        pause()


@case("client report", before_send=lambda *_: None)
def client_report() -> None:
    for _ in range(3):
        report()
        pause()


@case("transaction profile", profiles_sample_rate=1.0)
def profile() -> None:
    for number in range(2):
        with sentry_sdk.start_transaction(name=f"profiled {number}"):
            rest()
            pause()


@case("continuous profile by hand", profile_session_sample_rate=1.0)
def profile_chunk() -> None:
    sentry_sdk.profiler.start_profiler()
    with sentry_sdk.start_transaction(name="profiled"):
        rest()
        pause()
        rest()
    sentry_sdk.profiler.stop_profiler()


if __name__ == "__main__":
    main()
