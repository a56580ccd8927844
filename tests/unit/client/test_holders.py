"""Clients that the application made itself are found, as long as they can send."""

from collections.abc import Callable
from typing import Any

import pytest

from lab.sink import Sink
from resentry.contract import fingerprint

pytestmark = pytest.mark.process


Run = Callable[..., Any]

FIRST = """
import sentry_sdk
from resentry import holders
from resentry.contract import fingerprint

def found(current=""):
    ours = {fingerprint(os.environ["A"]), fingerprint(os.environ["B"])}
    return holders.find(ours, current or fingerprint(os.environ["B"]), lambda c: c is own)

def client(dsn="A", make=None):
    return (make or sentry_sdk.Client)(dsn=os.environ[dsn], **QUICK)

holders.note_clients()
own = client()
"""


@pytest.fixture
def look(run: Run, sink: Sink) -> Run:
    """Run a script that has two DSNs of ours, and a client of ours for the older one."""
    environ = {"A": sink.dsn(1), "B": sink.dsn(2), "C": sink.dsn(3)}

    def look(script: str) -> dict[str, Any]:
        said: dict[str, Any] = run(f"{FIRST}\n{script}", **environ).said
        return said

    return look


@pytest.fixture
def holder(sink: Sink) -> list[str]:
    """What is found: a client that sends by the older DSN."""
    return ["client", fingerprint(sink.dsn(1))]


def test_a_client_is_a_holder_until_it_is_closed(look: Run, holder: list[str]) -> None:
    """Ours is not; nor is one of the DSN in force, of a strange DSN, or of none."""
    said = look("""
others = [client("B"), client("C"), sentry_sdk.Client(dsn="", **QUICK)]
before = found()
foreign = client()
during = found()
foreign.close()
say(before=before, during=during, after=found())
""")
    assert said == {"before": [], "during": [holder], "after": []}


def test_a_client_is_a_holder_until_it_is_collected(
    look: Run, holder: list[str]
) -> None:
    """It is known by weak reference: knowing it does not keep it alive."""
    said = look("""
import gc
foreign = client()
during = found()
del foreign
other = client("C")  # the SDK's continuous profiler keeps the newest one
gc.collect()
say(during=during, after=found())
""")
    assert said == {"during": [holder], "after": []}


def test_however_a_client_is_made_it_is_known(look: Run, holder: list[str]) -> None:
    """By `init`, as a copy, unpickled, or by a subclass with a constructor of its own."""
    said = look("""
import copy, pickle

class Mixin:
    def __new__(cls, *args, **kwargs):
        made = super().__new__(cls)
        made.mixed = args
        return made

class Own(sentry_sdk.Client, Mixin):
    def __init__(self, which):
        super().__init__(dsn=os.environ[which], **QUICK)

def by_init():
    sentry_sdk.init(dsn=os.environ["A"], **QUICK)
    return sentry_sdk.get_client()

ways = {
    "init": by_init,
    "copy": lambda: copy.copy(own),
    "pickle": lambda: pickle.loads(pickle.dumps(own)),
    "subclass": lambda: Own("A"),
}
result, mixed = {}, None
for name, make in ways.items():
    made = make()
    mixed = getattr(made, "mixed", None)
    result[name] = found()
    made.close()
say(**result, mixed=mixed, after=found())
""")
    assert (said.pop("mixed"), said.pop("after")) == (["A"], [])
    assert said == {name: [holder] for name in ("init", "copy", "pickle", "subclass")}


def test_a_reload_forgets_no_client(look: Run, holder: list[str]) -> None:
    """Nor does it note one twice, or wrap what is wrapped."""
    said = look("""
import importlib
foreign = client()
make = sentry_sdk.Client.__new__
importlib.reload(holders)
holders.note_clients()
same = sentry_sdk.Client.__new__ is make
during = found()
foreign.close()
say(same=same, during=during, after=found())
""")
    assert said == {"same": True, "during": [holder], "after": []}


def test_a_client_that_cannot_be_looked_at_counts(look: Run) -> None:
    """Whether it sends is not known, and that is never taken for a no."""
    said = look("""
class Odd(sentry_sdk.Client):
    @property
    def transport(self):
        if is_built:
            raise OSError("not today")
    @transport.setter
    def transport(self, value):
        pass

is_built = False
odd = client(make=Odd)
is_built = True
say(found=found())
""")
    assert said["found"] == [["client", ""]]


def test_more_clients_than_are_looked_at_count(look: Run) -> None:
    """The bound on a look never turns "unknown" into "none"."""
    said = look("""
holders.CLIENTS = 3
few = found()
many = [client("C") for _ in range(5)]
say(few=few, many=found())
""")
    assert said == {"few": [], "many": [["client", ""]]}


def test_nothing_is_imported_and_little_is_paid(look: Run) -> None:
    """A look imports no OpenTelemetry; with ten clients it takes no millisecond."""
    said = look("""
import sys, time
clients = [client("C") for _ in range(10)]
found()
def took():
    began = time.perf_counter()
    found()
    return time.perf_counter() - began
say(best=min(took() for _ in range(50)), otel=any("opentelemetry" in m for m in sys.modules))
""")
    assert not said["otel"]
    assert said["best"] < 0.001
