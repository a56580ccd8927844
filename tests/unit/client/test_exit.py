"""The end of a process: what is captured last arrives, and nothing waits for nobody.

From Python 3.12 on no thread starts any more once the interpreter ends.
"""

from collections.abc import Callable
from typing import Any

import pytest
from arrivals import messages

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

LAST = """
import atexit, json, os, sys, threading, time, warnings

# The connection that is kept open is closed by the kernel, as without us.
warnings.simplefilter("ignore", ResourceWarning)
began = time.monotonic()
last = []

@atexit.register
def at_last():
    "Registered before everything else, and so called after everything else."
    for function in last:
        function()
    print(json.dumps({"took": time.monotonic() - began, "raised": raised}), flush=True)

raised = []

def noting(function, *args):
    "Call it as an application's handler would; note what it raises."
    try:
        return function(*args)
    except BaseException as error:
        raised.append(f"{type(error).__name__}: {error}")
"""
"""Run before the library is imported. The end's time is said, and what was raised."""

LONG = 30
"""So long would `flush` and the SDK's own end wait for what nobody sends."""


def is_clean(ran: Any) -> bool:
    """Whether nothing was raised, or told to the user, and nothing was waited for."""
    raised, took = ran.said["raised"], ran.said["took"]
    assert (raised, took < LONG / 2, "Traceback" in ran.log) == ([], True, False), ran
    assert "Exception ignored" not in ran.log
    assert "pending events" not in ran.log
    return True


@pytest.fixture(params=["a volume", "no volume"])
def environ(sink: Sink, volume: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """With a volume the library has a thread; without one it has none."""
    named = {"RESENTRY_DIR": volume} if request.param == "a volume" else {}
    return {**named, "SENTRY_DSN": sink.dsn(1)}


@pytest.fixture
def go(run: Run, environ: dict[str, str]) -> Run:
    """Run a script whose end is looked at; what it captures has no event before."""

    def go(script: str) -> Any:
        start = """
def start(**options):
    if "RESENTRY_DIR" in os.environ:
        publish({"SENTRY_DSN": os.environ["SENTRY_DSN"]})
    resentry.init(**{**QUICK, "shutdown_timeout": 30, **options})
"""
        return run(start + script, first=LAST, **environ)

    return go


FLUSHES = [
    pytest.param("sentry_sdk.flush(30)", id="flush"),
    pytest.param("resentry.close()", id="close"),
    pytest.param("sentry_sdk.get_client().close(30)", id="client.close"),
]


@pytest.mark.parametrize("flush", FLUSHES)
@pytest.mark.parametrize("when", ["first", "last"])
def test_a_first_event_in_an_atexit_handler(
    go: Run, sink: Sink, when: str, flush: str
) -> None:
    """It is sent in place: whether the handler is called before ours or after it."""
    ran = go(
        f"""
def at_exit():
    noting(sentry_sdk.capture_message, "late")
    noting(lambda: {flush})

start()
{"last.append(at_exit)" if when == "last" else "atexit.register(at_exit)"}
""",
    )
    assert is_clean(ran)
    assert sorted(messages(sink)) == ["late"]


@pytest.mark.parametrize("flush", FLUSHES)
def test_events_before_and_at_the_end(go: Run, sink: Sink, flush: str) -> None:
    """Those that a thread was sending already, and those that come after it."""
    ran = go(
        f"""
def at_exit():
    for number in range(3):
        noting(sentry_sdk.capture_message, f"late {{number}}")
    noting(lambda: {flush})

start()
last.append(at_exit)
for number in range(3):
    sentry_sdk.capture_message(f"early {{number}}")
""",
    )
    assert is_clean(ran)
    expected = [f"{when} {n}" for when in ("early", "late") for n in range(3)]
    assert expected == sorted(messages(sink))


def test_a_first_event_with_the_sdk_s_own_end(go: Run, sink: Sink) -> None:
    """The SDK's handler closes the client; the event comes before it."""
    ran = go(
        """
from sentry_sdk.integrations.atexit import AtexitIntegration

start(integrations=[AtexitIntegration()])
atexit.register(lambda: noting(sentry_sdk.capture_message, "late"))
""",
    )
    assert is_clean(ran)
    assert sorted(messages(sink)) == ["late"]


def test_an_event_after_the_sdk_s_own_end_raises_nothing(go: Run) -> None:
    """The SDK has closed its client by then, as without us: nothing waits, or raises."""
    ran = go(
        """
from sentry_sdk.integrations.atexit import AtexitIntegration

start(integrations=[AtexitIntegration()])
last.append(lambda: noting(sentry_sdk.capture_message, "too late"))
last.append(lambda: noting(sentry_sdk.flush, 30))
last.append(lambda: noting(resentry.close))
""",
    )
    assert is_clean(ran)


@pytest.mark.parametrize("before", ["", "early"])
def test_an_event_in_a_finalizer(go: Run, sink: Sink, before: str) -> None:
    """An object that lives as long as the interpreter may report how it ended."""
    ran = go(
        f"""
import weakref

def at_exit():
    noting(sentry_sdk.capture_message, "late")
    noting(sentry_sdk.flush, 30)

start()
if {before!r}:
    sentry_sdk.capture_message({before!r})
weakref.finalize(last.append, at_exit)
""",
    )
    assert is_clean(ran)
    assert sorted(messages(sink)) == sorted(filter(None, [before, "late"]))


@pytest.mark.parametrize("name", ["flush", "close"])
def test_a_destructor_of_the_very_end(go: Run, name: str) -> None:
    """While Python takes its modules down, `flush` and `close` neither raise nor wait.

    The SDK itself can't capture any more there: it can't write a time.
    """
    ran = go(
        f"""
class Resource:
    def __init__(self):
        self._client, self._clock = sentry_sdk.get_client(), time.monotonic
        write = os.write  # nobody flushes what is written so late
        self._write = lambda text: write(2, text.encode())

    def __del__(self):
        began = self._clock()
        try:
            self._client.{name}(30)
        except BaseException as error:
            self._write(f"Traceback: {{error!r}}")
        self._write(f"took {{self._clock() - began:.1f}}")

start()
lost = sentry_sdk.get_client().transport.record_lost_event
lost("before_send", data_category="error")
resource = Resource()
""",
    )
    assert is_clean(ran)
    # A thread that Python has stopped may keep the object: then it has no destructor.
    assert float(ran.log.rpartition("took ")[2] or 0) < LONG / 2


@pytest.mark.parametrize(
    "with_end", ["", "AtexitIntegration()"], ids=["bare", "atexit"]
)
def test_a_first_client_report_at_the_end(go: Run, sink: Sink, with_end: str) -> None:
    """A process of which nothing was sent says at its end what was not."""
    ran = go(
        f"""
from sentry_sdk.integrations.atexit import AtexitIntegration

start(before_send=lambda event, hint: None, integrations=[{with_end}])
sentry_sdk.capture_message("dropped")
atexit.register(lambda: noting(sentry_sdk.flush, 30))
""",
    )
    assert is_clean(ran)
    assert sink.client_reports() == {("before_send", "error"): 1}


def test_unsampled_transactions_alone(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """A process without an event ends without a word, and reports what it left out."""
    ran = run(
        """
from sentry_sdk.integrations.atexit import AtexitIntegration

if "RESENTRY_DIR" in os.environ:
    settings = {"SENTRY_DSN": os.environ["SENTRY_DSN"]}
    publish(settings | {"SENTRY_TRACES_SAMPLE_RATE": 0.0})
resentry.init(**{**QUICK, "integrations": [AtexitIntegration()], "shutdown_timeout": 30})
for _ in range(3):
    with sentry_sdk.start_transaction(name="left out"):
        pass
""",
        first=LAST,
        SENTRY_TRACES_SAMPLE_RATE="0.0",
        **environ,
    )
    assert is_clean(ran)
    assert sink.client_reports().get(("sample_rate", "transaction"), 0) == 3


def test_a_swap_just_before_the_end(run: Run, sink: Sink, volume: str) -> None:
    """What the old client holds and what comes after it both arrive."""
    sink.answer(1, "ok", seconds=0.1)
    ran = run(
        """
publish({"SENTRY_DSN": os.environ["A"]})
resentry.init(**{**QUICK, "shutdown_timeout": 30})
for number in range(3):
    sentry_sdk.capture_message(f"early {number}")
second = publish({"SENTRY_DSN": os.environ["B"]})
wait_for(lambda now: now["sequence"] == second.sequence)
last.append(lambda: noting(sentry_sdk.capture_message, "late"))
last.append(lambda: noting(sentry_sdk.flush, 30))
""",
        first=LAST,
        RESENTRY_DIR=volume,
        A=sink.dsn(1),
        B=sink.dsn(2),
    )
    assert is_clean(ran)
    assert sorted(messages(sink)) == ["early 0", "early 1", "early 2", "late"]
    assert [event.message for event in sink.events(2)] == ["late"]


def test_nothing_is_waited_for_where_nothing_was_captured(go: Run, sink: Sink) -> None:
    """An end without any event is quick, and silent."""
    ran = go(
        """
from sentry_sdk.integrations.atexit import AtexitIntegration

start(integrations=[AtexitIntegration()])
"""
    )
    assert is_clean(ran)
    assert sink.events() == []


@pytest.mark.parametrize("name", ["flush", "close"])
def test_a_handler_of_the_end_gets_no_exception(go: Run, sink: Sink, name: str) -> None:
    """`flush` and `close` of the client raise nothing where no thread starts."""
    ran = go(
        f"""
start(before_send=lambda event, hint: None)
sentry_sdk.capture_message("dropped")
last.append(lambda: noting(sentry_sdk.get_client().{name}, 30))
"""
    )
    assert is_clean(ran)
    assert sink.events() == []


@pytest.mark.parametrize("init", ["resentry.init", "sentry_sdk.init"])
def test_a_handler_of_sigterm_may_exit_in_the_middle_of_init(
    run: Run, volume: str, init: str
) -> None:
    """The library takes it for no fault of an option: the process ends at once."""
    ran = run(
        f"""
        import signal, sys
        from sentry_sdk.integrations import Integration

        class Slow(Integration):
            identifier = "slow"
            @staticmethod
            def setup_once():
                os.kill(os.getpid(), signal.SIGTERM)

        publish({{"SENTRY_DSN": "https://key@sentry.invalid/1"}})
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        try:
            {init}(integrations=[Slow()], default_integrations=False)
        except SystemExit as error:
            say(code=error.code)
        else:
            say(code=None)
        """,
        RESENTRY_DIR=volume,
    )
    assert ran.said == {"code": 7}
