"""A client of ours can be copied and pickled as any other one; its copy is a holder."""

from collections.abc import Callable
from typing import Any

import pytest

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

STEPS = """
import copy, gc, pickle
A, B = os.environ["A"], os.environ["B"]
COPY = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda client: pickle.loads(pickle.dumps(client)),
}[os.environ["HOW"]]

def start(swapped=False):
    options = {"before_send": print_nothing, "traces_sampler": always, **QUICK}
    publish({"SENTRY_DSN": A}, rules=(Rule("GET /x", 0.5),))
    resentry.init(**options)
    if swapped:
        publish({"SENTRY_DSN": A, "SENTRY_SAMPLE_RATE": 0.99999})
        wait_for(lambda now: now["sequence"] == 2 and now["phase"] == "drained")
    return sentry_sdk.get_client()

def print_nothing(event, hint):
    return event

def always(context):
    return 1.0

def holders():
    return [holder["kind"] for one in receipts() for holder in one["holders"]]
"""


@pytest.fixture
def go(go: Run) -> Run:
    """Run a script that copies a client one way."""
    return lambda script, how, **more: go(script, HOW=how, **more)


@pytest.mark.parametrize("swapped", ["", "yes"])
@pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle"])
def test_a_copy_of_a_client_is_a_client(
    go: Run, sink: Sink, how: str, swapped: str
) -> None:
    """It captures by the DSN of its time, keeps its hooks, and is named until it is gone."""
    ran = go(
        """
        client = start(bool(os.environ["SWAPPED"]))
        made = COPY(client)
        assert type(made) is type(client)
        publish({"SENTRY_DSN": B})
        wait_for(lambda now: now["revision"] and sentry_sdk.get_client().dsn == B)
        eventually(lambda: holders() == ["client"], what=f"{holders()}")
        made.capture_event({"message": "of the copy", "extra": {"password": "hunter2"}})
        made.flush(5)
        sentry_sdk.capture_message("of the client")
        sentry_sdk.flush(5)
        phase = resentry.status()["phase"]
        made.close()
        eventually(lambda: holders() == [], what=f"{holders()}")
        wait_for(lambda now: now["phase"] == "drained")
        say(phase=phase)
        """,
        how,
        SWAPPED=swapped,
    )
    assert ran.said == {"phase": "running"}
    assert [event.message for event in sink.events(1)] == ["of the copy"]
    assert [event.message for event in sink.events(2)] == ["of the client"]
