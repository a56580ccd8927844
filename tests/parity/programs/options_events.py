"""Options: what the snapshot decides, and what is in an event.

A case `shows` one option: without it, sentry-sdk alone sends something else.
"""

from __future__ import annotations

import io
import json
import os
from typing import Any

import sentry_sdk
from program import (
    case,
    fail,
    main,
    pause,
    report,
    report_twice,
    say,
    start,
    work_twice,
)
from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.transport import Transport


def request(**environ: str) -> None:
    """Answer a request by the SDK's WSGI middleware; it fails."""

    def app(*_: Any) -> list[bytes]:
        report()
        pause()
        fail()
        return []

    given: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/lesson",
        "SERVER_NAME": "lms.example.org",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        **environ,
    }
    try:
        SentryWsgiMiddleware(app)(given, lambda *_: lambda _: None)
    except ValueError:
        say(raised=True)


# What the snapshot decides


@case(shows={"dsn": "http://PARITY_DSN"})
def dsn() -> None:
    say(sends=sentry_sdk.get_client().transport is not None)
    report_twice()


@case(shows={"release": "lms@7"})
def release() -> None:
    report_twice()


@case(shows={"environment": "testing"})
def environment() -> None:
    report_twice()


@case(shows={"sample_rate": 0.0})
def sample_rate() -> None:
    report_twice()


@case(shows={"traces_sample_rate": 1.0})
def traces_sample_rate() -> None:
    work_twice()


@case(shows={"send_default_pii": True})
def send_default_pii() -> None:
    more = {"REMOTE_ADDR": "192.0.2.7", "HTTP_X_FORWARDED_FOR": "192.0.2.8"}
    request(QUERY_STRING="page=2&order=", HTTP_COOKIE="colour=green", **more)


class Handed(Transport):
    def capture_envelope(self, envelope: Any) -> None:
        say(envelope=sorted(item.type for item in envelope.items))


@case(shows={"transport": Handed})
def transport() -> None:
    report_twice()


# What is sent with an event


@case(shows={"server_name": "blackboard"})
def server_name() -> None:
    report_twice()


@case(shows={"dist": "7"})
def dist() -> None:
    report_twice()


@case(shows={"max_breadcrumbs": 2})
def max_breadcrumbs() -> None:
    for number in range(3):
        sentry_sdk.add_breadcrumb(message=f"step {number}")
    report_twice()


@case(shows={"attach_stacktrace": True})
def attach_stacktrace() -> None:
    sentry_sdk.capture_message("where")
    pause()
    sentry_sdk.capture_message("there")


@case(shows={"include_local_variables": False})
def include_local_variables() -> None:
    report_twice()


@case(shows={"include_source_context": False})
def include_source_context() -> None:
    report_twice()


@case(shows={"add_full_stack": True})
def add_full_stack() -> None:
    report_twice()


@case(shows={"max_stack_frames": 2}, add_full_stack=True)
def max_stack_frames() -> None:
    report_twice()


@case(shows={"in_app_include": ["json"]})
def in_app_include() -> None:
    undecodable()


@case(shows={"in_app_exclude": ["__main__"]})
def in_app_exclude() -> None:
    undecodable()


@case(shows={"project_root": os.path.dirname(__file__)})
def project_root() -> None:
    undecodable()


def undecodable() -> None:
    for _ in range(2):
        try:
            json.loads("{")
        except ValueError:
            sentry_sdk.capture_exception()
        pause()


@case(shows={"max_value_length": 60})
def max_value_length() -> None:
    sentry_sdk.capture_message("long " * 20)
    pause()
    sentry_sdk.capture_message("longer " * 20)


class Colour:
    pass


@case(shows={"custom_repr": lambda one: "a colour" if type(one) is Colour else None})
def custom_repr() -> None:
    sentry_sdk.set_extra("colour", Colour())
    report_twice()


@case(shows={"event_scrubber": EventScrubber(["colour"])})
def event_scrubber() -> None:
    sentry_sdk.set_extra("colour", "green")
    report_twice()


@case(shows={"data_collection": {"stack_frame_variables": False}})
def data_collection() -> None:
    report_twice()


# Requests


@case(shows={"auto_session_tracking": False})
def auto_session_tracking() -> None:
    request()


@case(shows={"max_request_body_size": "always"}, starts=False)
def max_request_body_size() -> None:
    from flask import Flask
    from sentry_sdk.integrations.flask import FlaskIntegration

    start(integrations=[FlaskIntegration()])
    app = Flask("lms")
    app.post("/lesson")(report_twice_and_answer)
    for size in (10, 5_000, 20_000):
        app.test_client().post("/lesson", json={"text": "a" * size})


def report_twice_and_answer() -> str:
    report()
    pause()
    return "done"


if __name__ == "__main__":
    main()
