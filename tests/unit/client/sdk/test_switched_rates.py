"""Profile sessions and logs: where their keys are set, a swap is enough to change them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from payloads import KeepingSink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

STEPS = """
import itertools, logging
from types import SimpleNamespace
from mishaps import busy
from sentry_sdk.profiler import continuous_profiler
from sentry_sdk.profiler.continuous_profiler import (
    get_profiler_id, start_profiler, stop_profiler,
)

A, B = os.environ["A"], os.environ["B"]
HERE = {"SENTRY_ENVIRONMENT": "staging", "SENTRY_TRACES_SAMPLE_RATE": 1.0}
SESSIONS, LOGS = "SENTRY_PROFILE_SESSION_SAMPLE_RATE", "SENTRY_ENABLE_LOGS"
turns = itertools.count(1)

def settings(**more):
    rate = 1 - next(turns) / 1e6
    return {"SENTRY_DSN": A, **HERE, "SENTRY_SAMPLE_RATE": rate, **more}

def start(*, published=None, **options):
    publish(settings(**(published or {})))
    resentry.init(**QUICK, **options)

def swap(**more):
    take_up(settings(**more))

def profiles():
    return get_profiler_id() is not None

def in_trace():
    "Whether a profile runs while a trace does."
    with sentry_sdk.start_transaction(name="work"):
        busy()
        return profiles()
"""


@pytest.fixture
def sink() -> Iterator[KeepingSink]:
    with KeepingSink() as running:
        yield running


def test_the_rate_of_sessions_takes_effect_by_a_swap(
    go: Run, sink: KeepingSink
) -> None:
    """On, off and on again; what the application asked for meanwhile is done then."""
    ran = go(
        """
        start()
        start_profiler()
        found = [profiles()]
        for rate in (1.0, 0.0, 1.0):
            swap(**{SESSIONS: rate})
            if rate:
                eventually(profiles)
                busy()
            found.append(profiles())
        swap(**{SESSIONS: 0.0})
        stop_profiler()
        swap(**{SESSIONS: 1.0})
        found.append(profiles())
        start_profiler()
        found.append(eventually(profiles))
        swap()  # the key is gone: the application's own option, which is unset
        found.append(profiles())
        sentry_sdk.flush(5)
        say(found=found)
        """
    )
    assert ran.said["found"] == [False, True, False, True, False, True, False]
    assert sink.payloads("profile_chunk", 1)


def test_the_key_stands_above_the_application_s_own_option(go: Run) -> None:
    """In both directions, and only while the key is set; here with profiles of traces."""
    ran = go(
        """
        start(profile_session_sample_rate=1.0, profile_lifecycle="trace")
        found = [in_trace()]
        for more in ({SESSIONS: 0.0}, {SESSIONS: 1.0}, {SESSIONS: 0.0}, {}):
            swap(**more)
            found.append(in_trace())
        say(found=found)
        """
    )
    assert ran.said["found"] == [True, False, True, False, True]


def test_a_process_draws_once_for_all_rates(go: Run) -> None:
    """A higher rate ends no session, and a lower rate begins none."""
    ran = go(
        """
        start(published={SESSIONS: 0.5})
        rates = [step / 20 for step in range(21)]
        begun = resentry.status()["values"][SESSIONS]
        def sampled():
            return bool(continuous_profiler.is_profile_session_sampled())
        first, found = sampled(), []
        for rate in (*rates, *reversed(rates), 0.5):
            swap(**{SESSIONS: rate})
            found.append(sampled())
        say(first=first, begun=begun, found=found)
        """
    )
    found = ran.said["found"]
    up, down, again = found[:21], found[21:42], found[42]
    assert up == sorted(up)
    assert up == down[::-1]
    assert (up[0], up[20]) == (False, True)
    assert up[10] is again is ran.said["first"]
    assert ran.said["begun"] == 0.5


def test_a_rate_of_transactions_still_puts_sessions_aside(go: Run) -> None:
    """The SDK runs one of the two profilers, whichever key came first."""
    ran = go(
        """
        start(published={SESSIONS: 1.0})
        start_profiler()
        found = [eventually(profiles)]
        swap(**{SESSIONS: 1.0, "SENTRY_PROFILES_SAMPLE_RATE": 1.0})
        found.append(profiles())
        swap(**{SESSIONS: 0.0, "SENTRY_PROFILES_SAMPLE_RATE": 1.0})
        found.append(profiles())
        swap(**{SESSIONS: 0.0})
        found.append(profiles())
        swap(**{SESSIONS: 1.0})
        found.append(eventually(profiles))
        swap(**{SESSIONS: 1.0, "SENTRY_PROFILES_SAMPLE_RATE": 1.0})
        found.append(profiles())
        say(found=found)
        """
    )
    assert ran.said["found"] == [True, False, False, False, True, False]


LOG_STEPS = """
from sentry_sdk.integrations.logging import LoggingIntegration
log = logging.getLogger("app")
log.setLevel(logging.INFO)

def write(text):
    "By logging, and by the SDK's own logger."
    log.info("%s", text)
    sentry_sdk.logger.info(f"own {text}")
    sentry_sdk.flush(5)
"""


def bodies(sink: KeepingSink) -> list[str]:
    found = [
        item["body"]
        for project in (1, 2)
        for payload in sink.payloads("log", project)
        for item in payload["items"]
    ]
    return sorted(found)


def test_logs_are_switched_by_a_swap(go: Run, sink: KeepingSink) -> None:
    """On: both kinds. Off: neither, in every version. Each goes to the DSN of its time."""
    ran = go(
        LOG_STEPS
        + """
start(integrations=[LoggingIntegration()])
for number, on in enumerate((True, False, True, False)):
    swap(SENTRY_DSN=(A, B)[number % 2], **{LOGS: on})
    write(f"{number} {on}")
say()
"""
    )
    assert ran.said == {}
    assert bodies(sink) == ["0 True", "2 True", "own 0 True", "own 2 True"]


def test_without_the_key_the_application_s_option_decides(
    go: Run, sink: KeepingSink
) -> None:
    """As before the key was there, and as after it has gone."""
    go(
        LOG_STEPS
        + """
start(integrations=[LoggingIntegration()], enable_logs=True)
write("a")
swap(**{LOGS: False})
write("b")
swap()
write("c")
say()
"""
    )
    assert bodies(sink) == ["a", "c", "own a", "own c"]


def test_what_is_switched_off_is_counted_and_never_seen_by_a_hook(
    go: Run, sink: KeepingSink
) -> None:
    """An application's hook cannot let a log pass, nor can its experiments."""
    ran = go(
        LOG_STEPS
        + """
seen = []
def hook(item, hint):
    seen.append(item["body"])
    return item
start(
    published={LOGS: False, "SENTRY_SEND_PII": True},
    integrations=[LoggingIntegration()], before_send_log=hook,
    _experiments={"enable_logs": True},
)
write("a")
swap(**{LOGS: True, "SENTRY_SEND_PII": True})
write("b")
say(seen=sorted(seen))
"""
    )
    assert bodies(sink) == ["b", "own b"]
    assert ran.said["seen"] == ["b", "own b"]


def test_the_keys_are_read_from_the_environment_too(go: Run) -> None:
    """Without an agent the library reads them as it reads every key."""
    ran = go(
        """
        resentry.init(**QUICK)
        options = sentry_sdk.get_client().options
        names = ("profile_session_sample_rate", "enable_logs")
        say(found=[options[name] for name in names])
        """,
        SENTRY_PROFILE_SESSION_SAMPLE_RATE="0.25",
        SENTRY_ENABLE_LOGS="yes",
        SENTRY_ENVIRONMENT="staging",
    )
    assert ran.said["found"] == [0.25, True]


def test_a_version_that_lacks_an_option_says_so_and_works(
    go: Run, sink: KeepingSink
) -> None:
    """A note names the option and its key; events are sent as ever, at a swap too."""
    ran = go(
        """
        from sentry_sdk.consts import DEFAULT_OPTIONS
        for name in ("profile_session_sample_rate", "enable_logs", "before_send_log"):
            del DEFAULT_OPTIONS[name]
        notes = []
        class Notes(logging.Handler):
            def emit(self, record):
                notes.append(record.getMessage())
        logging.getLogger("resentry").addHandler(Notes())
        start(published={SESSIONS: 1.0, LOGS: False})
        sentry_sdk.capture_message("one")
        swap(SENTRY_DSN=B, **{SESSIONS: 0.5})
        sentry_sdk.capture_message("two")
        sentry_sdk.flush(5)
        lacking = [each for each in notes if "no option" in each]
        say(lacking=sorted(set(lacking)))
        """
    )
    begin, end = "resentry: this sentry-sdk has no option", "has no effect"
    sessions = "SENTRY_PROFILE_SESSION_SAMPLE_RATE"
    assert ran.said["lacking"] == [
        f"{begin} 'before_send_log': SENTRY_ENABLE_LOGS {end}",
        f"{begin} 'enable_logs': SENTRY_ENABLE_LOGS {end}",
        f"{begin} 'profile_session_sample_rate': {sessions} {end}",
    ]
    assert (sink.count("event", 1), sink.count("event", 2)) == (1, 1)
