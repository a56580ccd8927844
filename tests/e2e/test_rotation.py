"""A DSN changes in Vault; running processes send their next events to the new project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests

from lab.bugsink import Bugsink
from lab.process import eventually
from lab.traffic import Traffic

if TYPE_CHECKING:
    from lab.sink import Sink
    from lab.system import System

pytestmark = pytest.mark.process


TARGETS = 5
"""Two uvicorn workers; Celery's main process and its two children."""


def start(system: System, **secret: object) -> None:
    """Bring the agent and all five targets up on the first snapshot."""
    system.write(**secret)
    system.start_agent()
    system.start_worker()
    system.start_api(workers=2)
    system.converge(TARGETS, 1, within=30)


def api(system: System) -> str:
    return f"http://127.0.0.1:{system.api_port}"


def pids(status: dict[str, Any]) -> list[int]:
    return sorted(target["pid"] for target in status["rollout"]["targets"])


@pytest.mark.vault
def test_a_dsn_goes_there_and_back_under_traffic(system: System, sink: Sink) -> None:
    """A to B to A loses nothing, doubles nothing, and restarts no process."""
    first, second = sink.dsn(1), sink.dsn(2)
    start(system, SENTRY_DSN=first)
    before = pids(system.status())

    with Traffic(api(system)) as traffic:
        for sequence, dsn in enumerate((second, first), start=2):
            traffic.await_more(60)
            system.write(SENTRY_DSN=dsn)
            system.converge(TARGETS, sequence)
        traffic.await_more(60)
    sent = [*traffic.events, *traffic.graded()]

    assert None not in sent
    eventually(lambda: set(sent) == set(sink.event_ids()), what="all events")
    assert sink.duplicates() == 0
    assert traffic.failed == []
    assert sink.count("event", 2) > 0
    assert before == pids(system.status())


def test_the_next_error_after_a_rotation_is_in_the_new_project(
    system: System, sink: Sink
) -> None:
    """Once the agent says converged, nothing more reaches the old project."""
    start(system, SENTRY_DSN=sink.dsn(1))
    requests.get(f"{api(system)}/courses/1", timeout=10)
    eventually(lambda: sink.count("event", 1) == 1, what="the error in project 1")

    system.write(SENTRY_DSN=sink.dsn(2))
    system.converge(TARGETS, 2)
    for course in range(10):
        requests.get(f"{api(system)}/courses/{course}", timeout=10)

    eventually(lambda: sink.count("event", 2) == 10, what="ten errors in project 2")
    assert sink.count("event", 1) == 1


@pytest.mark.timeout(400)
def test_on_bugsink_the_same_error_appears_in_one_project_then_the_other(
    system: System,
) -> None:
    """A real Sentry server stores each error in the project of its time, A, B, A."""
    with Bugsink() as bugsink:
        first, second = bugsink.project("first"), bugsink.project("second")
        start(system, SENTRY_DSN=first)
        for sequence, dsn in enumerate((second, first), start=2):
            requests.get(f"{api(system)}/courses/7", timeout=10)
            eventually(lambda: bugsink.events("first"), what="the error in the first")
            system.write(SENTRY_DSN=dsn)
            system.converge(TARGETS, sequence)
            requests.get(f"{api(system)}/courses/7", timeout=10)
        for project in ("first", "second"):
            eventually(lambda p=project: len(bugsink.events(p)) == 2, 60, project)

        stored = bugsink.events("first") + bugsink.events("second")

    assert len(stored) == 4
    for event in stored:
        assert "there is no course 7" in event["message"]
        assert (event["environment"], event["release"]) == ("production", "1.0.0")


def test_a_sampling_rate_changes_alone(system: System, sink: Sink) -> None:
    """From 0 to 1 every request becomes a transaction; the DSN stays what it is."""
    start(system, SENTRY_DSN=sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="0")
    for _ in range(5):
        requests.get(f"{api(system)}/health", timeout=10)

    system.write(SENTRY_DSN=sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="1")
    system.converge(TARGETS, 2)
    for _ in range(5):
        requests.get(f"{api(system)}/health", timeout=10)

    eventually(lambda: sink.count("transaction", 1) == 5, what="five transactions")


def test_environment_and_release_change(system: System, sink: Sink) -> None:
    """Events carry the snapshot's environment and release, and then the new ones."""
    system.environ["RESENTRY_ALLOWED_ENVIRONMENTS"] = "staging"
    start(system, SENTRY_DSN=sink.dsn(1))
    requests.get(f"{api(system)}/courses/1", timeout=10)
    eventually(lambda: sink.events(1), what="the first error")

    system.write(
        SENTRY_DSN=sink.dsn(1), SENTRY_ENVIRONMENT="staging", SENTRY_RELEASE="2.0.0"
    )
    system.converge(TARGETS, 2)
    requests.get(f"{api(system)}/courses/1", timeout=10)
    eventually(lambda: len(sink.events(1)) == 2, what="the second error")

    seen = [(event.environment, event.release) for event in sink.events(1)]
    assert seen == [("production", "1.0.0"), ("staging", "2.0.0")]


def test_a_bad_dsn_is_refused_while_the_old_one_stays(
    system: System, sink: Sink
) -> None:
    """The agent names what is wrong, publishes nothing, and events go on as before."""
    start(system, SENTRY_DSN=sink.dsn(1))

    system.write(SENTRY_DSN="https://sentry.example/not-a-project")
    refused = eventually(
        lambda: (
            found
            if (found := system.status())["source"]["outcome"] == "refused"
            else None
        ),
        what="the refusal",
    )
    requests.get(f"{api(system)}/courses/1", timeout=10)

    assert "SENTRY_DSN is not a DSN" in refused["source"]["sentence"]
    assert refused["current"]["sequence"] == 1
    eventually(lambda: sink.count("event", 1) == 1, what="the error in project 1")

    system.write(SENTRY_DSN=sink.dsn(2))
    system.converge(TARGETS, 2)


def test_reporting_goes_off_and_on_for_celery_alone(system: System, sink: Sink) -> None:
    """SENTRY_ENABLE_FOR_CELERY counts at run time: off silences workers, not the API."""
    start(system, SENTRY_DSN=sink.dsn(1), SENTRY_ENABLE_FOR_CELERY="off")
    with Traffic(api(system), threads=1) as traffic:
        traffic.await_more(5)
    graded = traffic.graded()
    eventually(
        lambda: set(sink.event_ids()) == set(traffic.events), what="the API's events"
    )
    assert {None} == set(graded)

    system.write(SENTRY_DSN=sink.dsn(1), SENTRY_ENABLE_FOR_CELERY="on")
    system.converge(TARGETS, 2)
    with Traffic(api(system), threads=1) as traffic:
        traffic.await_more(5)
    assert None not in traffic.graded()
