"""The files of docs/kubernetes.md, as a reader would follow it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml
from manifests import K8S, REPOSITORY, pod

from lab import kustomize

if TYPE_CHECKING:
    from pathlib import Path

PAGE = REPOSITORY / "docs" / "kubernetes.md"
_BLOCK = re.compile(
    r"^( *)```(?:yaml|sh)\n *# (\S+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL
)

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
    """Return each block that begins with a file's name."""
    found = {}
    for margin, name, text in _BLOCK.findall(PAGE.read_text()):
        found[name] = "".join(
            line.removeprefix(margin) for line in text.splitlines(keepends=True)
        )
    return found


def followed(folder: Path, variant: str = "") -> list[dict[str, Any]]:
    """Return what the five minutes' files make of the Deployment.

    `variant` is a block that changes parts of the kustomization.
    """
    folder.mkdir(exist_ok=True)
    (folder / "k8s").symlink_to(K8S)
    texts = blocks()
    for name in ("api.yaml", "agent.yaml"):
        (folder / name).write_text(texts[name])
    kustomization = yaml.safe_load(texts["kustomization.yaml"])
    if variant:
        wanted = yaml.safe_load(texts[variant])
        made = {one["name"]: one for one in kustomization["configMapGenerator"]}
        made |= {one["name"]: one for one in wanted["configMapGenerator"]}
        kustomization |= wanted | {"configMapGenerator": list(made.values())}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    deployment = yaml.safe_load(DEPLOYMENT)
    opt_in = yaml.safe_load(texts["deployment.yaml"])
    deployment["metadata"] |= opt_in["metadata"]
    pod(deployment).update(opt_in["spec"]["template"]["spec"])
    (folder / "deployment.yaml").write_text(yaml.safe_dump(deployment))
    (folder / "ca.pem").write_text("an authority")
    return kustomize.build(folder)
