"""The Job of k8s/rotation with by-api asks the cluster's own API for the pods."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.fleet import PATIENCE
from lab.overlay import image_as
from lab.paths import REPOSITORY
from lab.process import eventually

if TYPE_CHECKING:
    from conftest import Place

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]

FOLDER = REPOSITORY / "k8s" / "rotation"


def deploy(place: Place, namespace: str) -> None:
    """Apply the shipped objects; the Job asks the fleet, and rotates nothing."""
    command = {"name": "rotation", "args": ["fleet", "--json"]}
    spec = {"template": {"spec": {"containers": [command]}}, "backoffLimit": 0}
    patch = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "resentry-rotation"},
        "spec": {"suspend": True, "jobTemplate": {"spec": spec}},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        top = os.path.relpath(FOLDER, folder)
        built = {
            "namespace": namespace,
            "resources": [top],
            "components": [f"{top}/by-api"],
            "images": [image_as("resentry-agent-tools", place.tools)],
            "patches": [{"patch": json.dumps(patch)}],
        }
        (folder / "kustomization.yaml").write_text(json.dumps(built))
        place.cluster.apply(place.cluster.kubectl("kustomize", str(folder)))
    secret = (
        "create",
        "secret",
        "generic",
        "resentry-rotation",
        "--from-literal=token=t",
    )
    place.cluster.kubectl(*secret, f"-n{namespace}")


def add_pod(place: Place, namespace: str, name: str, image: str) -> None:
    """Add a pod of the label that has no agent; nobody may leave it out."""
    container: dict[str, Any] = {
        "name": "mute",
        "image": image,
        "command": ["python", "-c", "import time; time.sleep(3600)"],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"resentry": "sidecar"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }
    place.cluster.apply(json.dumps(pod), f"-n{namespace}")


def test_the_job_names_pods_by_the_api_of_its_own_cluster(
    place: Place, namespace: str
) -> None:
    """By the token of its account: a pod without an agent, and one that cannot start."""
    if not place.tools:
        pytest.skip("RESENTRY_TEST_TOOLS_IMAGE names no image for your cluster")
    deploy(place, namespace)
    add_pod(place, namespace, "mute", place.tools)
    add_pod(place, namespace, "starts", "localhost/there-is-none:1")

    def state(name: str) -> dict[str, Any]:
        found = place.cluster.get("-n", namespace, "pod", name)
        return dict(found["status"])

    eventually(lambda: state("mute").get("phase") == "Running", PATIENCE, "a pod")
    eventually(lambda: state("starts").get("podIP"), PATIENCE, "a pod that waits")
    job = ("create", "job", "ask", "--from=cronjob/resentry-rotation")
    place.cluster.kubectl(*job, f"-n{namespace}")
    wait = ("wait", "--for=condition=failed", "job/ask", f"--timeout={PATIENCE:g}s")
    place.cluster.kubectl(*wait, f"-n{namespace}")
    said = place.cluster.kubectl("logs", "job/ask", f"-n{namespace}")
    answer = json.loads(said[said.index("{") :])
    assert answer["error"]["code"] == "NotConfirmed", said
    told = {pod["name"]: pod["error"] for pod in answer["result"]["pods"]}
    assert told == {"mute": "Connection refused", "starts": "Connection refused"}
