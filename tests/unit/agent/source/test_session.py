"""How the agent speaks HTTP with Vault: what it sends, where it goes, when it gives up.

What stands behind the address here is the lab's proxy, which notes what it was asked.
"""

import contextlib
import dataclasses
import gc
import http.server
import json
import os
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import trustme

from agent.errors import CandidateRefused, SourceDown, SourceMissing
from agent.settings import Settings
from agent.source import api, bounds
from agent.source.vault import VaultSource
from lab.process import eventually
from lab.proxy import Faults, Proxy
from lab.vault import ProductionVault

VALUES = {"SENTRY_SAMPLE_RATE": "0.5"}
BODY = json.dumps({"data": {"data": VALUES}}).encode()
GOOD = Faults(status=200, body=BODY)

Make = Callable[..., VaultSource]


pytestmark = pytest.mark.server


@pytest.fixture
def source(settings: Callable[..., Settings]) -> Make:
    """Make a source that asks for its secret alone, unless told otherwise."""

    def make(address: str, **values: Any) -> VaultSource:
        given = {"vault_auth": "none", "vault_kv_version": "2", **values}
        return VaultSource(settings(vault_addr=address, **given), "resentry/1 tests")

    return make


@pytest.fixture
def server() -> Iterator[Proxy]:
    with Proxy("127.0.0.1:9") as proxy:
        proxy.faults = GOOD
        yield proxy


@pytest.fixture
def other() -> Iterator[Proxy]:
    """Another server, at another address."""
    with Proxy("127.0.0.1:9", host="127.0.0.2") as proxy:
        proxy.faults = GOOD
        yield proxy


@pytest.fixture(scope="module")
def vault() -> Iterator[ProductionVault]:
    with ProductionVault() as running:
        running.write("lms", VALUES)
        yield running


@pytest.fixture(params=["http", "https"])
def hanging(
    request: pytest.FixtureRequest, server: Proxy, vault: ProductionVault, source: Make
) -> Iterator[tuple[VaultSource, Callable[[], None]]]:
    """A source that has read once, and whose server now hangs; and what ends that."""
    with Proxy(vault.address) as over_tls:
        proxy = server if request.param == "http" else over_tls
        reading = source(
            proxy.url,
            vault_ca=str(vault.ca),
            vault_auth="token",
            vault_token=vault.token,
        )
        reading.read()
        good, proxy.faults = proxy.faults, Faults(hang=True)
        yield reading, lambda: setattr(proxy, "faults", good)


def seconds_of(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


# What is sent


def test_every_request_says_who_asks(server: Proxy, source: Make) -> None:
    """User agent, token, namespace, and the header that Vault Agents insist on."""
    source(
        server.url,
        vault_auth="token",
        vault_token="hvs.t",
        vault_namespace="team/eu",
        vault_paths=("secret/lms?version=7",),
    ).read()

    looked, asked = server.requests
    assert looked.start[:2] == ["GET", "/v1/auth/token/lookup-self"]
    assert asked.start[:2] == ["GET", "/v1/secret/data/lms?version=7"]
    for request in (looked, asked):
        assert request.header("User-Agent") == "resentry/1 tests"
        assert request.header("X-Vault-Request") == "true"
        assert request.header("X-Vault-Token") == "hvs.t"
        assert request.header("X-Vault-Namespace") == "team/eu"
        assert request.header("Accept-Encoding") == "identity"


def test_nothing_is_sent_that_was_not_asked_for(server: Proxy, source: Make) -> None:
    """Without a token and a namespace there is no header for either."""
    source(server.url).read()
    (asked,) = server.requests
    assert b"x-vault-token" not in asked.head.lower()
    assert b"x-vault-namespace" not in asked.head.lower()


def test_no_cookie_is_kept(server: Proxy, source: Make) -> None:
    """A new one with each answer would add up to more than a server takes."""
    server.faults = Faults(status=200, body=BODY, headers={"Set-Cookie": "a=b"})
    reading = source(server.url)
    reading.read()
    reading.read()
    assert b"cookie" not in server.requests[-1].head.lower()


def test_what_cannot_be_sent_is_not_called_slow(server: Proxy, source: Make) -> None:
    """No request was made, so none has been waited for."""
    reading = source(server.url)
    reading.api.token = "a\nb"
    with pytest.raises(SourceDown, match="InvalidHeader"):
        reading.read()


def test_a_netrc_file_is_never_used(
    server: Proxy, source: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where proxies may come from the environment."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    source(server.url, vault_trust_env=True).read()
    assert server.requests[0].header("Authorization") == ""


@pytest.mark.parametrize(
    ("trusted", "no_proxy", "asked"),
    [(False, "", [1, 0]), (True, "", [0, 1]), (True, "127.0.0.1", [1, 0])],
)
def test_a_proxy_of_the_environment_counts_only_if_asked_for(  # noqa: PLR0913
    server: Proxy,
    other: Proxy,
    source: Make,
    monkeypatch: pytest.MonkeyPatch,
    *,
    trusted: bool,
    no_proxy: str,
    asked: list[int],
) -> None:
    """`HTTP_PROXY` needs `RESENTRY_VAULT_TRUST_ENV`; then `NO_PROXY` counts, too."""
    for name in ("http_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", other.url)
    monkeypatch.setenv("NO_PROXY", no_proxy)

    source(server.url, vault_trust_env=trusted).read()

    assert [len(server.requests), len(other.requests)] == asked


# The connection


def test_many_passes_share_one_connection(server: Proxy, source: Make) -> None:
    """Ten reads, one connection, however much they are together."""
    server.faults = dataclasses.replace(GOOD, body=BODY + b" " * 1024 * 1024)
    reading = source(server.url)
    for _ in range(10):
        reading.read()
    assert (server.connections, len(server.requests)) == (1, 10)


def test_a_kept_connection_that_is_given_up_is_closed(
    server: Proxy, source: Make
) -> None:
    """At once, and not when the garbage collector comes to it."""
    server.faults = Faults(status=404, body=b"{}")
    reading = source(server.url)
    before = sockets()
    gc.disable()
    try:
        for _ in range(5):
            with pytest.raises(SourceMissing):
                reading.read()
        eventually(lambda: sockets() <= before, what="no socket more")
    finally:
        gc.enable()


def sockets() -> int:
    """Return how many sockets this process has, the server's included."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return found


def test_a_kept_connection_that_is_gone_costs_no_pass(
    server: Proxy, source: Make
) -> None:
    """After a restart of the server the next read succeeds, on a new connection."""
    reading = source(server.url)
    reading.read()
    server.drop_connections()
    time.sleep(0.05)  # the reset is on its way; nobody can be asked for it
    assert reading.read().values == VALUES
    assert server.connections == 2


def test_a_body_that_does_not_come_is_no_answer_in_time(
    server: Proxy, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head has come, and more is announced than is sent."""
    monkeypatch.setattr(bounds, "READ_SECONDS", 0.1)
    server.faults = Faults(status=200, headers={"Content-Length": "9"}, body=b"{")
    with pytest.raises(SourceDown, match="gives no answer in time"):
        source(server.url).read()


# Redirects

# It announces a gigabyte, which comes for as long as somebody reads it.
LONG = {"Content-Length": "1000000000"}


def redirecting(location: str) -> Faults:
    headers = {"Location": location, **LONG}
    return Faults(status=307, headers=headers, body=b"x" * 65536, endless=True)


def test_a_redirect_that_is_not_read_ends_its_connection(
    server: Proxy, source: Make
) -> None:
    """What is left of it must not be taken for the next answer."""
    server.faults = redirecting("/v1/moved")
    with pytest.raises(SourceDown, match="a second time"):
        source(server.url).read()
    assert (server.connections, len(server.requests)) == (2, 2)


@pytest.mark.parametrize(
    ("location", "listed"),
    [
        ("http://{other}/v1/moved", "{other}"),
        ("http://{other}/v1/moved", "127.0.0.2"),
        ("HTTP://somebody:else@{other}/v1/moved#there", "127.0.0.2"),
    ],
)
def test_one_redirect_to_a_listed_host_is_followed(
    server: Proxy, other: Proxy, source: Make, location: str, listed: str
) -> None:
    """With the token, and without reading the body of the redirect."""
    server.faults = redirecting(location.format(other=other.address))
    listed = listed.format(other=other.address)
    reading = source(server.url, vault_redirect_hosts=(listed,))
    reading.api.token = "hvs.t"

    assert seconds_of(reading.read) < 1

    (followed,) = other.requests
    assert followed.start[:2] == ["GET", "/v1/moved"]
    assert followed.header("X-Vault-Token") == "hvs.t"
    assert followed.header("Host") == other.address
    assert followed.header("Authorization") == ""


@pytest.mark.parametrize(
    "location",
    [
        "/v1/moved",
        "moved",
        "http://{server}/v1/moved",
        "//{server}/v1/moved",
        "http:///v1/moved",
        "http://{other}\\@{server}/v1/moved",
    ],
)
def test_one_redirect_on_the_same_host_is_followed(
    server: Proxy, other: Proxy, source: Make, location: str
) -> None:
    """Nothing has to be listed for it; a second one is not followed, even there."""
    to = location.format(server=server.address, other=other.address)
    server.faults = redirecting(to)
    with pytest.raises(SourceDown, match="redirects a second time"):
        source(server.url).read()
    _, followed = server.requests
    assert "moved" in followed.start[1]
    assert other.connections == 0


def test_what_was_checked_is_what_is_asked(source: Make) -> None:
    """No two parsers see two hosts in one URL, whatever made it."""
    asking = source("http://127.0.0.1:8200").api.session
    response = requests.Response()
    for location in (
        "http://other\\@127.0.0.1:8200/a",
        "http://other@127.0.0.1:8200/a",
    ):
        response.headers["Location"] = location
        url = asking._redirected(urlsplit("http://127.0.0.1:8200/v1/b"), response)
        assert url == "http://127.0.0.1:8200/a"


NOT_FOLLOWED = [
    ("http://{other}/v1/moved", "to another host: {other}", "REDIRECT_HOSTS"),
    ("//{other}/v1/moved", "to another host: {other}", "REDIRECT_HOSTS"),
    ("http://{server}@{other}/", "to another host: {other}", "active Vault node"),
    ("http://127.0.0.1/v1/moved", "to another host: 127.0.0.1", "REDIRECT_HOSTS"),
    ("https://{server}/v1/moved", "to another scheme, at", "RESENTRY_VAULT_ADDR"),
    ("ftp://{server}/v1/moved", "to another scheme, at", "RESENTRY_VAULT_ADDR"),
    ("unix:///run/vault.sock", "to something that is no address", ""),
    ("http://host:99999/", "to something that is no address", ""),
    ("http://[::1/", "to something that is no address", ""),
    ("http://a b/", "to something that is no address", ""),
    ("http://h\xf6st/", "to something that is no address", ""),
]


@pytest.mark.parametrize("case", NOT_FOLLOWED, ids=lambda case: case[0])
@pytest.mark.parametrize("auth", ["token", "userpass"])
def test_no_other_redirect_is_followed(
    server: Proxy, other: Proxy, source: Make, auth: str, case: tuple[str, str, str]
) -> None:
    """Neither token nor password reach an unlisted host; host and setting are named."""
    location, says, hint = (
        text.format(server=server.address, other=other.address) for text in case
    )
    server.faults = Faults(status=307, headers={"Location": location})
    reading = source(
        server.url,
        vault_auth=auth,
        vault_token="hvs.t",
        vault_username="lms",
        vault_password="p",
    )
    with pytest.raises(SourceDown, match="redirects") as caught:
        reading.read()
    assert says in caught.value.what
    assert hint in caught.value.hint
    assert len(server.requests) == 1
    assert other.connections == 0


def test_https_is_never_left_for_http(
    other: Proxy, source: Make, tmp_path: Path
) -> None:
    """Not even to a host that is listed."""

    class Leave(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(307)
            self.send_header("Location", f"{other.url}/v1/moved")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Nothing is printed."""

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with http.server.HTTPServer(("127.0.0.1", 0), Leave) as tls_server:
        tls_server.socket = context.wrap_socket(tls_server.socket, server_side=True)
        threading.Thread(target=tls_server.serve_forever, daemon=True).start()
        reading = source(
            f"https://127.0.0.1:{tls_server.server_port}",
            vault_ca=str(tmp_path / "ca.pem"),
            vault_redirect_hosts=("127.0.0.2", other.address),
        )
        with pytest.raises(SourceDown, match="from https to another scheme"):
            reading.read()
        reading.api.session.close()
        tls_server.shutdown()
    assert other.connections == 0


# When it gives up


@pytest.mark.slow
@pytest.mark.parametrize("by", ["itself", "a proxy"])
@pytest.mark.parametrize(
    "faults",
    [
        Faults(status=200, headers={"X-Slow": "x" * 500}, drip=0.01),
        Faults(status=200, body=BODY * 20, drip=0.005),
    ],
    ids=["head", "body"],
)
def test_an_answer_that_drips_is_cut(
    server: Proxy,
    source: Make,
    monkeypatch: pytest.MonkeyPatch,
    faults: Faults,
    by: str,
) -> None:
    """Each byte comes in time, the answer does not: its total is limited."""
    monkeypatch.setattr(bounds, "ANSWER_SECONDS", 1.0)
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.faults = faults
    address = server.url if by == "itself" else "http://vault.example"
    reading = source(address, vault_trust_env=by == "a proxy")
    began = time.monotonic()
    with pytest.raises(SourceDown, match="is not complete after"):
        reading.read()
    assert 0.9 < time.monotonic() - began < 1.8
    server.faults = GOOD
    assert reading.read().values == VALUES


@pytest.mark.vault
def test_an_answer_over_tls_that_drips_is_cut(
    vault: ProductionVault, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also within a record, of which TLS shows nothing until it is whole."""
    monkeypatch.setattr(bounds, "ANSWER_SECONDS", 1.0)
    with Proxy(vault.address) as proxy:
        reading = source(
            proxy.url,
            vault_ca=str(vault.ca),
            vault_auth="token",
            vault_token=vault.token,
        )
        assert reading.read().values == VALUES
        proxy.faults = Faults(drip=0.05)
        began = time.monotonic()
        with pytest.raises(SourceDown, match="is not complete after"):
            reading.read()
        assert 0.9 < time.monotonic() - began < 1.8


@pytest.mark.slow
def test_a_tls_handshake_that_drips_is_cut(
    vault: ProductionVault, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the time of connecting, and no more for coming in small pieces."""
    for module in (api, bounds):
        monkeypatch.setattr(module, "CONNECT_SECONDS", 0.7)
    with Proxy(vault.address) as proxy:
        proxy.faults = Faults(drip=0.05)
        reading = source(
            proxy.url,
            vault_ca=str(vault.ca),
            vault_auth="token",
            vault_token=vault.token,
        )
        began = time.monotonic()
        with pytest.raises(SourceDown, match="does not answer"):
            reading.read()
        assert time.monotonic() - began < 1.5
        proxy.clear()
        assert reading.read().values == VALUES


@pytest.mark.parametrize(
    "headers",
    [{"Content-Length": "1000000000"}, {"Transfer-Encoding": "chunked"}],
    ids=["announced", "in chunks"],
)
def test_an_endless_body_is_refused(
    server: Proxy, source: Make, headers: dict[str, str]
) -> None:
    """At 2 MiB, with bounded memory: keeping the last good is all that can be done."""
    piece = b"10000\r\n%s\r\n" % (b"x" * 0x10000)  # a chunk, where chunks come
    server.faults = Faults(status=200, body=piece, headers=headers, endless=True)
    reading = source(server.url)
    tracemalloc.start()
    with pytest.raises(CandidateRefused, match="larger than 2 MiB"):
        reading.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * bounds.ANSWER_LIMIT_BYTES
    server.faults = GOOD
    assert reading.read().values == VALUES


@pytest.mark.parametrize(
    "faults",
    [
        Faults(status=200, headers={"Transfer-Encoding": "chunked"}, body=b"1" * 65536),
        Faults(
            status=100, body=b"HTTP/1.1 100 Continue\r\nX: %s\r\n\r\n" % (b"x" * 60000)
        ),
    ],
    ids=["the size of a chunk", "other heads"],
)
def test_what_is_endless_before_the_body_is_cut(
    server: Proxy, source: Make, faults: Faults
) -> None:
    """Whatever else an answer is made of has its limit, too."""
    server.faults = dataclasses.replace(faults, endless=True)
    reading = source(server.url)
    with pytest.raises(SourceDown, match="does not answer"):
        reading.read()
    assert reading.api.session.bounds.received < 3 * bounds.ANSWER_LIMIT_BYTES


def test_another_thread_cuts_a_read_at_once(
    hanging: tuple[VaultSource, Callable[[], None]],
) -> None:
    """The end of the agent does not wait for a time-out."""
    reading, _ = hanging
    errors: list[SourceDown] = []

    def read() -> None:
        try:
            reading.read()
        except SourceDown as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.2)  # it waits, which nobody can be asked for
    assert thread.is_alive()
    began = time.monotonic()
    reading.abort()
    thread.join(5)
    assert time.monotonic() - began < 0.5
    assert "in the time that a pass may take" in errors[0].what


@pytest.mark.slow
def test_a_read_ends_at_its_deadline(
    hanging: tuple[VaultSource, Callable[[], None]],
) -> None:
    """It is cut off in the middle of an answer; the next read is as good as ever."""
    reading, end = hanging
    began = time.monotonic()
    with pytest.raises(SourceDown, match="in the time that a pass may take"):
        reading.read(began + 0.5)
    assert time.monotonic() - began >= 0.5
    end()
    assert reading.read().values == VALUES


def test_an_address_may_be_in_capitals(vault: ProductionVault, source: Make) -> None:
    """It is TLS with the given authority all the same."""
    given = {"vault_auth": "token", "vault_token": vault.token}
    address = vault.address.replace("https", "HTTPS")
    assert source(address, vault_ca=str(vault.ca), **given).read().values == VALUES


def test_a_cut_while_connecting_counts_too() -> None:
    """When there is no socket yet that could be shut, the first read finds out."""
    limits = bounds.Bounds()
    limits.begin()
    assert limits.seconds_to_read() > 0
    limits.cut()
    with pytest.raises(TimeoutError):
        limits.seconds_to_read()


def test_nothing_is_asked_after_the_cut(server: Proxy, source: Make) -> None:
    """A pass of several requests ends with the first that comes too late."""
    reading = source(server.url)
    reading.log_in()
    reading.abort()
    with pytest.raises(SourceDown, match="in the time that a pass may take"):
        reading.api.get("secret/data/lms")
    assert server.connections == 0


# What the network can read


@pytest.mark.parametrize(
    ("address", "encrypted"),
    [
        ("http://vault:8200", False),
        ("http://10.1.2.3:8200", False),
        ("http://127.example.org", False),
        ("http://localhost.example.org", False),
        ("http://[fd00::1]:8200", False),
        ("https://vault:8200", True),
        ("http://127.0.0.1:8200", True),
        ("http://127.1.2.3", True),
        ("http://localhost:8200", True),
        ("http://LOCALHOST", True),
        ("http://vault.localhost:8200", True),
        ("http://[::1]:8200", True),
        ("unix:///run/vault.sock", True),
    ],
)
def test_a_token_in_the_clear_is_told(
    source: Make, address: str, *, encrypted: bool
) -> None:
    """Over http to another host; in the notes of each pass, and in the report."""
    reading = source(address)
    assert reading.report()["encrypted"] is encrypted
    clear = [
        note for note in reading.api.session.notes() if "can read the token" in note
    ]
    assert len(clear) == (not encrypted)


def test_a_proxy_for_http_is_told(
    source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vault may be on this machine: the request is not."""
    for name in ("no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org:3128")
    reading = source("http://localhost:8200", vault_trust_env=True)
    assert reading.report()["encrypted"] is False
    assert source("http://localhost:8200").report()["encrypted"] is True


def test_a_redirect_over_http_to_another_host_is_told(
    server: Proxy, source: Make
) -> None:
    """From this machine to the network: the token went with it."""
    reading = source(server.url, vault_redirect_hosts=("vault.example.org",))
    server.faults = redirecting("http://vault.example.org/v1/secret")
    assert reading.report()["encrypted"] is True
    with pytest.raises(SourceDown):
        reading.read()
    assert reading.report()["encrypted"] is False
    assert "vault.example.org is asked over http" in str(reading.api.session.notes())
