"""TLS with a real Vault, whose certificates are replaced under a running agent."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme

from lab.process import eventually
from lab.proxy import Proxy
from lab.system import System
from lab.vault import ProductionVault, Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.sink import Sink

    Change = Callable[[ProductionVault], None]

pytestmark = pytest.mark.vault


@pytest.fixture
def vault() -> ProductionVault:
    return ProductionVault()


@pytest.fixture
def system(vault: ProductionVault, sink: Sink) -> Iterator[System]:
    """A Vault with TLS and a secret in it, and the authority in a file of the agent's."""
    with System(vault) as system:
        file = system.folder / "ca.pem"
        vault.authority.cert_pem.write_to_path(file)
        system.environ["RESENTRY_VAULT_CA"] = str(file)
        system.write(SENTRY_DSN=sink.dsn(1), SENTRY_SAMPLE_RATE="1")
        yield system


def serve(vault: ProductionVault, issued: trustme.LeafCert) -> None:
    """Have the server show another certificate, on new connections."""

    def served() -> str:
        return ssl.get_server_certificate(("127.0.0.1", vault.port))

    before = served()
    certificate, key = (vault.folder / f"server-{part}.pem" for part in ("cert", "key"))
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    vault.process.signal(signal.SIGHUP)
    eventually(lambda: served() != before, what="the other certificate")


def sequence(system: System, number: int) -> None:
    """Wait for that snapshot."""
    eventually(
        lambda: (system.status()["current"] or {}).get("sequence") == number,
        what=f"sequence {number}",
    )


def test_a_rotated_authority_is_taken_up(
    system: System, vault: ProductionVault, sink: Sink
) -> None:
    """New authority, new certificate of the server: the same agent reads on."""
    agent = system.start_agent()
    sequence(system, 1)

    vault.authority = trustme.CA()
    for file in (vault.ca, system.folder / "ca.pem"):
        assert file
        vault.authority.cert_pem.write_to_path(file)
    vault.renew_certificate()
    system.write(SENTRY_DSN=sink.dsn(2))

    sequence(system, 2)
    assert agent.alive


def test_a_half_written_authority_is_reported_and_costs_nothing(
    system: System, sink: Sink
) -> None:
    """What was read before still counts, on the connection of before."""
    file = system.folder / "ca.pem"
    whole = file.read_bytes()
    system.start_agent()
    sequence(system, 1)

    file.write_bytes(whole[:200])
    eventually(
        lambda: any(str(file) in note for note in system.status()["source"]["notes"]),
        what="the note",
    )
    system.write(SENTRY_DSN=sink.dsn(2))
    sequence(system, 2)
    assert system.status()["source"]["failures"] == 0

    file.write_bytes(whole)
    eventually(lambda: not system.status()["source"]["notes"], what="no more to note")


def test_a_rotated_client_certificate_is_shown(
    system: System, vault: ProductionVault
) -> None:
    """The next login is made with the certificate that stands there now."""
    client = vault.client
    client.sys.enable_auth_method("cert")
    client.sys.create_or_update_policy(
        "lms", 'path "secret/*" { capabilities=["read"] }'
    )
    client.auth.cert.create_ca_certificate_role(
        "lms",
        certificate=vault.authority.cert_pem.bytes().decode(),
        allowed_common_names="second",
        token_policies="lms",
    )
    certificate, key = system.folder / "client.pem", system.folder / "client.key"

    def show(name: str) -> None:
        issued = vault.authority.issue_cert(name, common_name=name)
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)

    show("first")
    agent = system.start_agent(
        RESENTRY_VAULT_AUTH="cert",
        RESENTRY_VAULT_TOKEN="",
        RESENTRY_VAULT_CLIENT_CERT=str(certificate),
        RESENTRY_VAULT_CLIENT_KEY=str(key),
    )
    eventually(
        lambda: "denies the login" in system.status()["source"]["sentence"],
        what="the refusal",
    )
    show("second")
    system.poll_now()
    sequence(system, 1)
    assert agent.alive


def untrusted(vault: ProductionVault) -> None:
    serve(vault, trustme.CA().issue_cert("127.0.0.1"))


def for_another(vault: ProductionVault) -> None:
    serve(vault, vault.authority.issue_cert("vault.example"))


def expired(vault: ProductionVault) -> None:
    now = datetime.now(UTC)
    dates = {
        "not_before": now - timedelta(days=9),
        "not_after": now - timedelta(days=1),
    }
    serve(vault, vault.authority.issue_cert("127.0.0.1", **dates))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (untrusted, "unable to get local issuer certificate"),
        (for_another, "certificate is not valid for '127.0.0.1'"),
        (expired, "certificate has expired"),
    ],
)
def test_a_certificate_that_does_not_hold_is_down(
    system: System, vault: ProductionVault, change: Change, says: str
) -> None:
    """It is TLS that fails, the reason is named, and what to check."""
    change(vault)
    code, printed = system.run("resentry-agent", "once")
    assert code == 69
    assert f"TLS with {vault.address} fails: " in printed
    assert says in printed
    assert "RESENTRY_VAULT_CA" in printed


def test_the_certificate_may_be_for_another_name(
    system: System, vault: ProductionVault
) -> None:
    """As where Vault is reached by an address that its certificate does not have."""
    for_another(vault)
    name = "RESENTRY_VAULT_SERVER_NAME"
    code, printed = system.run("resentry-agent", "check", **{name: "vault.example"})
    assert code == 0, printed
    code, printed = system.run("resentry-agent", "check", **{name: "other.example"})
    assert code == 69
    assert "not valid for 'other.example'" in printed


def test_a_name_that_is_set_is_checked_too(
    system: System, vault: ProductionVault
) -> None:
    """Though the certificate is good for the address."""
    code, printed = system.run(
        "resentry-agent", "check", RESENTRY_VAULT_SERVER_NAME="vault.example"
    )
    assert code == 69
    assert "not valid for 'vault.example'" in printed
    assert vault.address in printed


def test_the_environment_of_other_programs_does_not_count(system: System) -> None:
    """Their variables make no authority trusted, and no good one distrusted."""
    ca = system.environ["RESENTRY_VAULT_CA"]
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "VAULT_CACERT")
    theirs = dict.fromkeys(names, ca)
    code, printed = system.run(
        "resentry-agent", "check", **theirs, RESENTRY_VAULT_CA=""
    )
    assert code == 69, printed
    theirs = dict.fromkeys(names, "/nonexistent") | {"VAULT_SKIP_VERIFY": "true"}
    code, printed = system.run("resentry-agent", "check", **theirs)
    assert code == 0, printed


def test_not_checking_shows_wherever_one_looks(
    system: System, vault: ProductionVault
) -> None:
    """In the log, in `status`, on the page and in the metrics; and it works."""
    untrusted(vault)
    agent = system.start_agent(RESENTRY_VAULT_INSECURE_SKIP_TLS_VERIFY="true")
    sequence(system, 1)

    note = (
        "Vault's certificate is not checked, so anybody can pose as Vault: unset "
        "RESENTRY_VAULT_INSECURE_SKIP_TLS_VERIFY"
    )
    eventually(lambda: note in system.status()["source"]["notes"], what="the note")
    assert system.status()["source"]["where"]["tls_verified"] is False
    shown = subprocess.run(
        ["resentry-agent", "status"],
        env=system.environ,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert "ITS CERTIFICATE IS NOT CHECKED" in shown
    page = system.get("/status").json()["result"]
    assert page["source"]["where"]["tls_verified"] is False
    assert "resentry_vault_tls_unverified 1.0" in system.get("/metrics").text

    def is_logged() -> bool:
        lines = map(json.loads, agent.log_text().splitlines())
        return any(note in line.get("notes", ()) for line in lines)

    eventually(is_logged, what="the note in the log")


def test_checking_shows_too(system: System) -> None:
    """The same places say so of a certificate that is checked."""
    system.start_agent()
    sequence(system, 1)
    where = eventually(lambda: system.status()["source"]["where"], what="the source")
    assert where["tls_verified"] is True
    assert "resentry_vault_tls_unverified 0.0" in system.get("/metrics").text


def test_a_proxy_of_the_environment_is_a_tunnel(
    system: System, vault: ProductionVault
) -> None:
    """Only if asked for, and the certificate is still Vault's own."""
    with Proxy(vault.address) as proxy:
        environ = {"HTTPS_PROXY": f"http://{proxy.address}"}
        code, printed = system.run("resentry-agent", "check", **environ)
        assert (code, proxy.connections) == (0, 0), printed

        environ["RESENTRY_VAULT_TRUST_ENV"] = "true"
        code, printed = system.run("resentry-agent", "check", **environ)
        assert code == 0, printed
        assert {"CONNECT"} == {request.start[0] for request in proxy.requests}

        used = len(proxy.requests)
        environ["NO_PROXY"] = "127.0.0.1"
        code, printed = system.run("resentry-agent", "check", **environ)
        assert (code, len(proxy.requests)) == (0, used), printed


def test_a_unix_socket_is_an_address(sink: Sink, tmp_path: Path) -> None:
    """No certificate, and no proxy of the environment, stands between."""
    with System(Vault(unix=True)) as system:
        system.write(SENTRY_DSN=sink.dsn(1))
        system.environ |= {
            "RESENTRY_VAULT_ADDR": f"unix://{system.vault.socket}",
            "RESENTRY_VAULT_TRUST_ENV": "true",
            "HTTP_PROXY": "http://",  # would fail every request
        }
        system.start_agent()
        sequence(system, 1)
        where = eventually(
            lambda: system.status()["source"]["where"], what="the source"
        )
        assert where["tls_verified"] is None

        code, printed = system.run(
            "resentry-agent", "check", RESENTRY_VAULT_ADDR=f"unix://{tmp_path}/none"
        )
        assert code == 69
        assert f"does not answer at unix://{tmp_path}/none" in printed
