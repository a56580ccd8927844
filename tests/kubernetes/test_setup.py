"""k8s/vault/setup.sh, run against a real server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import trustme
from operated import BAO, check, operate, set_up

from lab.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.vault


@pytest.fixture
def vault() -> Iterator[Vault]:
    with Vault() as server:
        server.write("lms", SENTRY_DSN="")
        server.write("other", SENTRY_DSN="")
        yield server


def approle(vault: Vault, folder: Path) -> dict[str, str]:
    """Return the agent's settings for the role that the script made."""
    path = "auth/approle/role/lms"
    role_id = operate(vault, BAO, "read", "-field=role_id", f"{path}/role-id")
    secret_id = operate(
        vault, BAO, "write", "-f", "-field=secret_id", f"{path}/secret-id"
    )
    (folder / "secret-id").write_text(secret_id)
    return {
        "RESENTRY_DIR": str(folder / "volume"),
        "RESENTRY_ENVIRONMENT": "development",
        "RESENTRY_VAULT_ADDR": vault.address,
        "RESENTRY_VAULT_PATHS": "secret/data/lms",
        "RESENTRY_VAULT_AUTH": "approle",
        "RESENTRY_VAULT_ROLE_ID": role_id,
        "RESENTRY_VAULT_SECRET_ID_FILE": str(folder / "secret-id"),
    }


def rules(policy: str) -> set[tuple[str, ...]]:
    return set(re.findall(r'path "(.+?)" {\s*capabilities = \["(\w+)"\]', policy))


def test_the_agent_can_do_all_it_must_and_no_more(vault: Vault, tmp_path: Path) -> None:
    """With the made AppRole `check` is content, and another secret is refused."""
    set_up(vault, AUTH="approle")
    settings = approle(vault, tmp_path)

    assert check(settings)[0] == 0
    code, said = check(settings | {"RESENTRY_VAULT_PATHS": "secret/data/other"})
    assert (code, "denied" in said or "may not" in said) == (77, True), said


def test_the_policy_is_the_one_that_the_agent_asks_for(
    vault: Vault, tmp_path: Path
) -> None:
    """What `check --policy` prints and what the script writes are the same rules."""
    set_up(vault, AUTH="approle")
    _, wanted = check(approle(vault, tmp_path), "--policy")

    assert rules(operate(vault, BAO, "policy", "read", "lms")) == rules(wanted)
    assert len(rules(wanted)) == 5


def test_it_can_be_run_again_and_with_other_names(vault: Vault, tmp_path: Path) -> None:
    """A second run changes what it made; mount, secret and role can be named."""
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    set_up(vault, KUBERNETES_CA_FILE=str(authority))
    set_up(vault, KUBERNETES_CA_FILE=str(authority))
    set_up(
        vault,
        KUBERNETES_CA_FILE=str(authority),
        AUDIENCE="other",
        MOUNT="kv2",
        SECRET="shop",
        ROLE="shop",
        NAMESPACE="shop",
    )

    role = vault.client.read("auth/kubernetes/role/shop")["data"]
    assert role["audience"] == "other"
    assert role["bound_service_account_names"] == ["resentry"]
    assert role["bound_service_account_namespaces"] == ["shop"]
    assert role["token_policies"] == ["shop"]
    assert '"kv2/data/shop"' in operate(vault, BAO, "policy", "read", "shop")


@pytest.mark.parametrize("name", ["KUBERNETES_CA_FILE", "REVIEWER_JWT_FILE"])
def test_a_missing_file_changes_nothing(vault: Vault, name: str) -> None:
    """It is named, with the page that says how to make it, before Vault is changed."""
    with pytest.raises(AssertionError, match="/nowhere/file is missing or empty; see"):
        set_up(vault, **{name: "/nowhere/file"})

    assert "lms" not in vault.client.sys.list_policies()["data"]["policies"]


def test_an_unknown_login_changes_nothing(vault: Vault) -> None:
    """It says so, and ends before it has written anything."""
    with pytest.raises(AssertionError, match="kubernetes or approle, not ldap"):
        set_up(vault, AUTH="ldap")

    assert "lms" not in vault.client.sys.list_policies()["data"]["policies"]
