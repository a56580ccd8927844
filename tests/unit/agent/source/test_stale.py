"""Servers that disagree: what is older than before is not taken, whoever gives it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from agent.domain.newest import Mark
from agent.errors import SourceDown, SourceStale
from agent.settings import Settings
from agent.source.stale import QUIET_SECONDS, Freshness
from agent.source.vault import VaultSource
from lab.proxy import Balancer, Faults

Balance = Callable[..., tuple[Balancer, VaultSource]]

pytestmark = pytest.mark.server


def version(number: int, second: int | None = None, **headers: str) -> Faults:
    """A server that holds that version, written at that second."""
    created = f"2026-01-31T12:00:{number if second is None else second:02}.5Z"
    metadata = {"version": number, "created_time": created}
    data = {"data": {"SENTRY_SAMPLE_RATE": str(number)}, "metadata": metadata}
    body = json.dumps({"data": data}).encode()
    return Faults(status=200, body=body, headers=headers)


@pytest.fixture
def balanced(settings: Callable[..., Settings]) -> Iterator[Balance]:
    """Make a source behind a balancer of such servers."""
    with ExitStack() as stack:

        def make(*servers: Faults, **values: Any) -> tuple[Balancer, VaultSource]:
            balancer = stack.enter_context(Balancer(*servers))
            given = {
                "vault_addr": balancer.url,
                "vault_auth": "none",
                "vault_kv_version": "2",
                **values,
            }
            source = VaultSource(settings(**given), "tests", wait=lambda _seconds: None)
            stack.callback(source.close)
            return balancer, source

        yield make


def rate(source: VaultSource) -> str:
    return str(source.read().values["SENTRY_SAMPLE_RATE"])


# The connection


@pytest.mark.parametrize(
    "bad",
    [
        *(Faults(status=status) for status in (400, 401, 403, 404, 405, 412, 429)),
        *(Faults(status=status) for status in (201, 472, 473, 500, 501, 502, 503)),
        Faults(status=200, body=b"<html>Sign in</html>"),
        Faults(status=200, body=b'{"data": {"data": 7}}'),
        Faults(status=200, body=b'{"data": {"data": {}}}'),
        Faults(status=204),
        Faults(status=301),
        Faults(status=307, headers={"Location": "http://elsewhere.example/"}),
        Faults(status=200, body=b"x" * 65536, endless=True),
    ],
    ids=lambda bad: f"{bad.status} {bad.body[:20]!r}",
)
def test_a_connection_to_a_bad_server_is_given_up(
    balanced: Balance, bad: Faults
) -> None:
    """Behind a TCP balancer, the next pass reaches another server."""
    balancer, source = balanced(bad, version(1), version(1))
    try:
        source.read()
    except Exception:  # noqa: BLE001 - it is another one for each
        assert balancer.connections <= 2
    assert rate(source) == "1"


def test_a_server_that_turns_bad_is_left(balanced: Balance) -> None:
    """Also after good answers over the same connection."""
    balancer, source = balanced(version(1), version(2))
    assert rate(source) == "1"
    balancer.faults = Faults(status=503)
    with pytest.raises(SourceDown, match="is sealed"):
        source.read()
    assert rate(source) == "2"


def test_a_denied_read_is_repeated_at_another_server(balanced: Balance) -> None:
    """Within the pass: a standby may not know a new token yet."""
    auth = {"client_token": "t", "lease_duration": 60}
    login = Faults(status=200, body=json.dumps({"auth": auth}).encode())
    balancer, source = balanced(
        login,
        version(1),
        vault_auth="userpass",
        vault_username="lms",
        vault_password="x",
    )
    source.log_in()
    balancer.faults = Faults(status=403)
    with pytest.raises(Exception, match="denies access"):
        source.api.get("secret/data/lms")
    assert rate(source) == "1"


# Older versions


def test_an_older_version_is_read_again_elsewhere(balanced: Balance) -> None:
    """Over a new connection, in the same pass; a note says so, with its begin."""
    _, source = balanced(version(2), version(1), version(2))
    assert rate(source) == "2"
    source.api.session.close()
    candidate = source.read()
    assert candidate.values["SENTRY_SAMPLE_RATE"] == "2"
    (note,) = candidate.notes
    assert "older versions now and then" in note
    report = source.report()
    assert report["stale_reads"] == 1
    assert report["stale_since"].endswith("Z")


def test_servers_in_turn_never_bring_the_older_version_back(balanced: Balance) -> None:
    """Whichever server a connection reaches, what was read last is the newest."""
    balancer, source = balanced(version(2), version(1))
    assert rate(source) == "2"
    for _ in range(10):
        assert rate(source) == "2"
        source.api.session.close()
    assert source.report()["stale_reads"] > 5
    assert balancer.connections > 10


def test_only_older_versions_are_an_error(balanced: Balance) -> None:
    """It names both versions and what takes the older one; it is retried soon."""
    balancer, source = balanced(version(3), version(1), version(1), version(1))
    assert rate(source) == "3"
    source.api.session.close()
    with pytest.raises(SourceStale) as caught:
        source.read()
    assert "secret/data/lms" in caught.value.what
    assert "version 1 of 2026-01-31T12:00:01Z" in caught.value.what
    assert "version 3 of 2026-01-31T12:00:03Z" in caught.value.what
    assert "refresh --accept-older" in caught.value.hint
    assert caught.value.retry_soon
    assert balancer.connections == 4


def test_a_secret_that_was_written_anew_counts(balanced: Balance) -> None:
    """Its version is lower, its time newer; what was deleted does not come back."""
    _, source = balanced(version(9, 10), version(1, 20), version(9, 10))
    read = []
    for _ in range(5):
        read.append(rate(source))
        source.api.session.close()
    assert read == ["9", "1", "1", "1", "1"]


def test_a_pinned_version_counts(balanced: Balance) -> None:
    """An operator who pins an older version gets that version."""
    _, source = balanced(version(1), vault_paths=("secret/data/lms?version=1",))
    key = f"secret/data/lms at {source.report()['address']}"
    source.remember({key: Mark(7, 4e9)})
    assert rate(source) == "1"


def test_what_an_earlier_agent_has_read_counts(balanced: Balance) -> None:
    """A restart makes nothing newer."""
    _, source = balanced(version(3))
    seen = source.read().newest
    assert seen
    _, again = balanced(version(2))
    again.remember(
        {f"secret/data/lms at {again.report()['address']}": next(iter(seen.values()))}
    )
    with pytest.raises(SourceStale):
        again.read()


def test_an_operator_may_accept_an_older_version_once(balanced: Balance) -> None:
    """Then this version is the newest; a note says what was accepted."""
    _, source = balanced(version(3), version(1), version(1))
    assert rate(source) == "3"
    source.api.session.close()
    source.accept_older()
    candidate = source.read()
    assert candidate.values["SENTRY_SAMPLE_RATE"] == "1"
    (note,) = candidate.notes
    assert note.startswith("accepted: Vault gives an older secret/data/lms")
    assert rate(source) == "1"
    assert source.read().notes == ()


def test_what_is_accepted_counts_for_one_pass(balanced: Balance) -> None:
    """A later stale read needs another word from an operator."""
    balancer, source = balanced(version(3), *[version(1)] * 9)
    source.accept_older()
    assert rate(source) == "3"
    source.api.session.close()
    with pytest.raises(SourceStale):
        source.read()
    assert balancer.connections == 4


def test_a_run_of_stale_reads_has_one_begin_and_an_end() -> None:
    """So a log says it once, however many there are."""
    now = 0.0
    freshness = Freshness(lambda: now)
    freshness.note()
    (first,) = freshness.notes()
    now = QUIET_SECONDS - 1
    freshness.note()
    assert freshness.notes() == (first,)
    now = 2 * QUIET_SECONDS - 1
    assert freshness.notes() == (first,)
    now = 2 * QUIET_SECONDS
    assert freshness.notes() == ()
    assert freshness.report() == {"stale_reads": 2, "stale_since": None}


# What makes a standby consistent


def test_the_index_of_a_write_is_sent_back(balanced: Balance) -> None:
    """Vault Enterprise names it; a standby then forwards what it does not know yet."""
    index = {"X-Vault-Index": "djE6YWJj=="}
    balancer, source = balanced(version(1, **index))
    source.read()
    source.read()
    first, second = balancer.requests
    assert first.header("X-Vault-Index") == first.header("X-Vault-Inconsistent") == ""
    assert second.header("X-Vault-Index") == "djE6YWJj=="
    assert second.header("X-Vault-Inconsistent") == "forward-active-node"


def test_where_forwarding_is_not_allowed_it_is_not_asked_for(balanced: Balance) -> None:
    """Vault answers 400 to the header then: the read is repeated without it."""
    balancer, source = balanced(version(1, **{"X-Vault-Index": "djE6"}))
    source.read()
    answers = iter([Faults(status=400, body=b"{}"), version(1)])
    real = source.api.session._send

    def send(*args: Any, **kwargs: Any) -> Any:
        balancer.faults = next(answers, version(1))
        return real(*args, **kwargs)

    source.api.session._send = send  # type: ignore[method-assign]
    assert rate(source) == "1"
    assert rate(source) == "1"
    asked = [request.header("X-Vault-Inconsistent") for request in balancer.requests]
    assert asked == ["", "forward-active-node", "", ""]
    assert balancer.requests[-1].header("X-Vault-Index") == "djE6"


@pytest.mark.parametrize(
    "index", ["a b", "x" * 5000, "\x7f"], ids=["space", "long", "odd"]
)
def test_an_odd_index_is_not_sent(balanced: Balance, index: str) -> None:
    """What a server sends is not sent back unless it has the form of an index."""
    balancer, source = balanced(version(1, **{"X-Vault-Index": index}))
    source.read()
    source.read()
    assert balancer.requests[-1].header("X-Vault-Index") == ""


def test_an_index_that_is_never_reached_is_forgotten(balanced: Balance) -> None:
    """A Vault that was restored does not know the write: 412 once, not for ever."""
    balancer, source = balanced(version(1, **{"X-Vault-Index": "djE6"}), version(1))
    source.read()
    balancer.faults = Faults(status=412)
    with pytest.raises(SourceDown, match="not yet replicated"):
        source.read()
    assert rate(source) == "1"
    assert balancer.requests[-1].header("X-Vault-Index") == ""
