"""The lab's Vault is a real one, and breaks when asked to."""

import socket
from collections.abc import Iterator

import hvac
import pytest
import requests
import trustme
from hvac.exceptions import Forbidden, InvalidPath, RateLimitExceeded

from lab.vault import ProductionVault, Vault

pytestmark = pytest.mark.vault


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    """One development server for all that leave it as they found it."""
    with Vault(audit=True) as running:
        yield running


@pytest.fixture(scope="module")
def production() -> Iterator[ProductionVault]:
    """One server with storage."""
    with ProductionVault(unix=True) as running:
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


def test_a_renewed_certificate_is_served_at_once(production: ProductionVault) -> None:
    """Without a restart, and of the authority of that moment."""
    url = f"{production.address}/v1/sys/health"
    production.renew_certificate()
    assert requests.get(url, timeout=5, verify=str(production.ca)).status_code == 200
    old, production.authority = production.authority, trustme.CA()
    production.renew_certificate()
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, timeout=5, verify=str(production.ca))
    production.authority = old
    production.renew_certificate()


def test_a_client_s_certificate_is_asked_for(production: ProductionVault) -> None:
    """One of the server's own authority logs in with the method `cert`."""
    client = production.client
    client.sys.enable_auth_method("cert")
    accepted = {"certificate": production.ca.read_text(), "allowed_common_names": "app"}
    client.write_data("auth/cert/certs/app", data=accepted)
    anonymous = hvac.Client(
        url=production.address,
        token="",
        verify=str(production.ca),
        cert=production.certificate("app"),
    )
    assert anonymous.auth.cert.login(name="app")["auth"]["metadata"]["common_name"] == (
        "app"
    )


def test_a_unix_socket_serves_too(production: ProductionVault) -> None:
    """Plain HTTP is answered at `socket`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(production.socket))
        connection.sendall(b"GET /v1/sys/health HTTP/1.0\r\n\r\n")
        assert b" 200 OK" in connection.recv(1024)


@pytest.mark.parametrize("method", ["approle", "jwt", "kubernetes", "userpass"])
def test_a_way_to_log_in_can_be_enabled(vault: Vault, method: str) -> None:
    """Both servers have those that the tests need."""
    vault.client.sys.enable_auth_method(method)
    assert f"{method}/" in vault.client.sys.list_auth_methods()["data"]


def test_a_quota_answers_429(vault: Vault) -> None:
    """Requests above its rate are refused, on its path alone."""
    quota = "sys/quotas/rate-limit/lab"
    limit = {"path": "secret/", "rate": 1, "interval": "60s"}
    vault.write("limited", a="1")
    vault.client.write_data(quota, data=limit)
    assert read(vault.client, "limited") == {"a": "1"}
    with pytest.raises(RateLimitExceeded):
        read(vault.client, "limited")
    vault.client.delete(quota)
    assert read(vault.client, "limited") == {"a": "1"}


def test_a_production_server_has_kv_version_1(production: ProductionVault) -> None:
    """`kv1/` holds secrets without versions."""
    kv1 = production.client.secrets.kv.v1
    kv1.create_or_update_secret("lms", {"a": "1"}, mount_point="kv1")
    assert kv1.read_secret("lms", mount_point="kv1")["data"] == {"a": "1"}
