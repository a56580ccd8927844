"""What the end of an agent costs its application, and an upgrade in place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from lab.cluster import Cluster
from lab.container import AGENT
from lab.fleet import PATIENCE, Fleet, FleetTraffic
from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Figures, Place

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]

BETWEEN = 25
"""So many requests at least are answered before and after."""
# With shared PIDs the agent is not the container's first process, so SIGKILL reaches it.
KILL = """
for folder in /proc/[0-9]*; do
  read name <$folder/comm && [ "$name" = resentry-agent ] && kill -9 ${folder#/proc/}
done
exit 0
"""


@pytest.fixture(scope="module")
def fleet(place: Place) -> Iterator[Fleet]:
    """A fleet whose processes run the first secret."""
    with Fleet(place.cluster, place.host, place.images, "shared-pids") as fleet:
        version = write(fleet, 1)
        fleet.deploy(1)
        fleet.converge(version)
        yield fleet


@pytest.fixture
def traffic(fleet: Fleet) -> Iterator[FleetTraffic]:
    with FleetTraffic(fleet) as traffic:
        traffic.await_more(BETWEEN, PATIENCE)
        yield traffic


@pytest.fixture(scope="module")
def measured(figures: Figures) -> dict[str, Any]:
    made: dict[str, Any] = figures.setdefault("agent ends", {})
    return made


def write(fleet: Fleet, project: int) -> int:
    dsn = fleet.sink.dsn(project)
    return fleet.write(SENTRY_DSN=dsn, SENTRY_ENVIRONMENT="cluster")


def container(fleet: Fleet, pod: str, name: str) -> dict[str, Any]:
    """Return the status of a pod's container."""
    status = fleet.cluster.get("-n", fleet.namespace, "pod", pod)["status"]
    found = [*status["initContainerStatuses"], *status["containerStatuses"]]
    (wanted,) = (one for one in found if one["name"] == name)
    return dict(wanted)


def kill_agent(fleet: Fleet, pod: str) -> float:
    """Kill a pod's agent; return for how long the pod was in no Service."""
    fleet.kubectl("exec", pod, "-c", AGENT, "--", "sh", "-c", KILL)

    def serves() -> bool:
        return pod in dict(fleet.endpoints())

    eventually(lambda: not serves(), PATIENCE, "the kubelet notices")
    since = time.monotonic()
    eventually(serves, PATIENCE, "the pod is back in its Service")
    assert container(fleet, pod, AGENT)["restartCount"] == 1
    return round(time.monotonic() - since, 1)


def test_an_agent_is_replaced_in_place(fleet: Fleet, place: Place) -> None:
    """The application's container goes on, and the new agent serves the next change."""
    if not isinstance(place.cluster, Cluster):
        pytest.skip("a second name for the image is needed")
    newer = f"{place.images[0]}-newer"
    place.cluster.tag(place.images[0], newer)
    (pod,) = fleet.pods("celery")
    before = container(fleet, pod, "worker")

    fleet.kubectl("set", "image", f"pod/{pod}", f"{AGENT}={newer}")
    eventually(
        lambda: container(fleet, pod, AGENT)["restartCount"], PATIENCE, "another agent"
    )
    fleet.converge(write(fleet, 2))

    after = container(fleet, pod, "worker")
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)


def test_with_two_replicas_a_killed_agent_fails_no_request(
    fleet: Fleet, traffic: FleetTraffic, measured: dict[str, Any]
) -> None:
    """The Service has another pod, until the agent is back and serves the next change."""
    pod = next(iter(fleet.pods("api")))
    before = container(fleet, pod, "api")["containerID"]

    measured["unready_s"] = kill_agent(fleet, pod)
    traffic.await_more(BETWEEN, PATIENCE)
    fleet.converge(write(fleet, 3))

    assert traffic.failed == []
    assert container(fleet, pod, "api")["containerID"] == before
    measured["failed_requests_of_two_replicas"] = 0


def test_with_one_replica_the_service_is_empty_for_a_while(
    fleet: Fleet, measured: dict[str, Any]
) -> None:
    """The application answers all the same: only Kubernetes does not ask it."""
    fleet.kubectl("scale", "deployment/api", "--replicas=1")
    eventually(lambda: len(fleet.endpoints()) == 1, PATIENCE, "one replica")
    (pod,) = fleet.pods("api")
    with FleetTraffic(fleet) as traffic:
        traffic.await_more(BETWEEN, PATIENCE)
        seconds = kill_agent(fleet, pod)
        traffic.await_more(BETWEEN, PATIENCE)
    fleet.converge(write(fleet, 4))

    assert set(traffic.failed) == {"no endpoint is ready"}
    measured["unready_s_of_one_replica"] = seconds
    measured["failed_requests_of_one_replica"] = len(traffic.failed)
