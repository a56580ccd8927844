"""What the agent makes of each answer of Vault, and of none: one of our errors."""

import gzip
import inspect
import json
import re
import tracemalloc
from typing import Any

import hvac.exceptions
import pytest
import requests

from agent.backoff import RETRY_AFTER_CAP_SECONDS
from agent.errors import (
    AgentError,
    CandidateRefused,
    SourceDenied,
    SourceDown,
    SourceError,
    SourceMissing,
)
from agent.source.vault import VaultSource
from lab.paths import DOCS
from lab.proxy import Faults, Proxy

SECRET = "hvs.CAESIJplantedVaultToken0123456789abcdefghijkl"
JSON = {"Content-Type": "application/json"}
KV = json.dumps({"data": {"data": {"SENTRY_SAMPLE_RATE": "1"}}}).encode()


pytestmark = pytest.mark.server


STATUSES: list[tuple[int, type[SourceError], str]] = [
    (201, SourceDown, "with status 201"),
    (204, SourceDown, "is not a KV secret"),
    (301, SourceDown, "with status 301"),  # without a Location
    (400, SourceDenied, "rejected the request for secret/data/lms as invalid"),
    (401, SourceDenied, "denies access to secret/data/lms"),
    (403, SourceDenied, "denies access to secret/data/lms"),
    (404, SourceMissing, "there is no secret at secret/data/lms"),
    (405, SourceDenied, "does not allow this request for secret/data/lms"),
    (407, SourceDown, "with status 407"),
    (412, SourceDown, "has not yet replicated the data that secret/data/lms needs"),
    (418, SourceDown, "with status 418"),
    (429, SourceDown, "limits the rate of requests for secret/data/lms"),
    (472, SourceDown, "is a disaster-recovery secondary"),
    (473, SourceDown, "is a performance standby that does not answer"),
    (500, SourceDown, "answers secret/data/lms with status 500"),
    (501, SourceDown, "is not initialized"),
    (502, SourceDown, "with status 502"),
    (503, SourceDown, "is sealed or in maintenance"),
    (504, SourceDown, "with status 504"),
    (599, SourceDown, "with status 599"),
]
BODIES = {
    "Vault's errors": (json.dumps({"errors": [SECRET]}).encode(), JSON),
    "a page": (f"<html>{SECRET}".encode(), {"Content-Type": "text/html"}),
    "nothing": (b"", {}),
    "a list": (json.dumps([SECRET]).encode(), JSON),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(("status", "kind", "says"), STATUSES)
def test_every_status_is_one_of_our_errors(
    server: Proxy, source: VaultSource, status: int, kind: type, says: str, body: str
) -> None:
    """By the status: of the body counts only whether a 400 is Vault's at all."""
    content, headers = BODIES[body] if status != 204 else (b"", {})
    if status == 400 and body in ("a page", "nothing"):
        kind, says = SourceDown, "is not Vault's"
    server.faults = Faults(status=status, body=content, headers=headers)
    with pytest.raises(SourceError) as caught:
        source.read()
    error = caught.value
    assert type(error) is kind
    assert says in error.what
    assert error.retry_soon is (kind is SourceDown)
    assert error.retry_after is None
    assert SECRET not in error.what + error.hint
    assert error.__cause__ is None


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("299", 299),
        ("3600", RETRY_AFTER_CAP_SECONDS),
        ("9" * 5000, RETRY_AFTER_CAP_SECONDS),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_respected_within_reason(
    server: Proxy, source: VaultSource, status: int, header: str, seconds: float | None
) -> None:
    """Up to five minutes; what is no number of seconds is left to our own back-off."""
    server.faults = Faults(status=status, headers={"Retry-After": header})
    with pytest.raises(SourceDown) as caught:
        source.read()
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Sign in</html>",
        b"null",
        b"[]",
        b'"text"',
        b'{"data": ',
        b"\xff\xfe\x00",
        b"1" * 10_000,
        b"[" * 100_000,
        json.dumps({"errors": [SECRET]}).encode(),
        json.dumps({}).encode(),
        json.dumps({"data": None}).encode(),
        json.dumps({"data": []}).encode(),
        json.dumps({"data": {"data": None, "metadata": None}}).encode(),
        json.dumps({"data": {"data": "x"}}).encode(),
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_not_vault_s_is_never_a_candidate(
    server: Proxy, source: VaultSource, body: bytes
) -> None:
    """A page, half an answer or another one, with status 200: the last good stays."""
    server.faults = Faults(status=200, body=body, headers=JSON)
    with pytest.raises(SourceDown) as caught:
        source.read()
    assert "is not" in caught.value.what
    assert caught.value.hint
    assert SECRET not in caught.value.what


@pytest.mark.parametrize(
    "kind",
    ["", "text/html", "text/plain; charset=utf-16", "application/json; charset=x"],
)
def test_the_content_type_does_not_count(
    server: Proxy, source: VaultSource, kind: str
) -> None:
    """JSON is JSON, and read as UTF-8, whatever it is called."""
    server.faults = Faults(status=200, body=KV, headers={"Content-Type": kind})
    assert source.read().values == {"SENTRY_SAMPLE_RATE": "1"}


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        (Faults(refuse=True), "does not answer at"),
        (Faults(status=200, body=KV, cut=0), "does not answer at"),
        (Faults(status=200, body=KV, cut=20), "is not Vault's"),  # its head ends there
        (Faults(status=200, body=KV, cut=len(KV)), "does not answer at"),
        (Faults(status=200, headers={"X": "y" * 70000}), "does not answer at"),
        (Faults(status=200, headers={SECRET: "", f"{SECRET} ": ""}), "is not Vault's"),
    ],
    ids=["refused", "closed", "cut in the head", "cut in the body", "long", "no head"],
)
def test_an_answer_that_is_not_whole_is_none(
    server: Proxy,
    source: VaultSource,
    faults: Faults,
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What to check is said, nothing is quoted; the next read may succeed."""
    server.faults = faults
    with pytest.raises(SourceDown, match=says) as caught:
        source.read()
    assert caught.value.hint
    assert not caplog.records
    server.faults = Faults(status=200, body=KV)
    assert source.read().values


@pytest.mark.slow
def test_a_body_that_inflates_is_never_inflated(
    server: Proxy, source: VaultSource
) -> None:
    """Nothing compressed is asked for; what comes so all the same has the same limit."""
    bomb = gzip.compress(b" " * 100_000_000)
    encoded = {"Content-Encoding": "gzip"}
    server.faults = Faults(status=200, body=bomb, headers=encoded)
    tracemalloc.start()
    with pytest.raises(CandidateRefused, match="larger than 2 MiB"):
        source.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


# What the libraries raise


def _subclasses(module: Any, root: type) -> list[type]:
    found = (each for _, each in inspect.getmembers(module, inspect.isclass))
    return [each for each in found if issubclass(each, root)]


VAULT_ERRORS = _subclasses(hvac.exceptions, hvac.exceptions.VaultError)
REQUEST_ERRORS = _subclasses(requests.exceptions, requests.RequestException)


@pytest.mark.parametrize("kind", [*VAULT_ERRORS, *REQUEST_ERRORS])
def test_every_error_of_hvac_and_requests_is_one_of_ours(
    source: VaultSource, kind: type
) -> None:
    """No class of theirs gets through, nor does any text of theirs.

    hvac judges no answer here, so an error of its own is a bug of ours.
    """
    more = ("", 0) if kind is requests.exceptions.JSONDecodeError else ()

    def request(*_args: object, **_more: object) -> None:
        raise kind(SECRET, *more)

    source.api.adapter.request = request
    with pytest.raises(AgentError) as caught:
        source.read()
    expected = AgentError if kind in VAULT_ERRORS else SourceDown
    assert expected is type(caught.value)
    assert SECRET not in caught.value.what + caught.value.hint
    assert caught.value.__suppress_context__


def test_both_lists_of_errors_are_found() -> None:
    """The reflection above really walks both libraries."""
    assert len(VAULT_ERRORS) > 10
    assert len(REQUEST_ERRORS) > 15


PAGE = (DOCS / "vault.md").read_text()
ROW = re.compile(r"^\| ([45]\d\d(?:, \d+)*) \| `(\w+)` \| ([^|]+) \|$", re.MULTILINE)


def test_the_page_lists_what_vault_answers() -> None:
    """Each status that has a sentence of its own, with its error and that sentence."""
    listed = {
        (int(status), kind, tuple(part.strip() for part in says.split("...")))
        for statuses, kind, says in ROW.findall(PAGE)
        for status in statuses.split(", ")
    }
    known = {status: (kind.__name__, says) for status, kind, says in STATUSES}
    for status, kind, parts in listed:
        assert known[status][0] == kind
        if status != 404:
            assert all(part in known[status][1] for part in parts)
    own = {status for status, _, says in STATUSES if "with status" not in says}
    assert {status for status, *_ in listed} == own - {204}
