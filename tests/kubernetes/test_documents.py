"""docs/kubernetes.md, block by block, as a reader would follow it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from blocks import DEPLOYMENT, PAGE, blocks, followed
from manifests import AGENT, K8S, agent, containers, named, pod, workloads

from agent.settings import Settings, load
from lab import kustomize

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("kubectl")]


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


def test_the_authority_is_one_component_more(tmp_path: Path) -> None:
    """The ConfigMap of the certificate is the one that the agent mounts."""
    objects = followed(tmp_path, "authority.yaml")
    (made,) = workloads(objects)

    volume = named(pod(made)["volumes"], "resentry-authority")
    maps = {
        one["metadata"]["name"]: one["data"]
        for one in objects
        if one["kind"] == "ConfigMap"
    }
    assert maps[volume["configMap"]["name"]] == {"ca.pem": "an authority"}


def test_a_mounted_secret_needs_no_vault(tmp_path: Path) -> None:
    """The agent mounts the Secret, and has no token."""
    objects = followed(tmp_path, "mounted.yaml")
    (made,) = workloads(objects)

    mounts = {one["name"]: one["mountPath"] for one in agent(made)["volumeMounts"]}
    (settings,) = (one["data"] for one in objects if one["kind"] == "ConfigMap")
    assert mounts["sentry"] == settings["RESENTRY_SOURCE_PATH"]
    assert "resentry-token" not in mounts
    used = (K8S / "overlays" / "mounted-secret" / "agent.yaml").read_text()
    assert blocks()["agent.yaml"] == used


def test_the_shared_defaults_are_settings() -> None:
    """The ConfigMap has the name that the component knows, and no unknown key."""
    found = yaml.safe_load(blocks()["defaults.yaml"])
    assert found["metadata"]["name"] == "resentry-defaults"
    assert not load({}, found["data"]).warnings


def test_helms_output_gets_the_agent(tmp_path: Path) -> None:
    """What a chart prints goes through the script, and comes out with label and agent."""
    followed(tmp_path)
    texts = blocks()
    (tmp_path / "opt-in").mkdir()
    for name in ("post-render.sh", "opt-in/kustomization.yaml"):
        (tmp_path / name).write_text(texts[name])
    kustomization = yaml.safe_load(texts["kustomization.yaml"])
    kustomization["components"] = ["opt-in", *kustomization["components"]]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))

    done = subprocess.run(
        ["sh", str(tmp_path / "post-render.sh")],
        input=DEPLOYMENT,
        env={"PATH": f"{kustomize.kubectl().parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (made,) = workloads(yaml.safe_load_all(done.stdout))
    assert agent(made)["restartPolicy"] == "Always"
    assert pod(made)["serviceAccountName"] == "resentry"


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
