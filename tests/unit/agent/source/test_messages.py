"""What an operator reads after a slip: what was given, what is expected, what to type."""

import base64
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from agent.errors import SettingsError, SourceDenied, SourceDown, SourceMissing
from agent.settings import Settings
from agent.source.vault import VaultSource
from lab.proxy import Faults, Proxy

Make = Callable[..., VaultSource]


@pytest.fixture
def source(settings: Callable[..., Settings]) -> Make:
    def make(**values: Any) -> VaultSource:
        given = {"vault_auth": "none", "vault_kv_version": "2", **values}
        return VaultSource(settings(**given), "tests", wait=lambda _seconds: None)

    return make


# The address


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("vault:8200", "has no scheme: put https:// before it"),
        ("vault.example.org", "has no scheme"),
        ("ftp://vault", "has another scheme"),
        ('"https://vault:8200"', "has quotation marks in it"),
        ("'https://vault:8200'", "has quotation marks in it"),
        ("https://va ult:8200", "has a space in it"),
        ("http://::1:8200", "without brackets: write http://[::1]:8200"),
        ("https://vault:99999", "has a host or a port that is none"),
        ("https://vault:0", "has a host or a port that is none"),
        ("https://vault..example.org", "has a host or a port that is none"),
        ("https://*", "has a host or a port that is none"),
        (f"https://{'a' * 64}.example.org", "has a host or a port that is none"),
        ("https://:8200", "has no host"),
        ("https://vault:8200/v1", "leave out /v1"),
        ("https://vault:8200/ui/vault/secrets", "leave out /ui"),
        ("https://vault:8200/?x=y", "has a query (?) in it"),
        ("https://vault:8200/#x", "has a fragment (#) in it"),
        ("unix://socket", "names no absolute path"),
    ],
)
def test_an_address_that_is_none_is_told_what_is_wrong(
    source: Make, address: str, says: str
) -> None:
    """And how an address is written; the address itself is not quoted."""
    with pytest.raises(SettingsError) as caught:
        source(vault_addr=address)
    assert says in caught.value.what
    assert "https://vault:8200" in caught.value.hint


@pytest.mark.server
def test_a_path_behind_the_address_is_named_if_nothing_is_there(
    server: Proxy, source: Make
) -> None:
    """It is allowed, as behind a gateway: so only a 404 tells."""
    server.faults = Faults(status=404, body=b"404 page not found")
    with pytest.raises(SourceMissing) as caught:
        source(vault_addr=f"{server.url}/vault").read()
    assert "RESENTRY_VAULT_ADDR ends with /vault" in caught.value.hint
    with pytest.raises(SourceMissing) as caught:
        source(vault_addr=server.url).read()
    assert "ends with" not in caught.value.hint


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def over_tls(authority: trustme.CA) -> Iterator[Callable[..., str]]:
    """Start a server that wants a certificate of that authority; return its address."""
    servers: list[http.server.HTTPServer] = []

    def start(newest: ssl.TLSVersion) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = newest
        server = http.server.HTTPServer(
            ("127.0.0.1", 0), http.server.BaseHTTPRequestHandler
        )
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"https://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.server
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_lacks_is_named(
    source: Make,
    over_tls: Callable[..., str],
    authority: trustme.CA,
    tmp_path: Path,
    newest: ssl.TLSVersion,
) -> None:
    """Or one of another authority: with TLS 1.3 the server just hangs up."""
    ca, own = tmp_path / "ca.pem", tmp_path / "own.pem"
    authority.cert_pem.write_to_path(ca)
    foreign = trustme.CA().issue_cert("somebody")
    own.write_bytes(foreign.private_key_and_cert_chain_pem.bytes())
    address = over_tls(newest)
    with pytest.raises(SourceDown, match="may require a client certificate") as caught:
        source(vault_addr=address, vault_ca=str(ca)).read()
    assert "RESENTRY_VAULT_CLIENT_CERT" in caught.value.hint
    with pytest.raises(SourceDown, match="refuses the client certificate"):
        source(vault_addr=address, vault_ca=str(ca), vault_client_cert=str(own)).read()


@pytest.mark.server
def test_https_at_a_plain_port_and_http_at_a_tls_port(
    server: Proxy, source: Make
) -> None:
    """Each is told to try the other."""
    address = server.url.replace("http:", "https:")
    server.faults = Faults(status=400)
    real, server.converse = server.converse, _plain  # type: ignore[method-assign]
    with pytest.raises(SourceDown, match="does not speak TLS") as caught:
        source(vault_addr=address).read()
    assert "with http" in caught.value.hint
    server.converse = real  # type: ignore[method-assign]
    with pytest.raises(SourceDown, match="is not Vault's") as caught:
        source(vault_addr=server.url).read()
    assert "https" in caught.value.hint


async def _plain(reader: Any, writer: Any) -> None:
    """Answer like a server that has expected no TLS."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


# The login


def test_an_approle_with_a_role_is_told_that_it_needs_the_id(source: Make) -> None:
    """With the command that reads it; not with an example of another login."""
    with pytest.raises(SettingsError, match="RESENTRY_VAULT_ROLE_ID") as caught:
        source(vault_auth="approle", vault_role="lms", vault_token="")
    assert "vault read auth/approle/role/NAME/role-id" in caught.value.hint
    assert "TOKEN_FILE" not in caught.value.hint


@pytest.mark.server
@pytest.mark.parametrize("mount", ["auth/other", "other", "/auth/other/", "other/"])
def test_an_auth_mount_may_be_written_with_auth(
    server: Proxy, source: Make, mount: str
) -> None:
    """As Vault's own commands and pages write it."""
    auth = {"client_token": "t", "lease_duration": 60}
    server.faults = Faults(status=200, body=json.dumps({"auth": auth}).encode())
    source(
        vault_addr=server.url,
        vault_auth="userpass",
        vault_auth_mount=mount,
        vault_username="lms",
        vault_password="x",
    ).log_in()
    assert server.requests[0].start[1] == "/v1/auth/other/login/lms"


@pytest.mark.server
def test_a_refused_login_says_whose_jwt_it_was(
    server: Proxy, source: Make, tmp_path: Path
) -> None:
    """A wrong role, account and namespace look alike to Vault's client."""
    subject = "system:serviceaccount:shop:orders"
    claims = json.dumps({"sub": subject, "aud": ["vault"]}).encode()
    payload = base64.urlsafe_b64encode(claims).decode().rstrip("=")
    path = tmp_path / "jwt"
    path.write_text(f"eyJhbGciOiJSUzI1NiJ9.{payload}.c2lnbmF0dXJl")
    server.faults = Faults(status=403, body=b"{}")
    with pytest.raises(SourceDenied, match="denies the login") as caught:
        source(
            vault_addr=server.url,
            vault_auth="kubernetes",
            vault_role="lms",
            vault_jwt_file=str(path),
        ).log_in()
    assert f"the JWT is of {subject}, for the audience vault" in caught.value.hint
    assert payload not in caught.value.hint


# The paths


@pytest.mark.parametrize("path", ["hunter2", "/hunter2/", "v1"])
def test_what_cannot_be_a_path_is_not_quoted(source: Make, path: str) -> None:
    """Without a slash it may be anything, also a password."""
    with pytest.raises(SettingsError) as caught:
        source(vault_paths=("secret/data/lms", path))
    assert "an entry is not the path of a secret" in caught.value.what
    assert "hunter2" not in caught.value.what + caught.value.hint


@pytest.mark.server
@pytest.mark.parametrize(
    ("path", "version", "asked", "says"),
    [
        (
            "secret/lms#SENTRY_DSN",
            "2",
            "secret/data/lms%23SENTRY_DSN",
            "# selects no key",
        ),
        ("secret/lms;kv/x", "2", "secret/data/lms%3Bkv/x", "a comma or a space"),
        ("kv1/data/lms", "1", "kv1/data/lms", "write kv1/lms; "),
        ("a/b/data/lms", "2", "a/b/data/lms", ""),
        ("a/b/lms", "2", "a/data/b/lms", ""),
    ],
)
def test_a_path_that_is_mistyped_in_a_usual_way_is_explained(
    server: Proxy, source: Make, path: str, version: str, asked: str, says: str
) -> None:
    """Vault has nothing there, so the hint says how it is meant."""
    server.faults = Faults(status=404, body=b'{"errors": []}')
    with pytest.raises(SourceMissing, match="there is no secret at") as caught:
        source(
            vault_addr=server.url, vault_paths=(path,), vault_kv_version=version
        ).read()
    assert server.requests[0].start[1] == f"/v1/{asked}"
    assert says in caught.value.hint
