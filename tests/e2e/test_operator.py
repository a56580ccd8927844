"""What an operator asks for: rollback, boost, wait, history; and who has not followed."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import requests

from lab.process import Process, eventually
from lab.system import System

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.sink import Sink

pytestmark = pytest.mark.process


_TARGET = """
import signal, sys
import resentry
resentry.init(
    role=sys.argv[1], default_integrations=False, auto_enabling_integrations=False
)
while True:
    signal.pause()
"""


@pytest.fixture
def staging() -> Iterator[System]:
    """A system outside production, where a target is soon overdue."""
    with System(ENVIRONMENT="staging", RESENTRY_CONFIRM_SECONDS="2") as system:
        yield system


def ask(system: System, *args: str, code: int = 0) -> dict[str, Any]:
    """Run a command that answers in JSON."""
    ended, printed = system.run("resentry-agent", *args, "--json")
    assert ended == code, printed
    envelope = json.loads(printed)
    assert envelope["ok"] is (code == 0)
    result: dict[str, Any] = envelope["result"]
    return result


def target(system: System, role: str = "api", **environ: str) -> Process:
    return system.spawn("python", "-c", _TARGET, role, environ=environ)


def post(system: System, path: str) -> None:
    url = f"http://127.0.0.1:{system.api_port}{path}"
    requests.post(url, timeout=10).raise_for_status()


def fail(system: System, sink: Sink, project: int) -> None:
    """Have the API report an error; return when it is in that project."""
    before = sink.count("event", project)
    requests.get(f"http://127.0.0.1:{system.api_port}/courses/1", timeout=10)
    eventually(
        lambda: sink.count("event", project) == before + 1,
        what=f"the error in project {project}",
    )


def publish(system: System, sink: Sink, sequence: int, **more: object) -> None:
    """Let the secret hold the DSN of that project; wait until it is published."""
    system.write(SENTRY_DSN=sink.dsn(sequence), **more)
    system.poll_now()
    eventually(lambda: at(system) == sequence, what=f"sequence {sequence}")


def at(system: System) -> int:
    current = system.status()["current"]
    return int(current["sequence"]) if current else 0


# Rollback


@pytest.mark.vault
def test_a_rollback_is_held_until_the_source_drops_the_value(
    system: System, sink: Sink
) -> None:
    """Also by an agent that was killed and came back; then the new value counts."""
    system.write(SENTRY_DSN=sink.dsn(1))
    agent = system.start_agent()
    system.start_api(workers=1)
    first = system.converge(1, 1)["current"]["revision"]
    publish(system, sink, 2)
    system.converge(1, 2)
    fail(system, sink, 2)

    answer = ask(system, "rollback")
    assert (answer["revision"], answer["sequence"]) == (first, 3)
    system.converge(1, 3)
    fail(system, sink, 1)

    agent.kill()
    since = system.status()["source"]["last_success_at"]
    system.start_agent()
    found = eventually(
        lambda: (
            status
            if (status := system.status())["source"]["last_success_at"] != since
            else None
        ),
        what="a pass of the new agent",
    )
    assert found["current"]["sequence"] == 3
    assert found["source"]["outcome"] == "held"
    assert f"a rollback holds revision {first}" in found["source"]["sentence"]

    system.write(SENTRY_DSN=sink.dsn(3))
    system.converge(1, 4)
    fail(system, sink, 3)


def test_resume_ends_a_rollback(system: System, sink: Sink) -> None:
    """What the source holds is published again; a second time there is none to end."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent()
    publish(system, sink, 2)
    second = system.status()["current"]["revision"]

    ask(system, "rollback")
    assert ask(system, "rollback", "--resume")["revision"] == second
    code, printed = system.run("resentry-agent", "rollback", "--resume")
    assert code == 1
    assert printed.startswith("resentry-agent: no rollback is held")


def test_without_an_agent_nothing_can_be_asked_for(system: System, sink: Sink) -> None:
    """Exit code 76, with what to check."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent().kill()

    for command in (["rollback"], ["refresh"], ["boost", "--end", "b1"]):
        code, printed = system.run("resentry-agent", *command)
        assert code == 76
        assert "no agent answers" in printed


def test_what_a_target_refused_is_never_gone_back_to(
    staging: System, sink: Sink
) -> None:
    """The agent remembers it, whatever has been published since."""
    staging.write(SENTRY_DSN=sink.dsn(1))
    staging.start_agent()
    target(staging, ENVIRONMENT="production")
    staging.converge(1, 1)
    publish(staging, sink, 2, SENTRY_SEND_PII="true")
    eventually(
        lambda: staging.status()["rollout"]["state"] == "refused", what="the refusal"
    )
    state = staging.directory / "agent" / "state.json"
    eventually(
        lambda: json.loads(state.read_text())["rejections"]["revisions"],
        what="the agent's note of it",
    )
    publish(staging, sink, 3)
    staging.converge(1, 3)

    code, printed = staging.run("resentry-agent", "rollback")

    assert code == 1
    assert "a process could not apply it" in printed
    assert at(staging) == 3


# Boost


def test_a_boost_raises_the_rate_of_what_it_names(system: System, sink: Sink) -> None:
    """Of that path alone, until it is ended; it is listed with what is left of it."""
    system.write(SENTRY_DSN=sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="0")
    system.start_agent()
    system.start_api(workers=1)
    before = system.converge(1, 1)["current"]["revision"]

    boost = ["--traces", "1.0", "--for", "15m", "--role", "api"]
    answer = ask(system, "boost", *boost, "--match", "POST /enrol/*")
    system.converge(1, 2)
    for student in range(5):
        post(system, f"/enrol/{student}")
        requests.get(f"http://127.0.0.1:{system.api_port}/health", timeout=10)
    fail(system, sink, 1)

    eventually(lambda: len(sink.transactions(1)) == 5, what="five transactions")
    (row,) = ask(system, "boost", "--list")["boosts"]
    assert row["id"] == answer["boosts"][0]["id"]
    assert 840 < row["left_seconds"] <= 900
    code, printed = system.run("resentry-agent", "status")
    assert code == 0
    assert f"boost {row['id']}  traces 1 for POST /enrol/* in api, " in printed
    assert " s left" in printed

    assert ask(system, "boost", "--end", row["id"])["done"]["revision"] == before
    system.converge(1, 3)
    post(system, "/enrol/6")
    fail(system, sink, 1)
    assert len(sink.transactions(1)) == 5


def test_a_boost_ends_on_time_without_an_agent(system: System, sink: Sink) -> None:
    """Every process knows its end; the next agent drops it as a new revision."""
    system.write(SENTRY_DSN=sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="0")
    agent = system.start_agent()
    system.start_api(workers=1)
    before = system.converge(1, 1)["current"]["revision"]

    (row,) = ask(system, "boost", "--traces", "1", "--for", "8s")["boosts"]
    system.converge(1, 2)
    agent.kill()
    post(system, "/enrol/1")
    eventually(lambda: len(sink.transactions(1)) == 1, what="the transaction")
    assert len(system.status()["current"]["boosts"]) == 1

    end = datetime.fromisoformat(row["until"]).timestamp()
    eventually(lambda: time.time() > end, 15, "the end of the boost")
    post(system, "/enrol/2")
    fail(system, sink, 1)
    assert len(sink.transactions(1)) == 1
    assert system.status()["current"]["boosts"] == []

    system.start_agent()
    assert system.converge(1, 3)["current"]["revision"] == before


def test_a_boost_is_dropped_at_its_end_whatever_the_interval(
    system: System, sink: Sink
) -> None:
    """An agent that polls once an hour publishes the revision after it in time."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent(RESENTRY_POLL_SECONDS="3600")
    before = system.status()["current"]["revision"]

    ask(system, "boost", "--traces", "1", "--for", "3s")
    assert at(system) == 2

    eventually(lambda: at(system) == 3, what="the revision after the boost")
    assert system.status()["current"]["revision"] == before


def test_a_boost_above_the_cap_is_refused(system: System, sink: Sink) -> None:
    """The answer is no, with the setting that decides."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent(RESENTRY_BOOST_CAP="0.5")

    code, printed = system.run(
        "resentry-agent", "boost", "--traces", "0.6", "--for", "1m"
    )

    assert code == 1
    assert "RESENTRY_BOOST_CAP" in printed
    assert at(system) == 1


# Wait, history


def test_wait_ends_when_every_process_has_confirmed(system: System, sink: Sink) -> None:
    """By revision, by number, drained; else exit code 1 and who is lacking."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent()
    first = system.status()["current"]["revision"]
    nobody = ask(system, "wait", "--timeout", "0", code=1)
    assert nobody["lacking"] == ["no process has given a receipt yet"]

    process = target(system)
    ask(system, "wait", "--revision", first, "--drained", "--timeout", "20")
    system.write(SENTRY_DSN=sink.dsn(2))
    system.poll_now()
    assert ask(system, "wait", "--sequence", "2")["status"]["current"]["sequence"] == 2

    other = ask(system, "wait", "--revision", first, "--timeout", "0", code=1)
    assert f"is published, not {first}" in other["lacking"][0]
    process.pause()
    publish(system, sink, 3)
    late = ask(system, "wait", "--timeout", "0.5", code=1)
    assert late["lacking"] == [f"api pid {process.pid}: waiting"]


def test_wait_asks_for_so_many_workers_of_a_role(system: System, sink: Sink) -> None:
    """A role whose processes are too few is named."""
    system.environ["RESENTRY_MIN_TARGETS"] = "api=2"
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent()
    target(system)
    lacking = ["1 target: 1 drained, 1 api missing"]
    eventually(
        lambda: ask(system, "wait", "--timeout", "0", code=1)["lacking"] == lacking,
        what="one of two",
    )

    target(system)
    assert not ask(system, "wait", "--timeout", "20")["lacking"]


def test_history_says_what_changed_and_when(system: System, sink: Sink) -> None:
    """Newest first, the last ten, no key of a DSN; also when the agent is dead."""
    system.write(SENTRY_DSN=sink.dsn(1))
    agent = system.start_agent()
    for sequence in range(2, 12):
        publish(system, sink, sequence)
    publish(system, sink, 12, SENTRY_RELEASE="2.0.0")
    agent.kill()

    rows = ask(system, "history")["history"]
    code, printed = system.run("resentry-agent", "history")

    assert [row["sequence"] for row in rows] == list(range(12, 2, -1))
    assert [row["changed"] for row in rows[:2]] == [
        ["SENTRY_DSN", "SENTRY_RELEASE"],
        ["SENTRY_DSN"],
    ]
    times = [row["published_at"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert code == 0
    assert "SENTRY_RELEASE=2.0.0" in printed
    keys = [sink.dsn(number).split("//")[1].split("@")[0] for number in range(1, 13)]
    assert [key for key in keys if key in printed + json.dumps(rows)] == []


# Who has followed


def test_each_of_six_targets_is_named_by_what_became_of_it(
    staging: System, sink: Sink
) -> None:
    """Three follow, one is silent, one refuses and says why, one is dead and gone."""
    staging.write(SENTRY_DSN=sink.dsn(1))
    staging.start_agent()
    good = [target(staging, role) for role in ("api", "api", "celery")]
    silent, dead = target(staging), target(staging, "celery")
    refusing = target(staging, "celery", ENVIRONMENT="production")
    staging.converge(6, 1)

    silent.pause()
    dead.kill()
    publish(staging, sink, 2, SENTRY_SEND_PII="true")
    expected = {
        **{process.pid: ("drained", 2) for process in good},
        silent.pid: ("overdue", 1),
        refusing.pid: ("refused", 1),
    }

    def states(status: dict[str, Any]) -> dict[int, tuple[str, int]]:
        targets = status["rollout"]["targets"]
        return {each["pid"]: (each["state"], each["sequence"]) for each in targets}

    eventually(lambda: states(staging.status()) == expected, what=f"{expected}")
    eventually(
        lambda: states(staging.get("/status").json()["result"]) == expected,
        what="the same from the agent",
    )
    lacking = ask(staging, "wait", "--timeout", "0", code=1)["lacking"]
    assert len(lacking) == 2
    (overdue,) = [line for line in lacking if str(silent.pid) in line]
    assert overdue.startswith(f"api pid {silent.pid}: overdue, read the log of the ")
    (reason,) = [line for line in lacking if str(refusing.pid) in line]
    assert reason.startswith(f"celery pid {refusing.pid}: refused, ")
    assert "SENTRY_SEND_PII" in reason
    assert "production" in reason

    silent.resume()
    refusing.stop()
    target(staging)
    staging.converge(5, 2)
