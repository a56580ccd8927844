"""The whole product in Kubernetes: real pods, under traffic, with and without mishaps."""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from lab import container
from lab.fleet import PATIENCE, POLL_SECONDS, TARGETS, Fleet, FleetTraffic
from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conftest import Figures, Place

    from lab.ledger import Received

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]

ROTATIONS = 5
AWAY_SECONDS = 60
STARTS = {"kubernetes": 5, "shared-pids": 1}
START_GOAL_SECONDS = 1.5
START_LIMIT_SECONDS = 4.0
"""A regression, on any machine. The goal is not reached yet: see the figures."""
LOOK = """
import json, os
found = {"same_user": False, "opened": [], "stat": ""}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/comm") as file:
            if file.read().strip() != "resentry-agent":
                continue
        with open(f"/proc/{pid}/status") as file:
            uid = next(line for line in file if line.startswith("Uid:")).split()[1]
    except OSError:
        continue
    found["same_user"] = int(uid) == os.getuid()
    with open(f"/proc/{pid}/stat") as file:
        found["stat"] = file.read()
    for name in ("environ", "mem", "root/var/run/secrets/resentry/token"):
        try:
            os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
            found["opened"].append(name)
        except OSError:
            pass
print(json.dumps(found))
"""
FOUR = "for turn in 1 2 3 4; do resentry-agent status & done; wait"
BETWEEN = 25
"""So many requests at least are answered between two changes."""


class Run(NamedTuple):
    """A fleet under traffic, and what is measured of it."""

    fleet: Fleet
    traffic: FleetTraffic
    figures: dict[str, Any]

    def rotate(self, project: int, traces: float = 0.1) -> list[dict[str, Any]]:
        """Change the secret; return the agents' status when every process runs it."""
        self.traffic.await_more(BETWEEN, PATIENCE)
        return self.fleet.converge(self.write(project, traces))

    def write(self, project: int, traces: float = 0.1) -> int:
        return self.fleet.write(
            SENTRY_DSN=self.fleet.sink.dsn(project),
            SENTRY_TRACES_SAMPLE_RATE=traces,
        )

    def containers(self) -> dict[str, list[dict[str, Any]]]:
        """Return the containers' statuses, by pod."""
        pods = (pods for app in TARGETS for pods in self.fleet.pods(app).items())
        return {
            name: pod["status"].get("initContainerStatuses", [])
            + pod["status"]["containerStatuses"]
            for name, pod in pods
        }

    def ready_since(self) -> dict[str, str]:
        """Return since when each pod is ready, "" for one that is not."""
        pods = (pods for app in TARGETS for pods in self.fleet.pods(app).items())
        return {name: ready_since(pod) for name, pod in pods}


def ready_since(pod: dict[str, Any]) -> str:
    for condition in pod["status"].get("conditions", []):
        if (condition["type"], condition["status"]) == ("Ready", "True"):
            return str(condition["lastTransitionTime"])
    return ""


@pytest.fixture(scope="module", params=list(STARTS))
def run(
    request: pytest.FixtureRequest, place: Place, figures: Figures
) -> Iterator[Run]:
    """One overlay, deployed and under traffic; every process runs the first secret."""
    overlay = request.param
    with Fleet(place.cluster, place.host, place.images, overlay) as fleet:
        traffic = FleetTraffic(fleet)
        run = Run(fleet, traffic, figures.setdefault(overlay, {}))
        version = run.write(1)
        fleet.deploy(STARTS[overlay])
        fleet.converge(version)
        with traffic:
            yield run


@pytest.fixture(autouse=True)
def _no_restart(run: Run) -> Iterator[None]:
    """Nothing that a test does ends a container, other than with its pod."""
    yield
    containers = itertools.chain(*run.containers().values())
    restarts = {one["name"]: one["restartCount"] for one in containers}
    assert set(restarts.values()) == {0}, restarts
    run.figures["restarts"] = 0


def test_every_process_of_every_pod_confirms_each_rotation(run: Run) -> None:
    """Five times the DSN and once the sampling rate changes in Vault, then everywhere."""
    took, swapped = [], []
    for turn in range(1, ROTATIONS + 2):
        # The last change is of the sampling rate alone.
        project, traces = min(turn, ROTATIONS) + 1, 0.1 if turn <= ROTATIONS else 0.5
        run.traffic.await_more(BETWEEN, PATIENCE)
        began = time.time()
        found = run.fleet.converge(run.write(project, traces))
        for status in found:
            published = epoch(status["current"]["published_at"])
            since = [epoch(one["since"]) for one in status["rollout"]["targets"]]
            swapped += [1000 * (each - published) for each in since]
        took.append(max(since_of(found)) - began)
        rates = {
            one["current"]["settings"]["SENTRY_TRACES_SAMPLE_RATE"] for one in found
        }
        assert rates == {traces}
    run.figures.update(
        {
            "pods": len(found),
            "processes": sum(len(one["rollout"]["targets"]) for one in found),
            "rotations": ROTATIONS,
            "poll_seconds": POLL_SECONDS,
            "written_to_last_confirmed_s": spread(took),
            "published_to_confirmed_ms": spread(swapped),
        }
    )


def test_pods_stay_ready_while_vault_is_away(run: Run) -> None:
    """A minute without Vault costs no pod its readiness and no request its answer."""
    before, failed = run.ready_since(), len(run.traffic.failed)
    assert all(before.values())
    run.fleet.vault.stop()
    try:
        back_at = time.monotonic() + AWAY_SECONDS
        eventually(lambda: troubled(run.fleet), AWAY_SECONDS, "agents that miss Vault")
        while time.monotonic() < back_at:
            run.traffic.await_more(BETWEEN, PATIENCE)
            assert run.ready_since() == before
    finally:
        run.fleet.vault.start()
    run.rotate(7)
    assert run.ready_since() == before
    assert run.traffic.failed[failed:] == []
    run.figures["vault_away_s"] = AWAY_SECONDS


def test_the_successor_of_a_deleted_pod_runs_the_newest_secret(run: Run) -> None:
    """A pod is deleted under traffic: its successor confirms what the others run."""
    version = run.write(8)
    run.fleet.converge(version)
    gone = [next(iter(run.fleet.pods(app))) for app in TARGETS]
    run.fleet.kubectl("delete", "pod", *gone)
    run.fleet.await_rollout()
    run.fleet.converge(version)
    assert not set(gone) & run.containers().keys()
    run.rotate(9)


def test_a_rollout_under_traffic_ends_at_the_newest_secret(run: Run) -> None:
    """Every pod is replaced while the secret changes: the new ones confirm the change."""
    before = run.containers().keys()
    for app in TARGETS:
        run.fleet.kubectl("rollout", "restart", f"deployment/{app}")
    version = run.write(10)
    run.fleet.await_rollout()
    run.fleet.converge(version)
    assert not before & run.containers().keys()
    run.rotate(11)


def test_the_application_cannot_look_into_the_agent(run: Run) -> None:
    """With shared PIDs and the same user it sees the process, and nothing that it holds."""
    pod = next(iter(run.fleet.pods("api")))
    ask = ("exec", pod, "-c", "api", "--", "python", "-c", LOOK)
    found = json.loads(run.fleet.kubectl(*ask))
    is_shared = run.fleet.overlay == "shared-pids"
    assert found["same_user"] is is_shared
    assert bool(found["stat"]) is is_shared  # which is what signals need
    assert found["opened"] == []


def test_no_event_is_lost_or_sent_twice(run: Run) -> None:
    """Each event of each request and task arrives once, whatever has happened to pods."""
    run.rotate(12)
    run.traffic.await_more(BETWEEN, PATIENCE)
    run.traffic.stop()
    sent = {
        event for event in run.traffic.events + run.traffic.graded(PATIENCE) if event
    }
    assert len(sent) == 2 * len(run.traffic.events)
    sink = run.fleet.sink
    with contextlib.suppress(TimeoutError):  # the figures say it
        eventually(lambda: sent <= set(sink.event_ids()), PATIENCE)
    received = set(sink.event_ids())
    twice = run_twice(sink.events()) - sent
    found = {
        "events": len(sent),
        "tasks_run_twice": len(twice),
        "lost": len(sent - received),
        "duplicated": sink.duplicates(),
        "requests": len(run.traffic.events) + len(run.traffic.failed),
        "failed_requests": len(run.traffic.failed),
    }
    run.figures.update(found)
    assert (found["lost"], found["duplicated"]) == (0, 0)
    assert received - sent == twice
    assert run.traffic.failed == []


def run_twice(events: list[Received]) -> set[str]:
    """Return an event of each pod, for each task that several pods have run.

    A worker that ends gives tasks back to the broker that it has not acknowledged, also
    some that have just run: another worker runs them again, and its result is the one kept.
    """
    by_task: dict[str, dict[str, str]] = {}
    for event in events:
        if task := event.tags.get("celery_task_id"):
            by_task.setdefault(task, {}).setdefault(event.server_name, event.event_id)
    return {
        event
        for by_pod in by_task.values()
        if len(by_pod) > 1
        for event in by_pod.values()
    }


def test_a_job_with_the_agent_completes(run: Run) -> None:
    """Its pods start with a snapshot, their events arrive, and the agent ends with them."""
    run.traffic.stop()
    run.fleet.start_job()
    starts: dict[str, tuple[float, float]] = {}
    pods = run.fleet.job_pods

    def seen() -> bool:
        for name, pod in run.fleet.pods("job").items():
            if name not in starts and ready_since(pod):
                starts[name] = start_of(run, name)
        return len(starts) == pods

    eventually(seen, PATIENCE, "every pod of the Job")
    wait = ("wait", "--for=condition=complete", "job/job")
    run.fleet.kubectl(*wait, f"--timeout={PATIENCE:g}s")
    events = run.fleet.kubectl(
        "logs", "-l", "app=job", "-c", "job", "--tail=-1"
    ).split()
    assert len(events) == pods
    assert set(events) <= set(run.fleet.sink.event_ids())
    published, ready = zip(*starts.values(), strict=True)
    run.figures["start_at_100m_s"] = {
        "published": spread(published),
        "ready": spread(ready),
        "goal": START_GOAL_SECONDS,
        "of": pods,
    }
    assert statistics.median(published) <= START_LIMIT_SECONDS


def test_the_agent_stays_within_its_memory(run: Run) -> None:
    """Its limit is enough, also while four commands run at once in the same container."""
    found = []
    for pod in run.containers():
        ask = ("exec", pod, "-c", container.AGENT, "--", "sh", "-c", FOUR)
        assert run.fleet.kubectl(*ask).count("drained") >= 4
        found.append(container.figures(run.fleet.cluster, run.fleet.namespace, pod))
    run.figures.update(
        {
            "oom_kills": sum(one.oom_kills for one in found),
            "rss_mib": round(max(one.rss_mib for one in found), 1),
            "cgroup_anon_mib": round(max(one.anon_mib for one in found), 1),
            "cgroup_usage_mib": round(max(one.usage_mib for one in found), 1),
        }
    )
    assert run.figures["oom_kills"] == 0


def troubled(fleet: Fleet) -> bool:
    """Whether every agent has said that Vault does not answer."""
    found = fleet.statuses() or {"": {"source": {"failures": 0}}}
    return all(status["source"]["failures"] for status in found.values())


def start_of(run: Run, pod: str) -> tuple[float, float]:
    """Return after how many seconds the agent had published, and its pod was ready."""
    ready = time.time()
    born = container.figures(run.fleet.cluster, run.fleet.namespace, pod).started
    log = run.fleet.kubectl("logs", pod, "-c", container.AGENT)
    lines = [json.loads(line) for line in log.splitlines()]
    published = [one for one in lines if one.get("outcome") == "published"]
    return epoch(published[0]["timestamp"]) - born, ready - born


def since_of(found: list[dict[str, Any]]) -> list[float]:
    """Return since when each process runs what it runs."""
    targets = (target for status in found for target in status["rollout"]["targets"])
    return [epoch(target["since"]) for target in targets]


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "p50": round(statistics.median(values), 2),
        "max": round(max(values), 2),
    }
