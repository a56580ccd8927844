"""A Kubernetes API server on its etcd: whatever is written is kept, and nothing runs.

Enough for server-side dry runs and tokens, without root. `lab.cluster` adds a node.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import requests
import trustme

from lab import golang
from lab.kubectl import Kubectl
from lab.process import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = Path(__file__).parent / "kubernetes"
SERVICE_ADDRESS = "10.96.0.1"
"""The address of the Service `kubernetes`."""

_COMMANDS = "k8s.io/kubernetes/cmd"
_ETCD = "go.etcd.io/etcd/server/v3"
"""Go names the program after the folder: `server`."""
_NODE = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"]


def programs() -> Path:
    """Return the folder with the programs of a node: minutes the first time."""
    packages = [f"{_COMMANDS}/{name}" for name in (*_NODE, "kubectl")]
    # Without these flags it would call itself v0.0.0-master.
    text = (PARTS / "go.mod").read_text()
    whole, minor = re.findall(r"k8s.io/kubernetes (v1.(\d+).\d+)", text)[0]
    into = "k8s.io/component-base/version"
    flags = f"-X {into}.gitVersion={whole} -X {into}.gitMajor=1"
    return golang.built(
        PARTS,
        [*packages, _ETCD, "./pause"],
        name=f"kubernetes-1.{minor}",
        ldflags=f"-s -w {flags} -X {into}.gitMinor={minor}",
    )


class ApiServer(Kubectl):
    """An API server with RBAC that listens on `port` of `address`; `kubectl` is admin."""

    def __init__(self, *, address: str = "127.0.0.1") -> None:
        self.address = address
        self.programs = programs()
        name = type(self).__name__.lower()
        self.folder = Path(tempfile.mkdtemp(prefix=f"lab-{name}-"))
        self._users: list[str] = []
        self._stack = ExitStack()
        super().__init__(self.programs / "kubectl", self.folder / "admin.kubeconfig")

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        self.port = free_port()
        self._make_certificates()
        self._kubeconfig("admin", "admin", "system:masters")
        self._start_server()

    def _start_server(self) -> None:
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._run(
            str(self.programs / "server"),
            f"--data-dir={self.folder}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            ready=lambda: _healthy(f"{client}/health"),
        )
        key = f"{self.folder}/server.key"
        (self.folder / "tokens.csv").write_text("\n".join(self._users))
        self._run(
            str(self.programs / "kube-apiserver"),
            f"--etcd-servers={client}",
            "--bind-address=0.0.0.0",
            f"--secure-port={self.port}",
            f"--advertise-address={self.address}",
            f"--tls-cert-file={self.folder}/server.pem",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.folder}/ca.pem",
            f"--cert-dir={self.folder}",
            f"--token-auth-file={self.folder}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            # On by default from 1.36 on, there as v1.
            "--feature-gates=MutatingAdmissionPolicy=true",
            "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-certificate-authority={self.folder}/ca.pem",
            f"--kubelet-client-certificate={self.folder}/client.pem",
            f"--kubelet-client-key={self.folder}/client.key",
            ready=self._ready,
        )

    def _make_certificates(self) -> None:
        """One authority, a certificate for all that listen, one for the server as client."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(f"{self.folder}/ca.pem")
        names = ["127.0.0.1", self.address, SERVICE_ADDRESS, "kubernetes.default.svc"]
        server = authority.issue_cert(*dict.fromkeys(names))
        client = authority.issue_cert(
            "apiserver", common_name="apiserver", organization_name="system:masters"
        )
        for name, leaf in (("server", server), ("client", client)):
            leaf.private_key_pem.write_to_path(f"{self.folder}/{name}.key")
            leaf.cert_chain_pems[0].write_to_path(f"{self.folder}/{name}.pem")

    def _kubeconfig(self, name: str, user: str, group: str) -> Path:
        """Return a new kubeconfig of a user that the server will know."""
        token = secrets.token_hex()
        self._users.append(f'{token},{user},{user},"{group}"')
        cluster = {
            "server": f"https://127.0.0.1:{self.port}",
            "certificate-authority": f"{self.folder}/ca.pem",
        }
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "lab", "cluster": cluster}],
                    "users": [{"name": "lab", "user": {"token": token}}],
                    "contexts": [
                        {"name": "lab", "context": {"cluster": "lab", "user": "lab"}}
                    ],
                    "current-context": "lab",
                }
            )
        )
        return path

    def _run(
        self, *command: str, ready: Callable[[], bool] | None = None, within: float = 90
    ) -> Process:
        """Start a part of it; it is killed at the end, as it has nothing to save."""
        process = Process(command, ready=ready, within=within)
        self._stack.callback(process.__exit__)
        self._stack.callback(process.kill)
        return process.start()

    def _ready(self) -> bool:
        try:
            return self.kubectl("get", "--raw=/readyz") == "ok"
        except RuntimeError:
            return False


def _healthy(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False
