"""`SENTRY_SEND_PII=true` means what `send_default_pii=True` means to the SDK alone."""

import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from payloads import KeepingSink
from sentry_sdk.consts import DEFAULT_OPTIONS

pytestmark = pytest.mark.process


Run = Callable[..., Any]

STEPS = """
import io, warnings
from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware
from sentry_sdk.scrubber import EventScrubber

A, HOW = os.environ["A"], os.environ["HOW"]
HERE = {"SENTRY_ENVIRONMENT": "staging", "SENTRY_DSN": A}

def start(**options):
    if HOW == "plain":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is deprecated
            sentry_sdk.init(
                dsn=A, environment="staging", send_default_pii=True,
                **QUICK, **options,
            )
        return
    publish({**HERE, "SENTRY_SEND_PII": HOW != "swap"})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Event scrubbers")  # plain warns of it too
        resentry.init(**QUICK, **options)
    if HOW != "resentry":
        take_up({**HERE, "SENTRY_SEND_PII": HOW == "swap"})
    if HOW == "there and back":
        take_up({**HERE, "SENTRY_SEND_PII": True})

def request(query, cookies):
    body = b"token=in-the-body&name=Maria"
    environ = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/x", "QUERY_STRING": query,
        "SERVER_NAME": "here", "SERVER_PORT": "80", "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "REMOTE_ADDR": "10.1.2.3", "HTTP_X_FORWARDED_FOR": "10.9.8.7",
        "HTTP_AUTHORIZATION": "Bearer abc", "HTTP_COOKIE": cookies,
        "HTTP_X_API_KEY": "key-value",
    }
    def application(environ, start_response):
        password, harmless = "-".join("pw"), "shown"
        raise LookupError("in the request")
    try:
        SentryWsgiMiddleware(application)(environ, lambda *args: None)
    except LookupError:
        pass

def options():
    found = sentry_sdk.get_client().options
    scrubber = found["event_scrubber"]
    return {
        "pii": found["send_default_pii"],
        "asked": sentry_sdk.get_client().should_send_default_pii(),
        "collection": found.get("data_collection"),
        "scrubber": scrubber and [
            type(scrubber).__name__, sorted(scrubber.denylist), scrubber.recursive,
        ],
    }
"""
GIVEN = {
    "nothing": "",
    "a scrubber": "event_scrubber=EventScrubber(['harmless'])",
    "no variables": "include_local_variables=False, include_source_context=False",
}
if "data_collection" in DEFAULT_OPTIONS:
    GIVEN["a collection"] = (
        "data_collection={'user_info': False, 'cookies': {'mode': 'off'}}"
    )
    GIVEN["both"] = "data_collection={}, event_scrubber=EventScrubber(['harmless'])"
VARYING = ("event_id", "timestamp", "contexts", "sdk", "modules", "server_name")


@pytest.fixture
def sink() -> Iterator[KeepingSink]:
    with KeepingSink() as running:
        yield running


@pytest.mark.parametrize("how", ["resentry", "swap", "there and back"])
@pytest.mark.parametrize("given", GIVEN)
def test_pii_is_what_plain_pii_is(
    run: Run, sink: KeepingSink, volume: str, given: str, how: str
) -> None:
    """Query string, cookies, headers, user, body, variables; and the options themselves."""
    seen = []
    for way in ("plain", how):
        sink._kept.clear()
        ran = run(
            STEPS
            + textwrap.dedent(f"""
            start({GIVEN[given]})
            for query, cookies in (
                ("b=2&a=1&b=3&token=t%20x&session", "sid=1; theme=dark"),
                ("", ""),
            ):
                request(query, cookies)
            sentry_sdk.flush(5)
            say(**options())
            """),
            RESENTRY_DIR=volume,
            A=sink.dsn(1),
            HOW=way,
            SENTRY_RELEASE="lms@1",
        )
        events = sink.payloads("event", 1)
        assert len(events) == 2
        seen.append((ran.said, [_steady(event) for event in events]))
    assert seen[0] == seen[1]


def _steady(event: dict[str, Any]) -> dict[str, Any]:
    """Leave out what differs from run to run, and the script's own globals."""
    kept = {key: value for key, value in event.items() if key not in VARYING}
    for value in kept["exception"]["values"]:
        for frame in value["stacktrace"]["frames"]:
            if frame["function"] != "application":
                frame.pop("vars", None)
            elif "vars" in frame:
                del frame["vars"]["environ"], frame["vars"]["start_response"]
    return kept
