"""The old DSN is broken when the new one comes: what still can be delivered, is.

Each case runs one process that captures 20 events under the old DSN, swaps, and captures
5 more. "Same" and "other" are about the environment of the new snapshot: what is left of
the old one may go to the new project only if the environment is the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any, Self

import pytest

from lab.paths import SUPPORT
from lab.process import free_port
from lab.sink import Sink, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.process


BEFORE, AFTER = 20, 5
DEADLINE, TIMEOUT = 1.0, 3.0

# The deadlines are lowered from 5 s, and the SDK's time-out from 30 s, to save time.
PREAMBLE = f"""
import os, threading, time
import resentry, sentry_sdk
from resentry import outlet, swap
from resentry.sdk.wire import Wire
from scenario import *

swap.DRAIN_SECONDS = swap.STALL_SECONDS = {DEADLINE}
Wire.TIMEOUT = {TIMEOUT}
QUICK["_experiments"] = {{"transport_compression_level": 0}}
QUICK["transport_queue_size"] = 2000
took = []

def capture(count, text=""):
    for number in range(count):
        began = time.monotonic()
        sentry_sdk.capture_message(f"{{text}}{{number}}")
        took.append(time.monotonic() - began)

def start():
    publish({{"SENTRY_DSN": os.environ["OLD"], "SENTRY_ENVIRONMENT": "same"}})
    resentry.init(**QUICK)
    return sentry_sdk.get_client()

def swap_it():
    "Swap; return how long it took until the old client was done with."
    began = time.monotonic()
    environment = os.environ["ENVIRONMENT"]
    take_up({{"SENTRY_DSN": os.environ["NEW"], "SENTRY_ENVIRONMENT": environment}})
    return time.monotonic() - began

def tell(**values):
    sentry_sdk.flush(5)
    tally = resentry.status()["tally"]
    say(tally=tally, longest=max(took), **values)
"""

PLAIN = f"""
start()
capture({BEFORE})
if os.environ["FLUSH"]:
    sentry_sdk.flush(5)
seconds = swap_it()
capture({AFTER}, "after")
tell(seconds=seconds)
"""


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def run(sink: Sink, tmp_path: Path) -> Run:
    """Run a script with an old and a new DSN; return what it says."""

    def run(script: str, environment: str = "same", **environ: str) -> dict[str, Any]:
        ran = subprocess.run(
            [sys.executable, "-c", PREAMBLE + textwrap.dedent(script)],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(SUPPORT),
                "RESENTRY_DIR": str(tmp_path / "volume"),
                "VERSION": "1",
                "OLD": sink.dsn(1),
                "NEW": sink.dsn(2),
                "ENVIRONMENT": environment,
                "FLUSH": "",
                **environ,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        said: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        assert said["longest"] < DEADLINE / 2, "a capture has waited"
        assert said["tally"]["faults"] == 0, ran.stderr
        return said

    return run


def tally(**special: int) -> dict[str, int]:
    nothing = dict.fromkeys(("parked", "rerouted", "dropped", "unknown", "faults"), 0)
    return nothing | special


def arrived(sink: Sink) -> list[int]:
    """How many events each of the two projects has; none twice."""
    assert sink.duplicates() == 0
    return [sink.count("event", 1), sink.count("event", 2)]


class Deaf:
    """A receiver that reads so much of a request, and then nothing."""

    def __init__(self, reads: int) -> None:
        self._reads = reads
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.dsn = f"http://{key_of(1)}@127.0.0.1:{self._socket.getsockname()[1]}/1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in (self._socket, *self._open):
            each.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                connection.recv(self._reads)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_a_revoked_dsn_refused_is_sent_after_the_swap(
    run: Run, sink: Sink, status: int
) -> None:
    """Refused events wait, and go to the new project of the same environment."""
    sink.answer(1, status)

    said = run(PLAIN, FLUSH="yes")

    assert said["tally"] == tally(parked=BEFORE, rerouted=BEFORE)
    assert arrived(sink) == [0, BEFORE + AFTER]
    assert said["seconds"] < DEADLINE


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_a_revoked_dsn_refused_never_goes_to_another_environment(
    run: Run, sink: Sink, status: int
) -> None:
    """It is dropped, and counted."""
    sink.answer(1, status)

    said = run(PLAIN, environment="other", FLUSH="yes")

    assert said["tally"] == tally(parked=BEFORE, dropped=BEFORE)
    assert arrived(sink) == [0, AFTER]


def test_what_is_refused_during_the_swap_is_sent_as_well(run: Run, sink: Sink) -> None:
    """Whenever the answer comes, before the swap or while the old client drains."""
    sink.answer(1, 403, seconds=0.02)

    said = run(PLAIN)

    assert said["tally"]["rerouted"] == BEFORE
    assert said["tally"]["dropped"] == 0
    assert arrived(sink) == [0, BEFORE + AFTER]


def test_a_thousand_envelopes_are_parked_and_the_oldest_make_room(
    run: Run, sink: Sink
) -> None:
    """More than that is dropped and counted; the newest are sent after the swap."""
    sink.answer(1, 403)

    said = run(
        """
        start()
        capture(1010)
        sentry_sdk.flush(30)
        swap_it()
        sentry_sdk.flush(30)
        tell()
        """
    )

    assert said["tally"] == tally(parked=1010, rerouted=1000, dropped=10)
    expected = {str(number) for number in range(10, 1010)}
    assert expected == {event.message for event in sink.events(2)}
    assert arrived(sink) == [0, 1000]


def test_the_swap_from_a_hung_dsn_ends_at_its_deadline(run: Run, sink: Sink) -> None:
    """All that was not started goes to the new project; the one in flight is unknown."""
    sink.answer(1, "hang")

    said = run(
        PLAIN + "eventually(lambda: resentry.status()['tally']['unknown'])\ntell()\n"
    )

    assert said["tally"] == tally(rerouted=BEFORE - 1, unknown=1)
    assert arrived(sink) == [0, BEFORE - 1 + AFTER]


@pytest.mark.parametrize("environment", ["same", "other"])
def test_a_hung_dsn_holds_the_swap_no_longer_than_the_deadline(
    run: Run, sink: Sink, environment: str
) -> None:
    """The swap ends while the request in flight still hangs."""
    sink.answer(1, "hang")

    said = run(PLAIN, environment)

    assert DEADLINE <= said["seconds"] < TIMEOUT
    assert said["tally"]["unknown"] == 0


def test_what_a_hung_dsn_held_never_goes_to_another_environment(
    run: Run, sink: Sink
) -> None:
    """It is dropped at the deadline, and counted."""
    sink.answer(1, "hang")

    said = run(
        PLAIN + "eventually(lambda: resentry.status()['tally']['unknown'])\ntell()\n",
        environment="other",
    )

    assert said["tally"] == tally(dropped=BEFORE - 1, unknown=1)
    assert arrived(sink) == [0, AFTER]


def test_a_hung_connection_leaves_nothing_behind(run: Run, sink: Sink) -> None:
    """Once it times out, the old client's thread and socket are gone."""
    sink.answer(1, "hang")

    said = run(
        """
        def used():
            threads = [each.name for each in threading.enumerate()]
            return threads.count("resentry.outlet"), len(os.listdir("/proc/self/fd"))

        start()
        capture(3)
        swap_it()
        capture(1, "after")
        sentry_sdk.flush(5)
        hung = used()
        without = (hung[0] - 1, hung[1] - 1)
        eventually(lambda: used() == without)
        tell(hung=hung, left=used())
        """
    )

    hung, left = said["hung"], said["left"]
    assert left == [hung[0] - 1, hung[1] - 1]
    assert left[0] == 1


@pytest.mark.parametrize("how", ["refused", "unsent"])
def test_what_was_in_flight_at_the_deadline_and_is_not_stored_is_sent(
    run: Run, sink: Sink, how: str
) -> None:
    """A late refusal, or a body of which a part was never written, is no doubt."""
    script = """
        start()
        if os.environ["LARGE"]:
            scope = sentry_sdk.get_isolation_scope()
            scope.add_attachment(bytes=os.urandom(16 << 20), filename="large")
        capture(1)
        seconds = swap_it()
        before = resentry.status()["tally"]
        eventually(lambda: resentry.status()["tally"] != before)
        tell(seconds=seconds)
        """
    if how == "refused":
        sink.answer(1, 403, seconds=2 * DEADLINE)
        said = run(script, LARGE="")
    else:
        with Deaf(reads=1000) as deaf:
            said = run(script, LARGE="yes", OLD=deaf.dsn)

    assert said["tally"] == tally(rerouted=1)
    assert arrived(sink) == [0, 1]
    assert said["seconds"] < TIMEOUT


def test_what_was_written_and_never_answered_is_not_sent_again(
    run: Run, sink: Sink
) -> None:
    """The receiver may have stored it: it is counted as unknown."""
    with Deaf(reads=1 << 20) as deaf:
        said = run(
            """
            start()
            capture(1)
            swap_it()
            eventually(lambda: resentry.status()["tally"]["unknown"])
            tell()
            """,
            OLD=deaf.dsn,
        )

    assert said["tally"] == tally(unknown=1)
    assert arrived(sink) == [0, 0]


def test_a_receiver_that_breaks_off_puts_one_envelope_in_doubt(
    run: Run, sink: Sink
) -> None:
    """After the first the old DSN is given up, though the deadline is far."""
    sink.answer(1, "hang")
    said = run(
        """
        from lab.server import Server

        class BreaksOff(Server):
            async def converse(self, reader, writer):
                await reader.read(65536)
                while not go_on.is_set():
                    await self.pause(0.01)

        go_on = threading.Event()
        with BreaksOff() as server:
            os.environ["OLD"] = f"http://key@{server.address}/1"
            swap.DRAIN_SECONDS = 60
            old = start()
            capture(20)
            swapping = threading.Thread(target=swap_it)
            swapping.start()
            eventually(lambda: old.transport._retired)
            go_on.set()
            swapping.join()
            tell()
        """
    )

    assert said["tally"] == tally(rerouted=BEFORE - 1, unknown=1)
    assert arrived(sink) == [0, BEFORE - 1]


def test_a_slow_dsn_keeps_what_it_took_and_the_rest_is_sent_to_the_new_one(
    run: Run, sink: Sink
) -> None:
    """At the deadline, what was not started goes on to the same environment."""
    sink.answer(1, "ok", seconds=0.2)

    said = run(PLAIN)

    old, new = arrived(sink)
    assert old + new == BEFORE + AFTER
    assert old > 0
    assert said["tally"] == tally(rerouted=new - AFTER)
    assert said["seconds"] < TIMEOUT


def test_a_slow_dsn_of_another_environment_has_time_to_take_all(
    run: Run, sink: Sink
) -> None:
    """As long as it takes something, nothing of what it alone may have is dropped."""
    sink.answer(1, "ok", seconds=0.1)

    said = run(PLAIN, environment="other")

    assert arrived(sink) == [BEFORE, AFTER]
    assert said["tally"] == tally()
    assert said["seconds"] > DEADLINE


def test_even_that_time_ends(run: Run, sink: Sink) -> None:
    """What a slow DSN of another environment has not taken by then is dropped."""
    sink.answer(1, "ok", seconds=0.2)

    said = run(f"swap.LAST_SECONDS = {DEADLINE}\n" + PLAIN, environment="other")

    old, new = arrived(sink)
    assert new == AFTER
    assert said["tally"] == tally(dropped=BEFORE - old)
    assert 0 < old < BEFORE


@pytest.mark.parametrize("environment", ["same", "other"])
@pytest.mark.parametrize("how", ["429", "500", "connection refused"])
def test_what_the_sdk_drops_is_dropped(
    run: Run, sink: Sink, how: str, environment: str
) -> None:
    """Rate limits, server errors and dead hosts: as ever, and the swap is not held."""
    old = f"http://{key_of(1)}@127.0.0.1:{free_port()}/1"
    if how != "connection refused":
        sink.answer(1, int(how))
        old = sink.dsn(1)

    said = run(PLAIN, environment, OLD=old, FLUSH="yes")

    assert said["tally"] == tally()
    assert arrived(sink) == [0, AFTER]
    assert said["seconds"] < DEADLINE
