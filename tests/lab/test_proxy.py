"""The proxy spoils what passes, as it is told, while it runs."""

import time
from collections.abc import Iterator

import pytest
import requests
from requests import exceptions

from lab.proxy import Faults, Gate, Proxy
from lab.vault import ProductionVault, Vault

pytestmark = pytest.mark.process


BODY = '"initialized":true'


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    with Vault() as running:
        yield running


@pytest.fixture
def proxy(vault: Vault) -> Iterator[Proxy]:
    with Proxy(vault.address) as running:
        yield running


def get(proxy: Proxy, timeout: float = 5) -> requests.Response:
    """Ask Vault for its health through the proxy, on a new connection."""
    return requests.get(f"{proxy.url}/v1/sys/health", timeout=timeout)


def test_without_faults_everything_passes(proxy: Proxy, vault: Vault) -> None:
    """Reads and writes work on one kept connection; both ends are counted."""
    with requests.Session() as session:
        session.headers["X-Vault-Token"] = vault.token
        url = f"{proxy.url}/v1/secret/data/lms"
        # Above 2 kB Vault answers in chunks.
        secret = {"data": {"a": "x" * 100_000}}
        assert session.post(url, json=secret, timeout=5).ok
        assert session.get(url, timeout=5).json()["data"]["data"] == secret["data"]
        assert session.delete(url, timeout=5).status_code == 204
        assert session.head(url, timeout=5).status_code in {404, 405}
        assert session.get(url, timeout=5).status_code == 404
    assert (proxy.connections, len(proxy.requests)) == (1, 5)


def test_latency_delays_each_answer(proxy: Proxy) -> None:
    """An answer takes that long, and is whole."""
    proxy.faults = Faults(latency=0.3)
    begin = time.monotonic()
    assert BODY in get(proxy).text
    assert time.monotonic() - begin >= 0.3


@pytest.mark.parametrize(
    ("length", "error"),
    [(10, exceptions.ConnectionError), (300, exceptions.ChunkedEncodingError)],
)
def test_cut_ends_an_answer_in_its_midst(
    proxy: Proxy, length: int, error: type[Exception]
) -> None:
    """Within the head or within the body, the client sees a broken answer."""
    proxy.faults = Faults(cut=length)
    with pytest.raises(error):
        get(proxy)


def test_drip_is_slower_than_any_timeout_between_bytes(proxy: Proxy) -> None:
    """Each byte is in time, the answer is not; and it is whole."""
    proxy.faults = Faults(drip=0.002)
    begin = time.monotonic()
    assert BODY in get(proxy, timeout=0.2).text
    assert time.monotonic() - begin >= 0.5


def test_garbage_stands_in_place_of_the_body(proxy: Proxy) -> None:
    """The status is Vault's, the body is not."""
    proxy.faults = Faults(garbage=b"<html>\xff\x00")
    response = get(proxy)
    assert (response.status_code, response.content) == (200, b"<html>\xff\x00")


def test_status_is_answered_without_the_server() -> None:
    """Status, headers and body are as set, though no server is there at all."""
    with Proxy("127.0.0.1:1") as proxy:
        proxy.faults = Faults(status=429, headers={"Retry-After": "7"}, body=b"no")
        response = get(proxy)
        assert (response.status_code, response.text) == (429, "no")
        assert response.headers["Retry-After"] == "7"
        proxy.clear()
        with pytest.raises(exceptions.ConnectionError):
            get(proxy)


def test_a_body_may_be_endless(proxy: Proxy) -> None:
    """It is sent again and again, for as long as the client reads."""
    headers = {"Content-Length": "1000000000000"}
    proxy.faults = Faults(status=200, body=b"ab", headers=headers, endless=True)
    with requests.get(proxy.url, timeout=5, stream=True) as response:
        assert response.raw.read(100_000) == b"ab" * 50_000


def test_it_remembers_what_it_was_asked(proxy: Proxy) -> None:
    """Request line and headers, in order."""
    requests.get(f"{proxy.url}/v1/a", headers={"X-Vault-Token": "t"}, timeout=5)
    (asked,) = proxy.requests
    assert (asked.start[:2], asked.header("x-vault-token")) == (["GET", "/v1/a"], "t")


@pytest.mark.parametrize("kind", [Vault, ProductionVault])
def test_it_serves_clients_that_know_it_for_a_proxy(kind: type[Vault]) -> None:
    """Plain requests and tunnels both lead to its server."""
    with kind() as vault, Proxy(vault.address) as proxy:
        by = dict.fromkeys(("http", "https"), f"http://{proxy.address}")
        url = f"{vault.address}/v1/sys/health"
        found = requests.get(
            url, proxies=by, verify=str(vault.ca or True), timeout=5
        ).status_code
        assert found == 200
        assert len(proxy.requests) == 1


def test_refuse_and_hang_end_with_clear(proxy: Proxy) -> None:
    """Refused, then unanswered, then served: also on a connection already open."""
    url = f"{proxy.url}/v1/sys/health"
    with requests.Session() as session:
        assert session.get(url, timeout=5).ok
        proxy.faults = Faults(refuse=True)
        with pytest.raises(exceptions.ConnectionError):
            session.get(url, timeout=5)
        proxy.faults = Faults(hang=True)
        with pytest.raises(exceptions.ReadTimeout):
            session.get(url, timeout=0.2)
        proxy.clear()
        assert session.get(url, timeout=5).ok


def test_dropped_connections_are_replaced(proxy: Proxy) -> None:
    """An open connection is gone after `drop_connections`, the next request is not."""
    with requests.Session() as session:
        url = f"{proxy.url}/v1/sys/health"
        assert session.get(url, timeout=5).ok
        proxy.drop_connections()
        time.sleep(0.05)
        assert session.get(url, timeout=5).ok
    assert proxy.connections == 2


def test_tls_passes_and_is_spoilt_as_bytes() -> None:
    """Over TLS the proxy passes, delays, cuts and flips without a certificate."""
    with ProductionVault() as vault, Proxy(vault.address) as proxy:
        url = f"{proxy.url}/v1/sys/health"

        def ask() -> int:
            return requests.get(url, verify=str(vault.ca), timeout=5).status_code

        assert (ask(), proxy.requests) == (200, [])
        proxy.faults = Faults(latency=0.1)
        begin = time.monotonic()
        assert ask() == 200
        assert time.monotonic() - begin >= 0.1
        for faults in (Faults(cut=100), Faults(garbage=b""), Faults(refuse=True)):
            proxy.faults = faults
            with pytest.raises(exceptions.ConnectionError):
                ask()


@pytest.mark.parametrize("after", [False, True])
def test_a_gate_holds_one_request(vault: Vault, *, after: bool) -> None:
    """Before the server gets it, or after: the client has no answer either way."""
    vault.forget("held")
    with Gate(vault.address) as gate, requests.Session() as session:
        session.headers["X-Vault-Token"] = vault.token
        url = f"{gate.url}/v1/secret/data/held"
        gate.hold(lambda request: request.start[0] == "POST", after=after)
        assert session.get(url, timeout=5).status_code == 404
        assert not gate.is_held
        with pytest.raises(exceptions.ReadTimeout):
            session.post(url, json={"data": {"a": "1"}}, timeout=1)
        assert gate.is_held
        assert session.get(url, timeout=5).ok == after
