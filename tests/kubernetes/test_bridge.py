"""k8s/bridge: one bridge with a volume, and one path of it for Sentry."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from manifests import K8S

from agent.bridge.receive import PATH
from agent.settings import load
from lab import bridge as sentry
from lab import kustomize
from lab.bridge import Bridge
from lab.process import eventually
from lab.receiver import Receiver
from lab.sink import Sink

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("kubectl")]


@cache
def objects() -> dict[str, dict[str, Any]]:
    return {built["kind"]: built for built in kustomize.build(K8S / "bridge")}


def pod() -> dict[str, Any]:
    return dict(objects()["Deployment"]["spec"]["template"]["spec"])


def container() -> dict[str, Any]:
    (one,) = pod()["containers"]
    return dict(one)


def environ() -> dict[str, str]:
    named = {each["name"]: each.get("value", "10.0.0.7") for each in container()["env"]}
    given = {**objects()["ConfigMap"]["data"], **named}
    return {
        name: value.replace("$(POD_IP)", given["POD_IP"])
        for name, value in given.items()
        if name != "POD_IP"
    }


def test_the_bridge_understands_its_settings() -> None:
    """Each variable is a setting, and what the command needs is there."""
    loaded = load({}, environ())
    assert not loaded.warnings
    settings = loaded.settings
    assert settings.bridge_alertmanagers
    assert settings.bridge_url.endswith(PATH)
    assert settings.probes_listen != settings.bridge_listen
    assert container()["args"] == ["bridge"]


def test_what_the_parts_call_each_other_is_the_same() -> None:
    """Labels, ports, the path, files, and the name outside."""
    deployment, service = objects()["Deployment"]["spec"], objects()["Service"]["spec"]
    assert service["selector"] == deployment["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    settings = load({}, environ()).settings
    assert settings.probes_listen is not None
    assert settings.bridge_listen is not None
    assert ports == {
        "resentry": settings.probes_listen.port,
        "webhooks": settings.bridge_listen.port,
    }
    (rule,) = objects()["Ingress"]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    url = urlsplit(settings.bridge_url)
    assert (url.scheme, url.netloc, url.path) == ("https", rule["host"], path["path"])
    assert path["pathType"] == "Exact"  # health and metrics have no address outside
    backend = path["backend"]["service"]
    assert backend["name"] == objects()["Service"]["metadata"]["name"]
    assert backend["port"]["name"] in {port["name"] for port in service["ports"]}
    mounts = {each["name"]: each["mountPath"] for each in container()["volumeMounts"]}
    assert os.path.dirname(settings.bridge_store) == mounts["store"]
    for file in (settings.bridge_secret_file, settings.bridge_canary_dsn_file):
        assert os.path.dirname(file) == mounts["secret"]


def test_one_bridge_has_the_store() -> None:
    """Two would post for one another; and none of them has rights in the cluster."""
    spec = objects()["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    claim = objects()["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    (store,) = (each for each in pod()["volumes"] if each["name"] == "store")
    assert store["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert pod()["automountServiceAccountToken"] is False
    assert container()["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_bridge_runs_with_these_settings(tmp_path: Path) -> None:
    """As the Deployment starts it, with this machine's addresses and files."""
    with Sink() as sink, Receiver() as manager:
        (tmp_path / "canary-dsn").write_text(f"{sink.dsn(1)}\n")
        mine = {
            "RESENTRY_BRIDGE_CANARY_DSN_FILE": str(tmp_path / "canary-dsn"),
            "RESENTRY_BRIDGE_ALERTMANAGERS": f"http://{manager.address}",
        }
        own = ("LISTEN", "STORE", "SECRET_FILE")
        given = {k: v for k, v in environ().items() if not k.endswith(own)}
        with Bridge(tmp_path / "bridge", [], **{**given, **mine}) as bridge:
            assert bridge.send("event_alert", sentry.event_alert()).status_code == 202
            eventually(lambda: len(sink.events(1)) == 1, what="a canary")
            eventually(lambda: "SentryIssue" in str(manager.requests), what="a post")
