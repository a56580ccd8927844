"""Each option of the application's works, or is left out and named: Sentry works on."""

from collections.abc import Callable
from typing import Any

import pytest
from arrivals import messages
from sentry_sdk.consts import DEFAULT_OPTIONS

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

STEPS = """
import sys, time, warnings
from mishaps import Told, busy
from sentry_sdk.integrations import Integration

A, B = os.environ["A"], os.environ["B"]
SETTINGS = {"SENTRY_ENVIRONMENT": "staging", "SENTRY_TRACES_SAMPLE_RATE": 1.0}
log = Told()

class Good(Integration):
    identifier = "good"
    setup_once = staticmethod(lambda: None)

class Broken(Integration):
    identifier = "broken"
    @staticmethod
    def setup_once():
        raise RuntimeError("this one does not work")

def start(**options):
    publish({"SENTRY_DSN": A, **SETTINGS})
    resentry.init(**QUICK | options)
    sentry_sdk.capture_message("one")
    sentry_sdk.flush(5)

def swap(**settings):
    take_up({"SENTRY_DSN": B, **SETTINGS, **settings})
    sentry_sdk.capture_message("two")
    with sentry_sdk.start_transaction(name="work"):
        busy()
    sentry_sdk.flush(5)

def told():
    client, status = sentry_sdk.get_client(), resentry.status()
    say(
        error=status["error"],
        log=[text for level, text in log.lines if level in ("WARNING", "ERROR")],
        sequence=status["sequence"],
        integrations=sorted(client.integrations),
        receipt=[receipt["refused"] for receipt in receipts()],
        problems=[receipt["problems"] for receipt in receipts()],
    )
"""

NO_GEVENT = "import sys; sys.modules['gevent'] = None\n"


BAD = {
    "unknown": ("no_such_option=1", ["no_such_option"]),
    "body size": ("max_request_body_size='huge'", ["max_request_body_size", "always"]),
    "queue size": ("transport_queue_size='many'", ["transport_queue_size", "number"]),
    "shutdown": ("shutdown_timeout='2s'", ["shutdown_timeout", "number"]),
    "socket options": ("socket_options='TCP_NODELAY'", ["socket_options", "list"]),
    "a mode": ("profiler_mode='threads'", ["profiler_mode", "threads"]),
    "a mode that is not there": ("profiler_mode='gevent'", ["profiler_mode", "gevent"]),
    "an experiment's mode": (
        "_experiments={'continuous_profiling_mode': 7}",
        ["continuous_profiling_mode", "7"],
    ),
    "HTTP/2": ("_experiments={'transport_http2': True}", ["transport_http2"]),
    "async": ("_experiments={'transport_async': True}", ["transport_async"]),
    "experiments": ("_experiments=7", ["_experiments"]),
    "a function": ("functions_to_trace=[{}]", ["functions_to_trace", "qualified_name"]),
    "a proxy": ("http_proxy='nonsense://proxy'", ["http_proxy", "nonsense"]),
    "a pool": (
        "_experiments={'transport_num_pools': 'two'}",
        ["_experiments", "two"],
    ),
    "a file": ("ca_certs='/nowhere/ca.pem'", ["ca_certs", "/nowhere/ca.pem"]),
    "a deprecated one": ("enable_tracing=True", ["enable_tracing", "deprecated"]),
    "an integration": (
        "integrations=[Good(), Broken()]",
        ["Broken", "this one does not work"],
    ),
    "no integration": ("integrations=[7, Good()]", ["integration int"]),
    "two": (
        "integrations=[Broken(), Good()], max_request_body_size=0, nothing=1",
        ["Broken", "max_request_body_size", "nothing"],
    ),
}
if "data_collection" in DEFAULT_OPTIONS:
    BAD["collection"] = ("data_collection=['all']", ["data_collection", "list"])


@pytest.mark.parametrize("what", BAD)
def test_a_bad_option_costs_itself_and_is_named(go: Run, sink: Sink, what: str) -> None:
    """In the log, once, and in the status; the client works, also after a swap."""
    given, named = BAD[what]
    ran = go(
        """
        start(**eval(f"dict({os.environ['GIVEN']})"))
        swap()
        told()
        """,
        GIVEN=given,
        first=NO_GEVENT,
    )
    lines = ran.said["log"]
    for text in named:
        assert text in ran.said["error"], ran.said
        assert len([line for line in lines if text in line]) == 1, lines
    assert ran.said["sequence"] == 2
    assert ran.said["receipt"] == [None]
    assert messages(sink, 1) == ["one"]
    assert messages(sink, 2) == ["two"]
    assert ran.said["integrations"] == (["good"] if "Good" in given else [])


@pytest.mark.parametrize("mode", ["threads", "gevent"])
def test_a_bad_mode_with_a_rate_for_profiles_costs_the_profiles(
    go: Run, sink: Sink, mode: str
) -> None:
    """Events and transactions are sent."""
    ran = go(
        """
        SETTINGS["SENTRY_PROFILES_SAMPLE_RATE"] = 1.0
        start(profiler_mode=os.environ["MODE"])
        swap()
        told()
        """,
        MODE=mode,
        first=NO_GEVENT,
    )
    assert mode in ran.said["error"]
    assert (messages(sink, 1), messages(sink, 2)) == (["one"], ["two"])
    assert (sink.count("transaction"), sink.count("profile")) == (1, 0)


GOOD = [
    "transport_queue_size=0",
    "transport_queue_size=-1",
    "keep_alive=True",
    "socket_options=[(6, 1, 1)]",
    "send_client_reports=False",
    "enable_backpressure_handling=False",
    "shutdown_timeout=0.5",
    "_experiments={}",
    "_experiments={'transport_num_pools': 4}",
    "_experiments={'transport_compression_algo': 'gzip'}",
    "_experiments={'transport_compression_level': 0}",
    "profiler_mode='thread'",
    "profiler_mode='sleep'",
    "https_proxy='', http_proxy=''",
    "debug=False, server_name='here', dist='7'",
]


@pytest.mark.parametrize("given", GOOD)
def test_a_good_option_is_no_problem(go: Run, sink: Sink, given: str) -> None:
    """Nothing is told of it, and everything arrives: twenty at once."""
    ran = go(
        """
        start(**eval(f"dict({os.environ['GIVEN']})"))
        swap()
        for number in range(20):
            sentry_sdk.capture_message("burst")
        sentry_sdk.flush(5)
        told()
        """,
        GIVEN=given,
    )
    assert ran.said["error"] is None
    assert ran.said["log"] == []
    assert messages(sink, 1) == ["one"]
    assert messages(sink, 2) == ["two", *["burst"] * 20]


def test_a_proxy_is_used_over_swaps(go: Run, sink: Sink) -> None:
    """The DSN's own host is never asked."""
    ran = go(
        """
        A = A.replace(os.environ["SINK"], "sentry.invalid")
        B = B.replace(os.environ["SINK"], "sentry.invalid")
        start(http_proxy="http://" + os.environ["SINK"])
        swap()
        told()
        """,
        SINK=sink.address,
    )
    assert ran.said["error"] is None
    assert (messages(sink, 1), messages(sink, 2)) == (["one"], ["two"])


def test_a_rate_of_profiles_among_the_experiments_counts(go: Run, sink: Sink) -> None:
    """As long as the snapshot has none."""
    go(
        """
        warnings.simplefilter("ignore")  # it is deprecated
        from resentry.outlet import Outlet
        from resentry.sdk import build, client
        given = {"_experiments": {"profiles_sample_rate": 1.0}, **QUICK}
        told = {"dsn": A, "traces_sample_rate": 1.0, "profiles_sample_rate": None}
        arguments = {**given, **told, "transport": Outlet, "transport_queue_size": 9}
        first = build.new_client(given, dict(arguments), pii=False)
        client.set_current(build.successor(first, {**arguments, "dsn": B}, pii=False))
        with sentry_sdk.start_transaction(name="work") as work:
            eventually(lambda: work._profile.unique_samples > 3)
        sentry_sdk.flush(5)
        say()
        """
    )
    assert sink.count("profile", 2) == 1


def test_what_resentry_decides_is_ignored_with_a_warning(go: Run, sink: Sink) -> None:
    """A transport of the application's, too."""
    ran = go(
        """
        start(dsn=B, transport=print, traces_sample_rate=0.0)
        eventually(receipts)
        told()
        """
    )
    (problems,) = ran.said["problems"]
    assert problems == [
        f"the application gives the option {option}, which the snapshot decides"
        for option in ("dsn", "traces_sample_rate", "transport")
    ]
    assert ran.said["error"] is None
    assert len(ran.said["log"]) == 3
    assert all("your value is ignored" in line for line in ran.said["log"])
    assert messages(sink, 1) == ["one"]


def test_envelopes_are_printed_where_the_sdk_is_asked_to(go: Run, sink: Sink) -> None:
    """The SDK's wrapper around the transport does not keep an old client."""
    ran = go(
        """
        start()
        swap()
        told()
        """,
        SENTRY_PRINT_ENVELOPES="true",
    )
    assert (messages(sink, 1), messages(sink, 2)) == (["one"], ["two"])
    assert ran.said["sequence"] == 2
