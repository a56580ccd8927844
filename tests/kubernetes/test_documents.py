"""docs/kubernetes.md, block by block, as a reader would follow it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from manifests import AGENT, K8S, REPOSITORY, agent, containers, named, pod, workloads

from agent.settings import Settings
from lab import kustomize

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("kubectl")

PAGE = REPOSITORY / "docs" / "kubernetes.md"
_BLOCK = re.compile(r"^( *)```yaml\n *# (\S+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

# Whatever Deployment a reader may have.
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      securityContext:
        {runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
      initContainers:
      - name: migrate
        image: api
        securityContext: &tight {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      containers:
      - {name: api, image: api, securityContext: *tight}
"""


def blocks() -> dict[str, str]:
    """Return the YAML of each block that begins with a file's name."""
    found = {}
    for margin, name, text in _BLOCK.findall(PAGE.read_text()):
        found[name] = "".join(
            line.removeprefix(margin) for line in text.splitlines(keepends=True)
        )
    return found


def followed(folder: Path) -> list[dict[str, Any]]:
    """Return what the five minutes' files make of the Deployment."""
    (folder / "k8s").symlink_to(K8S)
    texts = blocks()
    for name in ("api.yaml", "kustomization.yaml"):
        (folder / name).write_text(texts[name])
    deployment = yaml.safe_load(DEPLOYMENT)
    opt_in = yaml.safe_load(texts["deployment.yaml"])
    deployment["metadata"] |= opt_in["metadata"]
    pod(deployment).update(opt_in["spec"]["template"]["spec"])
    (folder / "deployment.yaml").write_text(yaml.safe_dump(deployment))
    return kustomize.build(folder)


def test_the_five_minutes_add_the_agent(tmp_path: Path) -> None:
    """The Deployment has the agent first, with its settings and its image."""
    (made,) = workloads(followed(tmp_path))

    assert [one["name"] for one in containers(made)] == [AGENT, "migrate", "api"]
    assert agent(made)["image"] == "registry.example.com/resentry-agent:0.1.0"
    assert agent(made)["envFrom"][0]["configMapRef"]["name"].startswith("resentry-")
    assert pod(made)["serviceAccountName"] == "resentry"
    app = named(containers(made), "api")
    assert {"resentry", "resentry-receipts"} == {m["name"] for m in app["volumeMounts"]}


def test_the_patch_is_the_one_that_the_overlays_use() -> None:
    """To the letter."""
    used = (K8S / "overlays" / "kubernetes" / "api.yaml").read_text()
    assert blocks()["api.yaml"] == used


def test_the_yaml_to_paste_is_the_components() -> None:
    """Whoever uses no kustomize gets the same container and volumes."""
    component = yaml.safe_load(
        (K8S / "components" / "sidecar" / "agent.yaml").read_text()
    )

    assert yaml.safe_load(blocks()["pod.yaml"]) == pod(component)


def test_numbers_and_names_are_those_of_the_manifests() -> None:
    """Each overlay and component is in the page, and the waits are as set."""
    page = PAGE.read_text()
    assert f"`RESENTRY_STARTUP_SECONDS` ({Settings().startup_seconds:.0f})" in page
    for folder in [*(K8S / "overlays").iterdir(), *(K8S / "components").iterdir()]:
        assert folder.name in page
