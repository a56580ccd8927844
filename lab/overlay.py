"""The manifests of `lab.fleet`: an overlay of k8s/, fitted to the servers of a test."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from lab.container import AGENT
from lab.paths import REPOSITORY

if TYPE_CHECKING:
    from lab.kubectl import Kubectl

OVERLAYS = REPOSITORY / "k8s" / "overlays"
COMPONENTS = OVERLAYS.parent / "components"
CONTAINERS = {"api": "api", "celery": "worker"}

Manifest = dict[str, Any]

# Long enough for whoever wants to look at the agent beside it.
_WORK = """
import resentry, sentry_sdk, time
resentry.init(role="job")
print(sentry_sdk.capture_message("migrated"), flush=True)
time.sleep(4)
"""


ENVIRONMENT = "cluster"
"""Of the applications and their agents: there, a DSN need not be https."""


class Fitting(NamedTuple):
    """What an overlay does not know."""

    overlay: str
    namespace: str
    agent_image: str
    example_image: str
    broker: str
    vault: str
    ca: str
    """The certificate, as text, that Vault's is checked against."""
    poll_seconds: int


def render(kubectl: Kubectl, fitting: Fitting, pods: int) -> list[Manifest]:
    """Return every manifest: the overlay's, and a Job of so many pods with the agent."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job").mkdir()
        _write(folder / "job" / "job.yaml", _job(pods))
        # A Job is none of the overlay's, and gets what the overlay's workloads got.
        shared = ["shared-pids"] if fitting.overlay == "shared-pids" else []
        components = [COMPONENTS / name for name in ("sidecar", *shared)]
        job = {
            "resources": ["job.yaml"],
            "components": [_relative(path, folder / "job") for path in components],
        }
        _write(folder / "job" / "kustomization.yaml", job)
        _write(folder / "kustomization.yaml", _kustomization(fitting, folder))
        text = kubectl.kubectl("kustomize", name)
    return list(yaml.safe_load_all(text))


def _kustomization(fitting: Fitting, folder: Path) -> Manifest:
    settings = {
        "RESENTRY_VAULT_ADDR": fitting.vault,
        "RESENTRY_POLL_SECONDS": fitting.poll_seconds,
        "RESENTRY_ENVIRONMENT": ENVIRONMENT,
    }
    return {
        "namespace": fitting.namespace,
        "resources": [_relative(OVERLAYS / fitting.overlay, folder), "job"],
        "components": [_relative(COMPONENTS / "authority", folder)],
        "images": [
            image_as("resentry-agent", fitting.agent_image),
            image_as("lms", fitting.example_image),
        ],
        "configMapGenerator": [
            {
                "name": "resentry",
                "behavior": "merge",
                "literals": [f"{key}={value}" for key, value in settings.items()],
            },
            {"name": "resentry-authority", "literals": [f"ca.pem={fitting.ca}"]},
        ],
        "patches": [
            {"patch": json.dumps(_application(app, fitting))} for app in CONTAINERS
        ]
        + [
            # What is measured is measured at the least that anyone will give it.
            {"patch": json.dumps(_at_100m()), "target": {"kind": "Job"}},
        ],
    }


def _application(app: str, fitting: Fitting) -> Manifest:
    container = {
        "name": CONTAINERS[app],
        "env": [
            {"name": "BROKER_URL", "value": fitting.broker},
            {"name": "ENVIRONMENT", "value": ENVIRONMENT},
        ],
        # Whoever has read the endpoints just before the pod's end may still come.
        "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def _at_100m() -> Manifest:
    limits = {"limits": {"cpu": "100m"}}
    return _any({"initContainers": [{"name": AGENT, "resources": limits}]})


def _any(spec: Manifest) -> Manifest:
    """Return a patch that says itself what it is for."""
    template = {"template": {"spec": spec}}
    return {"kind": "any", "metadata": {"name": "any"}, "spec": template}


def _job(pods: int) -> Manifest:
    mounts = {"resentry": "/var/run/resentry", "resentry-receipts": "/var/run/receipts"}
    container = {
        "name": "job",
        "image": "lms",
        "command": ["python", "-c", _WORK],
        "env": [
            {"name": "RESENTRY_DIR", "value": mounts["resentry"]},
            {"name": "RESENTRY_RECEIPTS", "value": "/var/run/receipts/all"},
        ],
        "volumeMounts": [
            {"name": name, "mountPath": path} for name, path in mounts.items()
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": "resentry",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job", "labels": {"resentry": "sidecar"}},
        "spec": {
            "completions": pods,
            "backoffLimit": 0,
            "template": {"metadata": {"labels": {"app": "job"}}, "spec": pod},
        },
    }


def image_as(name: str, wanted: str) -> Manifest:
    """Return kustomize's words for an image with tag or digest, with a registry or not."""
    path, at, digest = wanted.partition("@")
    if at:
        return {"name": name, "newName": path, "digest": digest}
    head, slash, tail = wanted.rpartition("/")
    last, _, tag = tail.partition(":")
    return {"name": name, "newName": f"{head}{slash}{last}", "newTag": tag or "latest"}


def _relative(path: Path, folder: Path) -> str:
    # Kustomize takes no absolute path.
    return os.path.relpath(path, folder.resolve())


def _write(path: Path, content: Manifest) -> None:
    path.write_text(json.dumps(content))
