"""The product at work in a Kubernetes cluster, and its servers beside it.

The servers are processes on this side, at `host`, where the cluster's pods reach them.
"""

from __future__ import annotations

import base64
import json
import random
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import requests

from lab.overlay import Fitting, render
from lab.paths import REPOSITORY
from lab.process import Process, eventually
from lab.sink import Sink
from lab.traffic import Traffic
from lab.valkey import Valkey
from lab.vault import ProductionVault, Vault

if TYPE_CHECKING:
    from lab.kubectl import Kubectl

TARGETS = {"api": 2, "celery": 3}
"""Processes in a pod: two uvicorn workers; Celery's main process and two children."""
POLL_SECONDS = 1
PATIENCE = 120.0
"""So long may take what the machine does when it gets to it."""

_SECRET = "lms"
_REVIEWER = REPOSITORY / "k8s" / "vault" / "reviewer.yaml"
_STATUS_PORT, _API_PORT = 19464, 8000
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"
_OF_API = "labelSelector=kubernetes.io/service-name=api"


def trust(vault: Vault, cluster: Kubectl, reviewer: str, namespace: str) -> None:
    """Let the agents of a namespace read the secret, known to Vault by TokenReview."""
    view = ("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
    server = json.loads(cluster.kubectl(*view))["clusters"][0]["cluster"]
    authority = base64.b64decode(server["certificate-authority-data"])
    client = vault.client
    client.sys.enable_auth_method("kubernetes")
    client.write_data(
        "auth/kubernetes/config",
        data={
            "kubernetes_host": server["server"],
            "kubernetes_ca_cert": authority.decode(),
            "token_reviewer_jwt": reviewer,
            "disable_local_ca_jwt": True,
        },
    )
    client.sys.create_or_update_policy(
        "lms", f'path "secret/data/{_SECRET}" {{ capabilities = ["read"] }}'
    )
    client.write_data(
        "auth/kubernetes/role/lms",
        data={
            "bound_service_account_names": ["resentry"],
            "bound_service_account_namespaces": [namespace],
            "audience": "vault",
            "token_policies": ["lms"],
            "token_ttl": "10m",
        },
    )


class FleetTraffic(Traffic):
    """Enrols students at whichever endpoints of the API's Service are ready."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__("", threads=3, pause_seconds=0.1)
        self._fleet = fleet

    def url(self) -> str:
        ready = self._fleet.endpoints()
        if not ready:
            raise requests.ConnectionError("no endpoint is ready")
        return self._fleet.url(*random.choice(ready))


class Fleet:
    """The example as an overlay of k8s/ has it, in a namespace of its own.

    `images` are those of the agent and of the example, known to the cluster.
    """

    def __init__(
        self, cluster: Kubectl, host: str, images: tuple[str, str], overlay: str
    ) -> None:
        self.cluster = cluster
        self.images = images
        self.overlay = overlay
        self.namespace = f"resentry-test-{random.randrange(1 << 32):08x}"
        self.sink = Sink(host=host)
        self.broker = Valkey(host)
        self.vault = ProductionVault(host=host)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        for server in (self.sink, self.broker, self.vault):
            self._stack.enter_context(server)
        self.kubectl("create", "namespace", self.namespace)
        self._stack.callback(
            self.kubectl, "delete", "namespace", self.namespace, "--wait=false"
        )
        restricted = "pod-security.kubernetes.io/enforce=restricted"
        self.kubectl("label", "namespace", self.namespace, restricted)
        trust(self.vault, self.cluster, self._reviewer(), self.namespace)
        self._stack.callback(self.cluster.stop_forwarding)

    def _reviewer(self) -> str:
        """Return a token with which Vault may have others checked."""
        manifest = ("-f", str(_REVIEWER))
        self.cluster.kubectl("apply", *manifest)
        # Of the whole cluster: that is where tokens are checked.
        # With the account goes its token.
        delete = ("delete", "--ignore-not-found", *manifest)
        self._stack.callback(self.cluster.kubectl, *delete)

        def token() -> str:
            secret = self.cluster.get("-nkube-system", "secret", "vault-reviewer")
            return str(secret.get("data", {}).get("token", ""))

        return base64.b64decode(eventually(token, what="the reviewer's token")).decode()

    def kubectl(self, *args: str, text: str = "") -> str:
        """Return what kubectl prints, in the fleet's namespace."""
        return self.cluster.kubectl("-n", self.namespace, *args, text=text)

    def write(self, **fields: object) -> int:
        """Make the secret hold exactly these fields; return its new version."""
        return self.vault.write(_SECRET, fields)

    def deploy(self, job_pods: int) -> None:
        """Apply all but the Job, of so many pods; return once every pod is ready."""
        fitting = Fitting(
            overlay=self.overlay,
            namespace=self.namespace,
            agent_image=self.images[0],
            example_image=self.images[1],
            broker=self.broker.url,
            vault=self.vault.address,
            ca=self.vault.authority.cert_pem.bytes().decode(),
            poll_seconds=POLL_SECONDS,
        )
        self.job_pods = job_pods
        found = render(self.cluster, fitting, job_pods)
        self._job = [one for one in found if one["kind"] == "Job"]
        self._apply([one for one in found if one["kind"] != "Job"])
        self.await_rollout()
        path = f"{_SLICES.format(self.namespace)}?watch=1&{_OF_API}"
        watch = self.cluster.command("get", "--raw", path)
        self._endpoints = self._stack.enter_context(Process(watch))
        ready = eventually(self.endpoints, PATIENCE, "ready endpoints")
        # What it starts ends with the thread that asks first: this one, not traffic's.
        self.url(*ready[0])

    def start_job(self) -> None:
        """Start the Job that has the agent beside it."""
        self._apply(self._job)

    def _apply(self, manifests: list[dict[str, Any]]) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self.cluster.apply(json.dumps(items))

    def await_rollout(self) -> None:
        """Return once every Deployment has its new pods, all of them ready."""
        within = f"--timeout={PATIENCE:g}s"
        for app in TARGETS:
            self.kubectl("rollout", "status", f"deployment/{app}", within)

    def endpoints(self) -> list[tuple[str, str]]:
        """Return the ready endpoints of the API's Service just now: pod and address."""
        # One event a line, with the whole of the one EndpointSlice.
        lines = self._endpoints.log_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        found = json.loads(whole[-1])["object"].get("endpoints") if whole else None
        return [
            (one["targetRef"]["name"], one["addresses"][0])
            for one in found or ()
            if one["conditions"]["ready"]
        ]

    def url(self, pod: str, address: str) -> str:
        """Return where the API of a pod is reached from here."""
        return self.cluster.url(self.namespace, pod, address, _API_PORT)

    def pods(self, app: str) -> dict[str, dict[str, Any]]:
        """Return the pods of an application that are not about to end, by name."""
        found = json.loads(
            self.kubectl("get", "pods", "-l", f"app={app}", "-o", "json")
        )
        return {
            pod["metadata"]["name"]: pod
            for pod in found["items"]
            if "deletionTimestamp" not in pod["metadata"]
        }

    def statuses(self) -> dict[str, dict[str, Any]] | None:
        """Return what each pod's agent says of it; None if one cannot be asked."""
        found = {}
        for app in TARGETS:
            for pod in self.pods(app):
                try:
                    url = self.cluster.forwarded(self.namespace, pod, _STATUS_PORT)
                    answer = requests.get(f"{url}/status", timeout=10)
                except (requests.RequestException, RuntimeError, TimeoutError):
                    return None
                found[pod] = answer.json()["result"]
        return found

    def converged(self, version: int) -> list[dict[str, Any]] | None:
        """Return each agent's status if every process runs that version of the secret."""
        found = self.statuses() or {}
        good = [
            status
            for pod, status in found.items()
            if (current := status["current"])
            and current["provenance"]["SENTRY_DSN"]["version"] == version
            and status["rollout"]["state"] == "drained"
            and len(status["rollout"]["targets"]) == TARGETS[pod.split("-")[0]]
        ]
        return good if len(good) == len(found) else None

    def converge(self, version: int) -> list[dict[str, Any]]:
        """Wait until every process of every pod runs that version of the secret."""
        what = f"version {version} of the secret in every process"
        try:
            return eventually(lambda: self.converged(version), PATIENCE, what)
        except TimeoutError as error:
            pods, said = self.kubectl("get", "pods"), json.dumps(self.statuses())
            raise TimeoutError(f"{error}\n{pods}\n{said}") from None
