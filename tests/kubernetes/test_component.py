"""What the component does to somebody else's workloads, and what it leaves alone."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from manifests import (
    AGENT,
    K8S,
    WITH_AGENT,
    agent,
    containers,
    named,
    overlay,
    pod,
    workloads,
)

from agent.settings import Settings
from bench.agent import GATES
from lab import kustomize

if TYPE_CHECKING:
    from pathlib import Path

    from manifests import Object

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("kubectl")]

LOGGING_IN = {
    "before-1.29": [AGENT],
    "kubernetes": [AGENT],
    "shared-pids": [AGENT],
    "tuning": [AGENT],
    "vault-proxy": ["vault-proxy"],
}
AUTHORITY = "resentry-authority"
OWNERS = {"fsGroup": 2000, "runAsUser": 1000}


def owned(kind: str, name: str, **labels: str) -> Object:
    """Return a workload as its owner wrote it."""
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "serviceAccountName": "owners",
                    "securityContext": OWNERS,
                    "initContainers": [{"name": "migrate", "image": "app"}],
                    "containers": [{"name": "app", "image": "app"}],
                    "volumes": [{"name": "owners", "emptyDir": {}}],
                },
            }
        },
    }


def with_components(folder: Path, objects: list[Object], *components: str) -> list[Any]:
    """Return the objects after a kustomization with these components."""
    top = os.path.relpath(K8S / "components", folder.resolve())
    (folder / "objects.json").write_text(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    )
    wanted = {
        "resources": ["objects.json"],
        "components": [f"{top}/{name}" for name in components],
        "configMapGenerator": [{"name": "resentry", "literals": ["A=b"]}],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(wanted))
    return workloads(kustomize.build(folder))


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "Job"])
def test_a_labelled_workload_gets_the_agent_before_its_migrations(
    tmp_path: Path, kind: str
) -> None:
    """It is a native sidecar and the first of the init containers."""
    (made,) = with_components(
        tmp_path, [owned(kind, "app", resentry="sidecar")], "sidecar"
    )

    assert [one["name"] for one in pod(made)["initContainers"]] == [AGENT, "migrate"]
    assert agent(made)["restartPolicy"] == "Always"


def test_what_is_the_owners_stays(tmp_path: Path) -> None:
    """Service account, securityContext, containers and volumes are as before."""
    before = owned("Deployment", "app", resentry="sidecar")
    (made,) = with_components(tmp_path, [before], "sidecar")

    spec, was = pod(made), pod(before)
    for kept in ("serviceAccountName", "securityContext", "containers"):
        assert was[kept] == spec[kept]
    assert was["volumes"][0] in spec["volumes"]
    assert was["initContainers"][0] in spec["initContainers"]


def test_a_workload_without_the_label_is_left_alone(tmp_path: Path) -> None:
    """Only who opts in gets the agent."""
    before = owned("Deployment", "other", app="other")

    assert with_components(tmp_path, [before], "sidecar") == [before]


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("batch/v1", "CronJob"),
        ("argoproj.io/v1alpha1", "Rollout"),
        ("serving.knative.dev/v1", "Service"),
        ("v1", "Service"),
    ],
)
def test_a_label_on_another_kind_fails_the_build(
    tmp_path: Path, version: str, kind: str
) -> None:
    """Nothing that asks for the agent is left without it in silence."""
    other = owned("Deployment", "app", resentry="sidecar")
    other |= {"apiVersion": version, "kind": kind}

    with pytest.raises(RuntimeError, match="initContainers/0/name"):
        with_components(tmp_path, [other], "sidecar")


def test_the_pods_have_the_label_too(tmp_path: Path) -> None:
    """One selector finds them; the owner's labels and selector stay."""
    objects = [owned("Deployment", "app", resentry="sidecar")]
    (made,) = with_components(tmp_path, objects, "sidecar")

    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels == {"app": "app", "resentry": "sidecar"}
    assert made["spec"].get("selector") == objects[0]["spec"].get("selector")


def test_shared_defaults_are_optional_and_come_first(tmp_path: Path) -> None:
    """The kubelet lets the last of two ConfigMaps win, and needs only the second."""
    objects = [owned("Deployment", "app", resentry="sidecar")]
    (made,) = with_components(tmp_path, objects, "sidecar")

    defaults, own = (one["configMapRef"] for one in agent(made)["envFrom"])
    assert defaults == {"name": "resentry-defaults", "optional": True}
    assert own["name"].startswith("resentry-")
    assert "optional" not in own


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_the_agent_alone_gets_the_authority(tmp_path: Path, kind: str) -> None:
    """One ConfigMap, mounted where the setting says."""
    objects = [owned(kind, "app", resentry="sidecar")]
    (made,) = with_components(tmp_path, objects, "sidecar", "authority")

    (mount,) = (m for m in agent(made)["volumeMounts"] if m["name"] == AUTHORITY)
    environ = {one["name"]: one.get("value") for one in agent(made)["env"]}
    assert environ["RESENTRY_VAULT_CA"] == f"{mount['mountPath']}/ca.pem"
    assert mount["readOnly"] is True
    assert named(pod(made)["volumes"], AUTHORITY)["configMap"] == {"name": AUTHORITY}
    assert pod(made)["containers"] == pod(objects[0])["containers"]


@pytest.mark.parametrize("name", ["authority", "tuning"])
def test_what_changes_the_agent_comes_before_its_move(
    tmp_path: Path, name: str
) -> None:
    """In another order the agent would lack the mount, and the build fails."""
    objects = [owned("Deployment", "app", resentry="sidecar")]
    parts = "sidecar", "authority", "tuning", "before-1.29"
    (made,) = with_components(tmp_path, objects, *parts)
    mounts = {one["name"] for one in agent(made)["volumeMounts"]}
    assert {AUTHORITY, "resentry-tuning"} <= mounts
    assert [one["name"] for one in pod(made)["initContainers"]] == ["migrate"]

    for wrong in (("sidecar", "before-1.29", name), (name, "sidecar")):
        with pytest.raises(RuntimeError, match="initContainers/0/name"):
            with_components(tmp_path, objects, *wrong)


@pytest.mark.parametrize("name", WITH_AGENT)
def test_the_first_probe_waits_and_the_start_has_a_share(name: str) -> None:
    """No event "Startup probe failed" at each start; neighbours cannot starve it."""
    for workload in workloads(overlay(name)):
        assert agent(workload)["startupProbe"]["initialDelaySeconds"] == 1
        assert agent(workload)["resources"] == {
            "requests": {"cpu": "50m", "memory": "48Mi"},
            "limits": {"memory": "128Mi"},
        }


def test_before_1_29_the_agent_is_the_same_ordinary_container(tmp_path: Path) -> None:
    """Nothing but its place and its restartPolicy differs."""
    objects = [owned("Deployment", "app", resentry="sidecar")]
    (new,) = with_components(tmp_path, objects, "sidecar")
    (old,) = with_components(tmp_path, objects, "sidecar", "before-1.29")

    assert AGENT not in {one["name"] for one in pod(old)["initContainers"]}
    native = {k: v for k, v in agent(new).items() if k != "restartPolicy"}
    assert native == named(pod(old)["containers"], AGENT)


def test_pids_are_shared_by_the_variant_alone(tmp_path: Path) -> None:
    """They are not by default."""
    objects = [owned("Deployment", "app", resentry="sidecar")]
    (plain,) = with_components(tmp_path, objects, "sidecar")
    (shared,) = with_components(tmp_path, objects, "sidecar", "shared-pids")

    assert "shareProcessNamespace" not in pod(plain)
    assert pod(shared)["shareProcessNamespace"] is True


@pytest.mark.parametrize("name", WITH_AGENT)
def test_the_startup_probe_outlasts_the_agents_own_wait(name: str) -> None:
    """Else a pod without Vault would never start."""
    objects = overlay(name)
    configured = next(one for one in objects if one["kind"] == "ConfigMap")["data"]
    wait = float(configured.get("RESENTRY_STARTUP_SECONDS", Settings().startup_seconds))
    for workload in workloads(objects):
        probe = agent(workload)["startupProbe"]

        assert probe["failureThreshold"] * probe["periodSeconds"] > wait + 10
        assert probe["httpGet"] == {"path": "/startupz", "port": "resentry"}


@pytest.mark.parametrize("name", WITH_AGENT)
def test_a_pod_is_never_unready_because_of_the_agent(name: str) -> None:
    """It has a liveness probe and no readiness probe."""
    for workload in workloads(overlay(name)):
        assert agent(workload)["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert "readinessProbe" not in agent(workload)


@pytest.mark.parametrize("name", WITH_AGENT)
def test_each_container_mounts_only_its_own(name: str) -> None:
    """The application has the settings read-only and the receipts, and no more."""
    for workload in workloads(overlay(name)):
        (app,) = (one for one in pod(workload)["containers"] if one["name"] != AGENT)
        mounts = {
            one["name"]: one.get("readOnly", False) for one in app["volumeMounts"]
        }

        assert mounts == {"resentry": True, "resentry-receipts": False}


@pytest.mark.parametrize("name", WITH_AGENT)
def test_what_is_shared_is_in_memory_and_limited(name: str) -> None:
    """A writer can use up neither the node's disk nor, with the agent, its limit."""
    for workload in workloads(overlay(name)):
        limit = _mebibytes(agent(workload)["resources"]["limits"]["memory"])
        folders = [one for one in pod(workload)["volumes"] if "emptyDir" in one]
        sizes = {
            one["name"]: _mebibytes(one["emptyDir"]["sizeLimit"]) for one in folders
        }

        assert {"Memory"} == {one["emptyDir"]["medium"] for one in folders}
        # The settings are written by the agent, so they are its memory.
        assert GATES["rss_mb"] * 10**6 / 2**20 + sizes["resentry"] < limit


@pytest.mark.parametrize("name", WITH_AGENT)
def test_the_application_and_the_agent_name_the_same_folders(name: str) -> None:
    """Where the application gives its receipts the agent reads them."""
    for workload in workloads(overlay(name)):
        for one in pod(workload)["containers"]:
            if one["name"] != AGENT:
                environ = {e["name"]: e.get("value") for e in one["env"]}
                receipts = {e["name"]: e.get("value") for e in agent(workload)["env"]}

                assert environ["RESENTRY_DIR"] == Settings().dir
                assert environ["RESENTRY_RECEIPTS"] == receipts["RESENTRY_RECEIPTS"]


@pytest.mark.parametrize("name", WITH_AGENT)
def test_the_token_is_for_vault_and_for_who_logs_in(name: str) -> None:
    """It has an audience, and one container mounts it; where none logs in, none does."""
    objects = overlay(name)
    account = named((one | one["metadata"] for one in objects), "resentry")
    assert account["automountServiceAccountToken"] is False
    for workload in workloads(objects):
        tokens = [one for one in pod(workload)["volumes"] if "projected" in one]
        mounting = [
            container["name"]
            for container in containers(workload)
            for mount in container["volumeMounts"]
            if mount["name"] in {one["name"] for one in tokens}
        ]

        assert mounting == LOGGING_IN.get(name, [])
        assert len(tokens) == len(mounting)
        for token in tokens:
            (source,) = token["projected"]["sources"]
            assert source["serviceAccountToken"]["audience"] == "vault"


@pytest.mark.parametrize("name", ["kubernetes/api.yaml", "kubernetes/celery.yaml"])
def test_the_owners_patch_is_at_most_12_lines(name: str) -> None:
    """Two mounts, two variables, and the container's name."""
    assert len((K8S / "overlays" / name).read_text().splitlines()) <= 12


def _mebibytes(quantity: str) -> float:
    found = re.fullmatch(r"(\d+)Mi", quantity)
    assert found, quantity
    return float(found[1])
