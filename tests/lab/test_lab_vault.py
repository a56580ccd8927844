"""The lab's Vault is a real one, and breaks when asked to."""

from collections.abc import Iterator

import hvac
import pytest
import requests
from hvac.exceptions import Forbidden, InvalidPath

from lab.vault import ProductionVault, Vault


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    """One development server for all that leave it as they found it."""
    with Vault(audit=True) as running:
        yield running


@pytest.fixture(scope="module")
def production() -> Iterator[ProductionVault]:
    """One server with storage."""
    with ProductionVault() as running:
        yield running


def read(client: hvac.Client, path: str) -> dict[str, object]:
    """Return the newest fields of a secret."""
    answer = client.secrets.kv.v2.read_secret(path, raise_on_deleted_version=True)
    return dict(answer["data"]["data"])


def test_a_secret_is_written_in_versions(vault: Vault) -> None:
    """`write` takes a mapping, keywords or both, and returns the new version."""
    assert vault.write("versions", SENTRY_DSN="a") == 1
    assert vault.write("versions", {"SENTRY_DSN": "b"}, rate=1) == 2
    assert read(vault.client, "versions") == {"SENTRY_DSN": "b", "rate": 1}


def test_a_deleted_secret_answers_404_with_a_body(vault: Vault) -> None:
    """`delete` leaves a trace, `forget` none."""
    vault.write("gone", a="1")
    vault.delete("gone")
    with pytest.raises(InvalidPath) as deleted:
        read(vault.client, "gone")
    assert deleted.value.json["data"]["data"] is None
    vault.forget("gone")
    with pytest.raises(InvalidPath) as forgotten:
        read(vault.client, "gone")
    assert forgotten.value.json == {"errors": []}


def test_a_policy_token_may_do_what_its_policy_says(vault: Vault) -> None:
    """It reads its path and no other."""
    vault.write("mine", a="1")
    vault.write("other", a="1")
    policy = 'path "secret/data/mine" { capabilities = ["read"] }'
    client = vault.client_with(vault.policy_token(policy, ttl="30s"))
    assert read(client, "mine") == {"a": "1"}
    with pytest.raises(Forbidden):
        read(client, "other")
    assert client.auth.token.lookup_self()["data"]["creation_ttl"] == 30


def test_requests_are_counted(vault: Vault) -> None:
    """Each request stands in `requests` once, refused ones too."""
    before = len(vault.requests())
    read(vault.client, vault_path := f"counted-{vault.write('counted-1', a='1')}")
    with pytest.raises(Forbidden):
        read(vault.client_with("bogus"), vault_path)
    assert vault.requests()[before:] == [
        ("create", "secret/data/counted-1"),
        ("read", "secret/data/counted-1"),
        ("read", "secret/data/counted-1"),
    ]


def test_a_sealed_vault_keeps_its_secrets(vault: Vault) -> None:
    """Sealed it is 503, unsealed it holds what it held."""
    vault.write("sealed", a="1")
    vault.seal()
    assert vault.health() == 503
    vault.unseal()
    assert read(vault.client, "sealed") == {"a": "1"}


def test_a_paused_vault_accepts_and_does_not_answer(vault: Vault) -> None:
    """A read times out during the pause and works after it."""
    url = f"{vault.address}/v1/sys/health"
    vault.pause()
    try:
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.get(url, timeout=0.2)
    finally:
        vault.resume()
    assert vault.health() == 200


def test_a_development_server_forgets_over_a_restart() -> None:
    """A second start holds nothing, under the same address and token."""
    with Vault() as vault:
        vault.write("lms", a="1")
        vault.kill()
        assert vault.health() is None
        vault.start()
        with pytest.raises(InvalidPath):
            read(vault.client, "lms")


def test_a_production_server_keeps_its_secrets_over_restarts(
    production: ProductionVault,
) -> None:
    """Stopped or killed, it comes back sealed and holds what it held."""
    production.write("lms", a="1")
    production.stop()
    production.start(unseal=False)
    assert production.health() == 503
    production.unseal()
    assert read(production.client, "lms") == {"a": "1"}
    production.kill()
    production.start()
    assert read(production.client, "lms") == {"a": "1"}
    assert production.requests().count(("read", "secret/data/lms")) == 2


def test_a_production_server_wants_its_own_authority(
    production: ProductionVault,
) -> None:
    """Only a client that knows `ca` trusts it."""
    url = f"{production.address}/v1/sys/health"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, timeout=5)
    assert requests.get(url, timeout=5, verify=str(production.ca)).status_code == 200


def test_a_production_server_has_kv_version_1(production: ProductionVault) -> None:
    """`kv1/` holds secrets without versions."""
    kv1 = production.client.secrets.kv.v1
    kv1.create_or_update_secret("lms", {"a": "1"}, mount_point="kv1")
    assert kv1.read_secret("lms", mount_point="kv1")["data"] == {"a": "1"}
