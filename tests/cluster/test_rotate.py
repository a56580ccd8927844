"""The CronJob of k8s/rotation replaces a DSN under load, and retires the old key."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab.fleet import PATIENCE, Fleet, FleetTraffic
from lab.overlay import image_as
from lab.paths import REPOSITORY
from lab.process import eventually
from lab.sentry_api import SentryApi
from lab.sink import key_of
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Figures, Place

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]

FOLDER = REPOSITORY / "k8s" / "rotation"
CA = "/etc/resentry-authority/ca.pem"
JOURNAL = "secret/data/rotations/lms"
PROJECT = 42
OTHERS = {"SENTRY_ENVIRONMENT": "cluster", "theirs": {"kept": True}}
BETWEEN = 25
"""So many requests at least are answered between two phases."""


@pytest.fixture
def fleet(place: Place) -> Iterator[Fleet]:
    with Fleet(place.cluster, place.host, place.images, "kubernetes") as fleet:
        yield fleet


@pytest.fixture
def api(fleet: Fleet, place: Place) -> Iterator[SentryApi]:
    """A server whose keys decide what the sink answers."""
    with SentryApi(fleet.sink.address, host=place.host) as api:
        api.project("lms", PROJECT)
        yield api
        assert api.broken == []


class Rotation:
    """The shipped CronJob in the fleet's namespace, with short waits."""

    def __init__(self, fleet: Fleet, api: SentryApi) -> None:
        self._fleet, self._api = fleet, api

    def deploy(self) -> None:
        """Let Vault know the account, as policy.hcl says, and apply k8s/rotation."""
        fleet, client = self._fleet, self._fleet.vault.client
        policy = (FOLDER / "policy.hcl").read_text()
        client.sys.create_or_update_policy("lms-rotation", policy)
        client.write_data(
            "auth/kubernetes/role/lms-rotation",
            data={
                "bound_service_account_names": ["resentry-rotation"],
                "bound_service_account_namespaces": [fleet.namespace],
                "audience": "vault",
                "token_policies": ["lms-rotation"],
                "token_ttl": "10m",
            },
        )
        token = f"--from-literal=token={self._api.token}"
        fleet.kubectl("create", "secret", "generic", "resentry-rotation", token)
        with tempfile.TemporaryDirectory() as name:
            file = Path(name, "kustomization.yaml")
            file.write_text(json.dumps(self._kustomization(file.parent)))
            fleet.cluster.apply(fleet.kubectl("kustomize", name))

    def _kustomization(self, folder: Path) -> dict[str, Any]:
        fleet = self._fleet
        settings = {
            "RESENTRY_VAULT_ADDR": fleet.vault.address,
            "RESENTRY_VAULT_CA": CA,
            "RESENTRY_SENTRY_API": self._api.url,
            "RESENTRY_DSN_CHECK_SECONDS": 5,
        }
        authority = fleet.vault.authority.cert_pem.bytes().decode()
        return {
            "namespace": fleet.namespace,
            "resources": [os.path.relpath(FOLDER, folder.resolve())],
            "images": [image_as("resentry-agent", fleet.images[0])],
            "configMapGenerator": [
                {
                    "name": "resentry-rotation",
                    "behavior": "merge",
                    "literals": [f"{key}={value}" for key, value in settings.items()],
                },
                {"name": "rotation-authority", "literals": [f"ca.pem={authority}"]},
            ],
            "patches": [{"patch": json.dumps(_short_and_with_authority())}],
        }

    def start(self) -> None:
        """Do at once what the schedule would do."""
        self._fleet.kubectl(
            "create", "job", "rotation", "--from=cronjob/resentry-rotation"
        )

    def journal(self) -> dict[str, Any]:
        answer = self._fleet.vault.client.read(JOURNAL)
        held: dict[str, Any] = answer["data"]["data"] if answer else {}
        return dict(json.loads(held.get("journal", "{}")))

    def pods(self) -> list[str]:
        """Return the pods of the Job, also those that have ended."""
        found = self._fleet.kubectl("get", "pod", "-l", "job-name=rotation", "-oname")
        return found.split()

    def told(self) -> str:
        """Return what the pods have printed."""
        try:
            return self._fleet.kubectl("logs", "-l", "job-name=rotation", "--tail=-1")
        except RuntimeError as error:
            return str(error)

    def await_journal(self, what: str, **wanted: str) -> None:
        """Wait until each field of the journal holds this text."""

        def holds() -> bool:
            journal = self.journal()
            return all(text in journal.get(name, "") for name, text in wanted.items())

        try:
            eventually(holds, 2 * PATIENCE, what)
        except TimeoutError as error:
            error.add_note(f"{self.journal()}\n{self.told()}")
            raise

    def await_end(self) -> None:
        """Wait until the rotation is done, and its Job complete."""
        self.await_journal("the end", phase="done")
        wait = ("wait", "--for=condition=complete", "job/rotation")
        self._fleet.kubectl(*wait, f"--timeout={PATIENCE:g}s")


def _short_and_with_authority() -> dict[str, Any]:
    """Return a patch of the CronJob: short waits, and the authority of Vault."""
    shipped = yaml.safe_load((FOLDER / "cron-job.yaml").read_text())
    pod = shipped["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    args = ["5s" if each == "30m" else each for each in pod["containers"][0]["args"]]
    container = {
        "name": "rotation",
        "args": [*args, "--refused", "5s"],
        "volumeMounts": [{"name": "authority", "mountPath": str(Path(CA).parent)}],
    }
    volume = {"name": "authority", "configMap": {"name": "rotation-authority"}}
    template = {"spec": {"containers": [container], "volumes": [volume]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "resentry-rotation"},
        # Only what the test starts runs, also at the minute of the schedule.
        "spec": {"suspend": True, "jobTemplate": {"spec": {"template": template}}},
    }


def add_mute_pod(fleet: Fleet, name: str) -> str:
    """Add a pod that is never ready and gives no answer; return its address."""
    container = {
        "name": "mute",
        "image": fleet.images[1],
        "command": ["python", "-c", "import time; time.sleep(3600)"],
        "readinessProbe": {"exec": {"command": ["false"]}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"resentry": "sidecar"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
    }
    fleet.kubectl("apply", "-f", "-", text=json.dumps(pod))

    def address() -> str:
        found = fleet.cluster.get("-n", fleet.namespace, "pod", name)
        return str(found["status"].get("podIP", ""))

    found = eventually(address, PATIENCE, f"an address of {name}")

    def is_named() -> bool:
        of_service = "kubernetes.io/service-name=resentry-agents"
        slices = ("-n", fleet.namespace, "endpointslices", "-l", of_service)
        items = fleet.cluster.get(*slices)["items"]
        return any(
            found in endpoint["addresses"]
            for item in items
            for endpoint in item["endpoints"] or ()
        )

    eventually(is_named, PATIENCE, f"{name} in the Service")
    return found


def must_be_done(
    fleet: Fleet, rotation: Rotation, api: SentryApi, version: int
) -> None:
    """Assert that there is one new key, one write of the DSN, and the old key's end."""
    journal = rotation.journal()
    phases = [entry["phase"] for entry in journal["entries"]]
    assert phases.index("drained") < phases.index("quiet") < phases.index("retired")
    old, new = api.projects["lms"].keys
    assert (old["isActive"], new["isActive"]) == (False, True)
    assert journal["old"] == fingerprint(old["dsn"]["public"])
    assert journal["new"] == fingerprint(new["dsn"]["public"])
    held = fleet.vault.client.read("secret/data/lms")["data"]
    assert held["metadata"]["version"] == version
    assert held["data"] == {"SENTRY_DSN": new["dsn"]["public"], **OTHERS}


def test_the_cron_job_replaces_the_dsn_under_load(
    fleet: Fleet, api: SentryApi, figures: Figures
) -> None:
    """Four processes of two pods, and a worker; no event lost or doubled.

    A pod that joins counts, and another pod goes on when the first one is deleted.
    """
    (old,) = api.projects["lms"].keys
    by_old_at_switch = []

    def switch(project: int, key: str, is_active: bool) -> None:  # noqa: FBT001 - as the stand-in calls it
        if not is_active:
            events = fleet.sink.events()
            by_old_at_switch.append(sum(one.key == old["id"] for one in events))
        fleet.sink.answer(project, "ok" if is_active else 403, key=key)

    api.switched = switch
    version = fleet.write(SENTRY_DSN=old["dsn"]["public"], **OTHERS)
    fleet.deploy(1)
    fleet.converge(version)
    rotation = Rotation(fleet, api)
    rotation.deploy()
    fleet.sink.answer(PROJECT, 503, key=key_of(PROJECT, 2))  # it stays "created"
    began = time.monotonic()
    with FleetTraffic(fleet) as traffic:
        traffic.await_more(BETWEEN, PATIENCE)
        rotation.start()
        rotation.await_journal("a new key", phase="created")
        first = add_mute_pod(fleet, "mute-1")
        fleet.sink.answer(PROJECT, "ok", key=key_of(PROJECT, 2))
        rotation.await_journal("who does not answer", phase="written", waits=first)
        (pod,) = rotation.pods()
        second = add_mute_pod(fleet, "mute-2")
        fleet.kubectl("scale", "deployment/api", "--replicas=3")
        fleet.kubectl("delete", pod, "pod/mute-1")
        rotation.await_journal("who has joined", phase="written", waits=second)
        fleet.await_rollout()
        fleet.converge(version + 1)
        traffic.await_more(BETWEEN, PATIENCE)
        assert by_old_at_switch == []
        assert rotation.journal()["phase"] == "written"
        fleet.kubectl("delete", "pod/mute-2")
        rotation.await_end()
        traffic.await_more(BETWEEN, PATIENCE)
        traffic.stop()
        sent = {one for one in traffic.events + traffic.graded(PATIENCE) if one}

    must_be_done(fleet, rotation, api, version + 1)
    assert pod not in rotation.pods()
    eventually(lambda: sent <= set(fleet.sink.event_ids()), PATIENCE, "every event")
    received = set(fleet.sink.event_ids())
    by_old = sum(one.key == old["id"] for one in fleet.sink.events())
    figures["rotation"] = {
        "events": len(sent),
        "lost": len(sent - received),
        "duplicated": fleet.sink.duplicates(),
        "failed_requests": len(traffic.failed),
        "seconds": round(time.monotonic() - began),
    }
    assert len(sent) == 2 * len(traffic.events)
    assert received == sent
    assert fleet.sink.duplicates() == 0
    assert by_old_at_switch == [by_old]
    assert traffic.failed == []
