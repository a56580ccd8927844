"""What Vault answers again is not taken apart again, and asked for with less work."""

from __future__ import annotations

import json
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from lab.proxy import Faults, Proxy

if TYPE_CHECKING:
    from agent.source.vault import VaultSource

pytestmark = pytest.mark.server


def answer(rate: str, version: int = 1, **first: str) -> Faults:
    """Return an answer as Vault writes it: each has an id of its own, at the begin."""
    metadata = {"version": version, "created_time": "2026-01-31T12:00:00Z"}
    data = {"data": {"SENTRY_SAMPLE_RATE": rate}, "metadata": metadata}
    head = first or {"request_id": str(uuid.uuid4())}
    body = json.dumps({**head, "lease_id": "", "data": data}, separators=(",", ":"))
    return Faults(status=200, body=body.encode())


def test_the_same_answer_gives_the_same_mappings(
    server: Proxy, source: VaultSource
) -> None:
    """So the pipeline knows without a look at them that nothing is new."""
    server.faults = answer("0.5")
    first = source.read()
    server.faults = answer("0.5")
    second = source.read()
    assert second.values is first.values
    assert second.provenance is first.provenance
    assert second.newest == first.newest
    server.faults = answer("0.6")
    assert source.read().values == {"SENTRY_SAMPLE_RATE": "0.6"}
    server.faults = answer("0.6", version=2)
    third = source.read()
    assert third.provenance["SENTRY_SAMPLE_RATE"]["version"] == 2
    server.faults = answer("0.5", version=3)
    assert source.read().values == first.values


@pytest.mark.parametrize("first", [{"id": "x"}, {"request_id": "no-uuid"}])
def test_an_answer_that_begins_otherwise_is_read_each_time(
    server: Proxy, source: VaultSource, first: dict[str, str]
) -> None:
    """A proxy may write it anew; then its bytes prove nothing."""
    server.faults = answer("0.5", **first)
    before = source.read()
    after = source.read()
    assert after.values == before.values
    assert after.values is not before.values


CALLS_OF_A_READ = 240
"""So many functions in Python a read may call if nothing is new."""


def test_a_read_of_the_same_calls_few_functions(
    server: Proxy, source: VaultSource
) -> None:
    """Each call costs CPU time in every pod. Their number is the same on each machine."""
    server.faults = answer("0.5")
    source.read()
    calls = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(note)
    try:
        source.read()
    finally:
        sys.setprofile(None)
    assert calls <= CALLS_OF_A_READ


def test_an_error_between_two_equal_answers_is_an_error(
    server: Proxy, source: VaultSource
) -> None:
    server.faults = answer("0.5")
    before = source.read()
    server.faults = Faults(status=503, body=b"{}")
    with pytest.raises(Exception, match="503"):
        source.read()
    server.faults = answer("0.5")
    assert source.read().values is before.values


def test_a_repeated_request_is_prepared_once(
    server: Proxy, source: VaultSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another token, path or body makes another request, and no body is kept."""
    session: Any = source.api.session
    prepare, prepared = session.prepare_request, []

    def note(request: Any) -> Any:
        prepared.append(request)
        return prepare(request)

    monkeypatch.setattr(session, "prepare_request", note)
    server.faults = answer("0.5")
    for _ in range(3):
        source.read()
    assert len(prepared) == 1
    source.api.token = "another"
    source.read()
    assert len(prepared) == 2
    source.api.post("auth/approle/login", {"secret_id": "planted"})
    source.read()
    assert len(prepared) == 3
    assert "planted" not in repr(vars(session))
