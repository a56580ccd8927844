"""Who is told of a new snapshot, and told again until it works."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.process import Process, eventually
from lab.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.sink import Sink
    from lab.system import System

pytestmark = pytest.mark.process


DEAF = Path(__file__).parent / "programs" / "deaf.py"
HEADER = "planted-token-0123456789"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def other() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def published(system: System, sequence: int) -> str:
    """Wait for that snapshot; return its revision."""
    found = eventually(
        lambda: (
            (now := system.status()["current"]) and now["sequence"] == sequence and now
        ),
        what=f"sequence {sequence}",
    )
    return str(found["revision"])


def state(system: System, receiver: Receiver) -> dict[str, Any]:
    found = system.status()["notify"]
    return next((one for one in found if one["receiver"] == receiver.address), {})


def test_a_receiver_hears_of_each_new_snapshot(
    system: System, sink: Sink, receiver: Receiver
) -> None:
    """One POST each, without data; what an operator adds is in it, and nowhere else."""
    system.write(SENTRY_DSN=sink.dsn(1))
    agent = system.start_agent(
        RESENTRY_NOTIFY_URLS=f"{receiver.url}/{HEADER}",
        RESENTRY_NOTIFY_HEADERS=f"Authorization: Bearer {HEADER}\nX-Team: lms",
    )
    first = published(system, 1)
    system.write(SENTRY_DSN=sink.dsn(2))
    second = published(system, 2)
    eventually(lambda: receiver.revisions == [first, second], what="both")

    post = receiver.requests[1]
    assert post.start[:2] == ["POST", f"/hook/{HEADER}"]
    assert post.body == b""
    assert post.header("Resentry-Sequence") == "2"
    assert post.header("Authorization") == f"Bearer {HEADER}"
    assert post.header("X-Team") == "lms"
    eventually(lambda: state(system, receiver).get("sequence") == 2, what="the status")
    code, shown = system.run("resentry-agent", "status")
    assert f"{receiver.address} was notified of {second}" in shown, code
    metrics = system.get("/metrics").text
    assert f'resentry_notify_sequence{{receiver="{receiver.address}"}} 2.0' in metrics
    for text in (agent.log_text(), shown, metrics, system.get("/status").text):
        assert HEADER not in text


def test_a_receiver_that_hangs_holds_up_neither_another_nor_a_pass(
    system: System, sink: Sink, receiver: Receiver, other: Receiver
) -> None:
    """When it wakes it hears of the newest alone."""
    receiver.how = "hang"
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent(
        RESENTRY_NOTIFY_URLS=f"{receiver.url} {other.url}", RESENTRY_NOTIFY_SECONDS="2"
    )
    revisions = []
    for sequence in range(1, 4):
        system.write(SENTRY_DSN=sink.dsn(sequence))
        system.poll_now()
        revisions.append(published(system, sequence))
    eventually(lambda: other.revisions == revisions, what="the other one")
    failed = eventually(
        lambda: (now := state(system, receiver)).get("error") and now, what="the error"
    )
    assert (failed["error"], failed["revision"]) == ("no answer within 2 s", None)

    asked = len(receiver.requests)
    receiver.how = 200
    eventually(lambda: state(system, receiver)["sequence"] == 3, 20, "the newest")
    assert set(receiver.revisions[asked:]) == {revisions[-1]}
    assert len(other.requests) == 3


def test_it_is_repeated_until_the_expected_answer(
    system: System, sink: Sink, receiver: Receiver
) -> None:
    """200 is not 202; a line in the log for the failure, and one for its end."""
    system.write(SENTRY_DSN=sink.dsn(1))
    agent = system.start_agent(
        RESENTRY_NOTIFY_URLS=receiver.url, RESENTRY_NOTIFY_STATUS="202"
    )
    eventually(lambda: state(system, receiver).get("failures", 0) >= 2, what="failures")
    assert state(system, receiver)["error"] == "status 200 instead of 202"
    line = f'resentry_notify_failures{{receiver="{receiver.address}"}} '
    metrics = system.get("/metrics").text.partition(line)[2]
    assert float(metrics.split()[0]) >= 2

    receiver.how = 202
    eventually(lambda: state(system, receiver)["error"] is None, what="success")

    def warned() -> list[bool]:
        log = agent.log_text().splitlines()
        return ["warning" in line for line in log if receiver.address in line]

    eventually(lambda: warned() == [True, False], what="both lines")


def test_a_successor_delivers_what_its_predecessor_could_not(
    system: System, sink: Sink, receiver: Receiver
) -> None:
    """The volume is the truth: the current snapshot is told of, changed or not."""
    system.write(SENTRY_DSN=sink.dsn(1))
    receiver.how = 500
    system.start_agent(RESENTRY_NOTIFY_URLS=receiver.url)
    revision = published(system, 1)
    eventually(lambda: receiver.requests, what="a try")
    assert system.agent
    system.agent.kill()
    system.vault.kill()
    tried = len(receiver.requests)

    receiver.how = 200
    system.start_agent(RESENTRY_NOTIFY_URLS=receiver.url)

    eventually(lambda: len(receiver.requests) > tried, what="the delivery")
    assert set(receiver.revisions) == {revision}


def test_a_single_pass_tells_before_it_ends(
    system: System, sink: Sink, receiver: Receiver
) -> None:
    """And tells nobody when nothing is new."""
    system.write(SENTRY_DSN=sink.dsn(1))
    for _ in range(2):
        code, printed = system.run(
            "resentry-agent", "once", RESENTRY_NOTIFY_URLS=receiver.url
        )
        assert code == 0, printed
    assert len(receiver.requests) == 1


def test_a_target_that_still_waits_is_signalled_again(
    system: System, sink: Sink
) -> None:
    """A signal may come at a bad time; it is repeated, and the next snapshot's is new."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent()
    published(system, 1)
    deaf = [sys.executable, str(DEAF), str(system.directory / "receipts")]
    with Process(deaf, env=system.environ) as target:
        eventually(lambda: system.status()["rollout"]["targets"], what="the target")
        system.write(SENTRY_DSN=sink.dsn(2))
        published(system, 2)

        eventually(lambda: target.log_text().count("got it") >= 3, 20, "three signals")
        assert target.alive
