"""Pods that the Kubernetes API names, and the Role that lets a rotation ask for them."""

from __future__ import annotations

import json
import os
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from manifests import K8S
from servers import NAMESPACE, restricted

from agent.domain.summary import PodProcess, Summary, encode_summary
from agent.errors import SettingsError, SourceDenied, SourceDown
from agent.fleet import by_api
from agent.fleet.by_api import selected
from agent.fleet.open import ask_fleet
from agent.rotation.world import fleet_of
from agent.settings import load
from lab import kustomize
from lab.process import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.apiserver import ApiServer

# The server is built when a test is the first to need it.
pytestmark = [
    pytest.mark.process,
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("kubectl"),
]

ACCOUNT = "resentry-rotation"
LABELS = {"resentry": "sidecar"}


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    """The objects of k8s/rotation with its component by-api."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        top = os.path.relpath(K8S / "rotation", folder)
        (folder / "kustomization.yaml").write_text(
            f"resources: [{top}]\ncomponents: [{top}/by-api]\nnamespace: {NAMESPACE}\n"
        )
        return kustomize.build(folder)


@pytest.fixture(scope="module")
def server(objects: list[dict[str, Any]]) -> Iterator[ApiServer]:
    """An API server that holds these objects."""
    with restricted() as started:
        started.apply("\n---\n".join(map(json.dumps, objects)))
        yield started


@pytest.fixture
def as_rotation(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ask as the rotation's account does, with a token of its own."""
    token = server.kubectl("create", "token", ACCOUNT, f"-n{NAMESPACE}").strip()
    config = json.loads((server.folder / "admin.kubeconfig").read_text())
    config["users"][0]["user"] = {"token": token}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


@pytest.fixture
def make(server: ApiServer) -> Iterator[Callable[..., None]]:
    """Make pods; they are deleted at the end."""

    def pod(
        name: str, *, labels: dict[str, str], on_node: bool = True, **status: Any
    ) -> None:
        spec: dict[str, Any] = {
            "containers": [
                {
                    "name": "app",
                    "image": "app:1",
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "runAsNonRoot": True,
                        "capabilities": {"drop": ["ALL"]},
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                }
            ]
        }
        if on_node:
            spec["nodeName"] = "node"
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
        }
        server.apply(json.dumps(body), f"-n{NAMESPACE}")
        if status:
            patch = json.dumps({"status": status})
            ask = ("patch", "pod", name, f"-n{NAMESPACE}", "--subresource=status")
            server.kubectl(*ask, "--type=merge", "-p", patch)

    yield pod
    server.kubectl(
        "delete", "pod", "--all", "--force", "--grace-period=0", f"-n{NAMESPACE}"
    )


class _Agent(BaseHTTPRequestHandler):
    """Answers as an agent does, at any address of this machine."""

    def do_GET(self) -> None:
        process = PodProcess(
            role="api", pid=7, state="drained", runs="a" * 12, proves=True
        )
        body = encode_summary(
            Summary(agent="1", processes=(process,), is_complete=True)
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """The port at which an agent answers at every address of this machine."""
    agents = ThreadingHTTPServer(("127.0.0.1", free_port()), _Agent)
    Thread(target=agents.serve_forever, daemon=True).start()
    yield agents.server_port
    agents.shutdown()
    agents.server_close()


RUNNING = {"phase": "Running", "podIP": "127.0.0.1"}
AFTERWARDS = [
    {
        "name": "app",
        "state": {"running": {}},
        "ready": False,
        "restartCount": 0,
        "image": "app:1",
        "imageID": "",
    }
]


@pytest.mark.usefixtures("as_rotation")
def test_every_pod_that_may_run_a_process_is_asked(
    make: Callable[..., None], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that has no address counts as silent, and one that cannot run is left out."""
    monkeypatch.setattr(by_api, "AT_ONCE", 2)  # so the pods come in pages
    make("ready", labels=LABELS, **RUNNING)
    make("starts", labels=LABELS, phase="Pending")
    make("waits-for-a-node", labels=LABELS, on_node=False)
    make("over", labels=LABELS, phase="Succeeded", podIP="127.0.0.1")
    make(
        "lost",
        labels=LABELS,
        phase="Failed",
        podIP="127.0.0.1",
        containerStatuses=AFTERWARDS,
    )
    make("of-others", labels={"app": "database"}, **RUNNING)
    address = f"k8s://{NAMESPACE}:{port}?resentry=sidecar"
    settings = load({}, {"RESENTRY_FLEET": address}).settings

    answers = {each.pod.name: each for each in ask_fleet(settings)}
    assert {name: each.why for name, each in answers.items()} == {
        "ready": "",
        "starts": "has no address yet",
        "lost": "",
    }
    fleet = fleet_of([*answers.values()], "", 0)
    assert fleet.silent == ("starts",)
    assert [each.name for each in fleet.processes] == [
        "lost api pid 7",
        "ready api pid 7",
    ]


@pytest.mark.usefixtures("as_rotation")
def test_the_role_may_list_pods_and_nothing_else(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its own namespace; whoever asks for others is told which Role is missing."""
    as_it = f"--as=system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    said = server.kubectl("auth", "can-i", "--list", as_it, f"-n{NAMESPACE}")
    rows = [line.split() for line in said.splitlines()[1:]]
    mine = [row for row in rows if not row[0].startswith(("selfsubject", "["))]
    assert [(row[0], row[-1]) for row in mine] == [("pods", "[list]")], said
    with pytest.raises(SourceDenied, match=r"pods of kube-system \(403\)") as denied:
        selected("k8s://kube-system:1?a=b")
    assert "k8s/rotation/by-api" in denied.value.hint
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    with pytest.raises(SettingsError, match="no way to the Kubernetes API"):
        selected("k8s://shop:1?a=b")


def test_an_api_server_that_does_not_answer_is_asked_again(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fleet without pods."""
    config = json.loads((server.folder / "admin.kubeconfig").read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    with pytest.raises(SourceDown, match=r"does not answer \(ConnectError\)"):
        selected("k8s://shop:1?a=b")


def test_the_job_asks_the_api_with_the_image_that_can(
    objects: list[dict[str, Any]],
) -> None:
    """It has a token of the cluster, and the namespace stands in the address."""
    (job,) = (built for built in objects if built["kind"] == "CronJob")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    names = [each["name"] for each in container["env"]]
    (fleet,) = (each for each in container["env"] if each["name"] == "RESENTRY_FLEET")
    assert pod["automountServiceAccountToken"] is True
    assert container["image"].startswith("resentry-agent-tools:")
    assert names.index("NAMESPACE") < names.index("RESENTRY_FLEET")
    address = fleet["value"].replace("$(NAMESPACE)", NAMESPACE)
    assert address == f"k8s://{NAMESPACE}:19465?resentry=sidecar"
