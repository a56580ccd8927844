"""k8s/rotation: a rotation on a schedule, with rights of its own."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from manifests import K8S, overlay

from agent.rotation.journal import Journal
from agent.rotation.vault import DsnSecret, JournalFile
from agent.settings import load
from agent.source.login import missing
from agent.source.vault import VaultSource
from lab import kustomize
from lab.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("kubectl")]

FOLDER = K8S / "rotation"


@cache
def objects() -> dict[str, dict[str, Any]]:
    return {built["kind"]: built for built in kustomize.build(FOLDER)}


def job_pod() -> dict[str, Any]:
    template = objects()["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]
    return dict(template["spec"])


def container() -> dict[str, Any]:
    (one,) = job_pod()["containers"]
    return dict(one)


def environ() -> dict[str, str]:
    named = {each["name"]: each["value"] for each in container()["env"]}
    return {**objects()["ConfigMap"]["data"], **named}


def test_the_command_understands_its_settings() -> None:
    """Each variable is a setting, and none is missing."""
    loaded = load({}, environ())
    assert not loaded.warnings
    assert missing(loaded.settings) == []
    assert loaded.settings.rotation_path
    assert container()["args"][:2] == ["rotate", "--scheduled"]


def test_the_service_finds_every_agent() -> None:
    """Each pod has an address, also one that is not ready; name and port are the fleet's."""
    service = objects()["Service"]
    spec, (port,) = service["spec"], service["spec"]["ports"]
    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)
    assert (
        environ()["RESENTRY_FLEET"] == f"{service['metadata']['name']}:{port['port']}"
    )
    (deployment, *_) = (
        each for each in overlay("kubernetes") if each["kind"] == "Deployment"
    )
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"].items() <= labels.items()


def test_one_job_at_a_time_with_no_token_of_the_cluster() -> None:
    """Its account is not the agents', and its container is as closed as theirs."""
    spec, pod = objects()["CronJob"]["spec"], job_pod()
    assert spec["concurrencyPolicy"] == "Forbid"
    account = objects()["ServiceAccount"]["metadata"]["name"]
    assert pod["serviceAccountName"] == account != "resentry"
    assert pod["automountServiceAccountToken"] is False
    security = container()["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    with Vault() as running:
        yield running


@pytest.mark.vault
def test_the_policy_suffices(vault: Vault) -> None:
    """For every step in Vault: the first journal, one more, and the DSN."""
    token = vault.policy_token((FOLDER / "policy.hcl").read_text())
    version = vault.write("lms", SENTRY_DSN="https://a@host/1")
    settings = load(
        {},
        environ()
        | {
            "RESENTRY_VAULT_ADDR": vault.address,
            "RESENTRY_VAULT_AUTH": "token",
            "RESENTRY_VAULT_TOKEN": token,
        },
    ).settings
    source = VaultSource(settings, "tests")
    file = JournalFile(source, settings.rotation_path)
    journal = Journal(rotation="r", secret="s", old="0" * 12, quiet_seconds=1, since=1)
    assert file.load() == (None, 0)
    assert file.save(journal, file.save(journal, 0)) == 2
    secret = DsnSecret(source, settings.vault_paths[0])
    assert secret.write("https://b@host/1", version) == version + 1
    source.close()
