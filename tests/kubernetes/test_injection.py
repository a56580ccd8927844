"""k8s/injection: the API server adds the agent to pods, as the component does to workloads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from blocks import DEPLOYMENT, followed
from manifests import AGENT, K8S, containers, pod, workloads
from servers import NAMESPACE, restricted

from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from manifests import Object

    from lab.apiserver import ApiServer

pytestmark = [
    pytest.mark.process,
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("kubectl"),
]

LABEL = {"resentry": "sidecar"}


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """An API server with the policy in force."""
    with restricted() as started:
        text = (K8S / "injection" / "policy.yaml").read_text()
        # Of 1.36 and newer. This server's is the same, and older.
        started.apply(text.replace("k8s.io/v1\n", "k8s.io/v1beta1\n"))
        eventually(
            lambda: AGENT in names(admitted(started, plain(), LABEL)),
            30,
            "the policy is in force",
        )
        yield started


def plain() -> Object:
    """Return the spec of the documents' Deployment, as its owner wrote it."""
    return pod(yaml.safe_load(DEPLOYMENT)) | {"serviceAccountName": "resentry"}


def admitted(server: ApiServer, spec: Object, labels: dict[str, str]) -> Object:
    """Return the spec of a pod as the server would keep it."""
    wanted = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "api", "labels": labels},
        "spec": spec,
    }
    said = server.kubectl(
        *("create", "--dry-run=server", "-f", "-", "-o", "json", f"-n{NAMESPACE}"),
        text=json.dumps(wanted),
    )
    found: Object = json.loads(said)["spec"]
    return found


def names(spec: Object) -> list[str]:
    return [one["name"] for one in spec.get("initContainers", [])]


def by_name(spec: Object, folder: Path) -> Object:
    """Return what can be compared: the order of lists with names says nothing."""
    (workload,) = workloads(followed(folder))
    (agent,) = (one for one in containers(workload) if one["name"] == AGENT)
    text = json.dumps(spec)
    text = text.replace(agent["envFrom"][1]["configMapRef"]["name"], "resentry")
    found: Object = json.loads(text.replace(agent["image"], "resentry-agent:0.1.0"))
    found["volumes"].sort(key=lambda one: one["name"])
    for container in found["containers"]:
        container["env"].sort(key=lambda one: one["name"])
        container["volumeMounts"].sort(key=lambda one: one["name"])
    return found


def test_a_labelled_pod_becomes_what_the_component_makes(
    server: ApiServer, tmp_path: Path
) -> None:
    """The same init containers in the same order, the same mounts and volumes."""
    (workload,) = workloads(followed(tmp_path / "a"))
    expected = admitted(server, pod(workload), {})
    injected = admitted(server, plain(), LABEL)

    assert names(injected) == [AGENT, "migrate"]
    assert by_name(injected, tmp_path / "b") == by_name(expected, tmp_path / "c")


def test_a_pod_without_init_containers_gets_the_agent(server: ApiServer) -> None:
    """There is no list to put it in front of."""
    spec = {key: value for key, value in plain().items() if key != "initContainers"}

    assert names(admitted(server, spec, LABEL)) == [AGENT]


def test_a_pod_that_has_the_agent_gets_no_second_one(
    server: ApiServer, tmp_path: Path
) -> None:
    """The component labels its pods, too."""
    (workload,) = workloads(followed(tmp_path))

    found = admitted(server, pod(workload), LABEL)
    assert names(found).count(AGENT) == 1
    assert names(found) == names(admitted(server, pod(workload), {}))


@pytest.mark.parametrize("labels", [{}, {"resentry": "none"}])
def test_other_pods_are_left_alone(server: ApiServer, labels: dict[str, Any]) -> None:
    """Only who opts in gets the agent."""
    assert names(admitted(server, plain(), labels)) == ["migrate"]
