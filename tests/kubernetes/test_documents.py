"""docs/kubernetes.md, block by block, as a reader would follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from blocks import PAGE, blocks, followed
from manifests import AGENT, K8S, agent, containers, named, pod, workloads

from agent.settings import Settings

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
