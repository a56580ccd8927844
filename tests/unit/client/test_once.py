"""What the SDK's constructor does to a process happens once, however many swaps there are.

Each script runs with sentry-sdk alone and with swaps, and must tell the same.
"""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process


Run = Callable[..., Any]

COUNT = """
import atexit, collections, os, subprocess, sys, types, warnings

counts = collections.Counter()

def count(owner, name):
    real = getattr(owner, name)
    def counted(*args, **kwargs):
        counts[name] += 1
        return real(*args, **kwargs)
    setattr(owner, name, counted)

uwsgi = sys.modules["uwsgi"] = types.ModuleType("uwsgi")
uwsgi.opt = {"lazy-apps": True}  # the SDK warns of missing threads
warnings.simplefilter("always")
warnings.showwarning = lambda *args, **more: counts.update(["warning"])
"""
"""Run first: how often the process was changed."""

STEPS = """
import inspect, itertools, json, logging, random, threading, time
from types import SimpleNamespace
from sentry_sdk.integrations import Integration
from sentry_sdk.profiler import continuous_profiler, transaction_profiler
import resentry.target

sys.path.insert(0, os.getcwd())
A, B = os.environ["A"], os.environ["B"]
HERE = {"SENTRY_ENVIRONMENT": "staging"}
PLAIN = os.environ["HOW"] == "plain"

def start(**options):
    for owner, name in (
        (os, "register_at_fork"), (atexit, "register"), (subprocess, "Popen")
    ):
        count(owner, name)
    counts.clear()
    if PLAIN:
        sentry_sdk.init(dsn=A, environment="staging", **QUICK, **options)
    else:
        publish({"SENTRY_DSN": A, **HERE})
        resentry.init(**QUICK, **options)
        counts["register"] -= 1  # our own end

rates = itertools.cycle(range(1, 100))

def swap(**settings):
    if PLAIN:
        return
    rate = 1 - next(rates) / 1e6
    done = publish({"SENTRY_DSN": A, **HERE, "SENTRY_SAMPLE_RATE": rate, **settings})
    wait_for(lambda now: now["sequence"] == done.sequence and not now["error"])

def swap_often(number):
    for at in range(number):
        swap(
            SENTRY_DSN=(A, B, "")[at % 3],
            SENTRY_SEND_PII=at % 4 == 0,
            SENTRY_PROFILES_SAMPLE_RATE=float(at % 5 == 0),
            SENTRY_TRACES_SAMPLE_RATE=float(at % 2),
        )
    swap()
"""

TRACED = """
import inspect

def depth():
    return len(inspect.stack(0))

class Work:
    def method(self):
        return len(inspect.stack(0))

    @staticmethod
    def static():
        return len(inspect.stack(0))

    @classmethod
    def of_class(cls):
        return len(inspect.stack(0))
"""


@pytest.fixture
def go(go: Run, tmp_path: Path) -> Run:
    """Run a script one way; return what it said."""
    (tmp_path / "traced.py").write_text(TRACED)
    return lambda script, how: go(script, first=COUNT, HOW=how, VERSION="").said


def test_fifty_swaps_do_no_more_to_the_process_than_one_init(go: Run) -> None:
    """Fork hooks, exit hooks, processes for git, handlers, warnings, dice: as plain."""
    script = """
        dice = []
        real = random.random
        continuous_profiler.random = SimpleNamespace(
            random=lambda: dice.append(1) or real()
        )
        start(
            enable_tracing=True,  # deprecated
            enable_logs=True,
            spotlight="http://127.0.0.1:9/stream",
            functions_to_trace=[{"qualified_name": "traced.depth"}],
            profile_session_sample_rate=0.5,
            profile_lifecycle="manual",
            profiles_sampler=None,
        )
        client = sentry_sdk.get_client()
        swap_often(50)
        now = sentry_sdk.get_client()
        assert now.options["functions_to_trace"] == [{"qualified_name": "traced.depth"}]
        say(
            counts=dict(counts),
            dice=len(dice),
            handlers=len(logging.getLogger("spotlight").handlers),
            same=now.spotlight is client.spotlight is not None,
            swapped=PLAIN or now is not client,
            release=now.options["release"],
            integrations=sorted(now.integrations),
        )
    """
    plain = go(script, "plain")
    # The transaction profiler, which a swap has turned on, is ended at exit, once.
    plain["counts"]["register"] += 1
    assert go(script, "swaps") == plain
    assert plain["dice"] == 1


def test_a_traced_function_is_wrapped_once(go: Run) -> None:
    """In whatever process, and however often it is named."""
    script = """
        NAMES = [
            "traced.depth", "traced.Work.method", "traced.Work.static",
            "traced.Work.of_class",
        ]
        def named(*names):
            return [{"qualified_name": name} for name in names]

        start(functions_to_trace=named(*NAMES[:2]))
        import traced
        def depths():
            work = traced.Work()
            return [traced.depth(), work.method(), work.static(), work.of_class()]

        before = depths()
        swap_often(10)
        after = depths()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            sentry_sdk.capture_message("child")
            sentry_sdk.flush(5)
            os.write(writing, json.dumps(depths()).encode())
            os._exit(0)
        os.waitpid(child, 0)
        in_child = json.loads(os.read(reading, 1000))
        if not PLAIN:  # plain wraps the first two twice
            resentry.init(functions_to_trace=named(*NAMES), **QUICK)
            swap_often(10)
        else:
            sentry_sdk.get_client()._setup_instrumentation(named(*NAMES[2:]))
        say(before=before, after=after, in_child=in_child, at_last=depths())
    """
    plain = go(script, "plain")
    assert plain["before"] == plain["in_child"]
    assert go(script, "swaps") == plain


def test_spotlight_without_a_dsn_shows_everything_until_there_is_one(go: Run) -> None:
    """The SDK turns samplers and PII on there: not beyond, whichever comes first."""
    script = """
        def seen():
            client = sentry_sdk.get_client()
            options = client.options
            return [
                client.should_send_default_pii(),
                [options[name] is None for name in
                 ("error_sampler", "traces_sampler", "profiles_sampler")],
                (options.get("data_collection") or {}).get("user_info"),
                options["event_scrubber"] is not None,
            ]

        def anew(dsn):
            if PLAIN:
                sentry_sdk.init(dsn=dsn, environment="staging", **options)
            else:
                swap(SENTRY_DSN=dsn)

        options = {"spotlight": "http://127.0.0.1:9/stream"}
        start(**options)
        told = [seen()]
        options |= QUICK
        for dsn in ("", B, "", A):
            anew(dsn)
            told.append(seen())
        say(told=told)
    """
    plain = go(script, "plain")
    assert plain["told"][0] != plain["told"][1]
    assert go(script, "swaps") == plain


INTEGRATIONS = """
class Noted(Integration):
    def __init__(self, name):
        self.name = name
    @classmethod
    def setup_once(cls):
        counts[cls.identifier] += 1

class First(Noted):
    identifier = "first"

class Second(Noted):
    identifier = "second"

def names():
    found = sentry_sdk.get_client().integrations
    return {key: found[key].name for key in sorted(found)}

def again(*integrations):
    if PLAIN:
        sentry_sdk.init(
            dsn=A, environment="staging", integrations=list(integrations), **QUICK
        )
    else:
        resentry.init(integrations=list(integrations), **QUICK)
"""


def test_a_second_init_installs_its_integrations(go: Run) -> None:
    """New ones are set up, and a new instance of an installed one counts; swaps keep it."""
    script = INTEGRATIONS + textwrap.dedent("""
        start(integrations=[First("one")])
        told = [names()]
        swap_often(3)
        told.append(names())
        again(First("two"), Second("two"))
        told.append(names())
        swap_often(3)
        told.append(names())
        again()
        told.append(names())
        say(told=told, first=counts["first"], second=counts["second"])
    """)
    plain = go(script, "plain")
    assert plain["told"][2] == {"first": "two", "second": "two"}
    assert go(script, "swaps") == plain


def test_the_hooks_of_a_foreign_client_are_its_own(go: Run) -> None:
    """A client that the application makes registers for forks as ever."""
    script = """
        start()
        swap_often(3)
        counts.clear()
        other = sentry_sdk.Client(dsn=B, **QUICK)
        say(hooks=counts["register_at_fork"])
    """
    assert go(script, "swaps") == go(script, "plain")


def test_what_the_application_changed_in_its_client_s_options_stays(go: Run) -> None:
    """A swap changes what the snapshot has changed, and nothing else."""
    script = """
        start(max_breadcrumbs=7)
        options = sentry_sdk.get_client().options
        options["max_value_length"] = 321
        kept = dict(options)
        os.mkdir("elsewhere")
        os.chdir("elsewhere")
        swap()
        now = sentry_sdk.get_client().options
        differ = sorted(name for name in now if now[name] != kept[name])
        say(differ=[] if PLAIN else differ)
    """
    assert go(script, "swaps")["differ"] == ["sample_rate"]
