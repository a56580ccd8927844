"""k8s/bridge on the node: its store outlives the pod, and Alertmanager's memory."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab import alertmanager
from lab import bridge as sentry
from lab.alertmanager import Alertmanager, names
from lab.cluster import NODE, Cluster
from lab.fleet import PATIENCE
from lab.overlay import image_as
from lab.paths import REPOSITORY
from lab.process import eventually
from lab.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests
    from conftest import Place

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]

FOLDER = REPOSITORY / "k8s" / "bridge"
CONFIG = {"route": {"receiver": "none"}, "receivers": [{"name": "none"}]}
WEBHOOKS_PORT = 19466


class Deployed:
    """The shipped bridge in a namespace that enforces "restricted"."""

    def __init__(self, place: Place, namespace: str) -> None:
        self._place, self._namespace = place, namespace

    def kubectl(self, *args: str) -> str:
        return self._place.cluster.kubectl(f"-n{self._namespace}", *args)

    def apply(self, canary: str, **settings: str) -> None:
        """Apply k8s/bridge, and return once the pod is ready."""
        given = {"client-secret": sentry.SECRET, "canary-dsn": canary}
        literals = [f"--from-literal={key}={text}" for key, text in given.items()]
        self.kubectl("create", "secret", "generic", "resentry-bridge", *literals)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve()
            built = {
                "namespace": self._namespace,
                "resources": [os.path.relpath(FOLDER, folder)],
                "images": [image_as("resentry-agent-tools", self._place.tools)],
                "configMapGenerator": [
                    {
                        "name": "resentry-bridge",
                        "behavior": "merge",
                        "literals": [f"{key}={text}" for key, text in settings.items()],
                    }
                ],
            }
            (folder / "kustomization.yaml").write_text(json.dumps(built))
            self._place.cluster.apply(self.kubectl("kustomize", str(folder)))
        self.await_ready()

    def await_ready(self) -> None:
        within = f"--timeout={PATIENCE:g}s"
        self.kubectl("rollout", "status", "deployment/resentry-bridge", within)

    def pod(self) -> dict[str, Any]:
        """Return the one pod that is not about to end."""
        get = ("get", "pods", "-l", "resentry=bridge", "-o", "json")
        (pod,) = (
            pod
            for pod in json.loads(self.kubectl(*get))["items"]
            if "deletionTimestamp" not in pod["metadata"]
        )
        return dict(pod)

    def send(self, resource: str, payload: dict[str, Any]) -> requests.Response:
        """Send a webhook as Sentry does, to the pod that there is."""
        pod = self.pod()
        name, address = pod["metadata"]["name"], pod["status"]["podIP"]
        url = self._place.cluster.url(self._namespace, name, address, WEBHOOKS_PORT)
        return sentry.send(f"{url}/sentry", resource, payload)


@pytest.fixture
def deployed(place: Place, namespace: str, tmp_path: Path) -> Iterator[Deployed]:
    kubectl = place.cluster.kubectl
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    kubectl("label", "namespace", namespace, restricted)
    if isinstance(place.cluster, Cluster):  # yours makes volumes by itself
        place.cluster.apply(json.dumps(volume(namespace, tmp_path)))
    yield Deployed(place, namespace)
    # It goes once its claim has gone with the namespace.
    unused = ("delete", "persistentvolume", namespace, "--ignore-not-found")
    kubectl(*unused, "--wait=false")


def volume(namespace: str, folder: Path) -> dict[str, Any]:
    """Return a volume for the claim of k8s/bridge: a folder of this machine."""
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": namespace, "name": "resentry-bridge"},
            "local": {"path": str(folder)},
            "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}
            },
        },
    }


def test_an_alert_outlives_the_pod_and_alertmanagers_memory(
    place: Place, deployed: Deployed, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The next pod finds it on the volume, and tells an Alertmanager that has forgotten."""
    if why := alertmanager.missing():
        pytest.fail(why)
    if not place.tools:
        pytest.skip("RESENTRY_TEST_TOOLS_IMAGE names no image for your cluster")
    folder = tmp_path_factory.mktemp("alertmanager")
    with (
        Sink(host=place.host) as sink,
        Alertmanager(folder, CONFIG, host=place.host) as manager,
    ):
        deployed.apply(
            sink.dsn(1),
            RESENTRY_ENVIRONMENT="cluster",  # there, a DSN need not be https
            RESENTRY_BRIDGE_ALERTMANAGERS=manager.address,
            RESENTRY_BRIDGE_RESEND_SECONDS="1",
        )
        eventually(sink.events, PATIENCE, "a canary")
        first = deployed.pod()["metadata"]["name"]
        assert deployed.send("event_alert", sentry.event_alert()).status_code == 202
        eventually(lambda: names(manager.alerts()) == ["SentryIssue"], PATIENCE)

        deployed.kubectl("delete", f"pod/{first}")
        deployed.await_ready()
        assert deployed.pod()["metadata"]["name"] != first
        manager.kill()
        manager.start()
        eventually(lambda: names(manager.alerts()) == ["SentryIssue"], PATIENCE)

        assert deployed.send("issue", sentry.issue()).text == "closed\n"
        eventually(lambda: not manager.alerts(), PATIENCE, "its end")
        (container,) = deployed.pod()["status"]["containerStatuses"]
        if container["restartCount"]:
            pytest.fail(
                deployed.kubectl("logs", "deploy/resentry-bridge", "--previous")
            )
