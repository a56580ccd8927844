"""The client of Sentry's web API: what each answer means, at the stand-in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from agent.sentry_api import client as of_client
from agent.sentry_api.client import SentryApi as Client
from agent.sentry_api.client import Subject
from agent.sentry_api.errors import (
    SentryApiAbsent,
    SentryApiDenied,
    SentryApiDown,
    SentryApiError,
    SentryApiGone,
)
from lab.proxy import Faults, Proxy
from lab.sentry_api import Fault, SentryApi

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.server

KEYS = ("projects", "school", "lms", "keys")


@pytest.fixture
def api() -> Iterator[SentryApi]:
    with SentryApi("sentry.example.org") as api:
        api.project("lms", 42)
        yield api
        assert api.broken == []


@pytest.fixture
def client(api: SentryApi) -> Client:
    return Client(f"{api.url}/", api.token, Subject("keys", "project:write"))


def test_a_list_is_read_page_by_page(client: Client, api: SentryApi) -> None:
    """In the server's order, each once, and a parameter goes with every page."""
    for number in range(34):
        api.add_key(api.projects["lms"], f"key-{number}")
    names = [key["name"] for key in client.all(*KEYS, params={"status": "active"})]
    assert names == [*(f"key-{number}" for number in range(33, -1, -1)), "Default"]
    assert len(api.asked) == 4


def test_pages_without_end_are_an_error(
    client: Client, api: SentryApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that always names a next page holds nobody."""
    monkeypatch.setattr(of_client, "PAGES_LIMIT", 2)
    for number in range(30):
        api.add_key(api.projects["lms"], f"key-{number}")
    with pytest.raises(SentryApiError, match="more than 2 pages of keys"):
        client.all(*KEYS)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, SentryApiDenied),
        (403, SentryApiDenied),
        (404, SentryApiAbsent),
        (410, SentryApiGone),
        (400, SentryApiError),
        (302, SentryApiError),
        (429, SentryApiDown),
        (500, SentryApiDown),
        (502, SentryApiDown),
        (503, SentryApiDown),
    ],
)
def test_the_status_decides_what_comes_next(
    status: int, kind: type[SentryApiError], client: Client, api: SentryApi
) -> None:
    """Denied needs a person, down is asked again, a redirect is not followed."""
    headers = {"Location": "http://127.0.0.1:1/", "Retry-After": "7"}
    api.faults = [Fault(status, headers)]
    with pytest.raises(kind) as raised:
        client.all(*KEYS)
    assert str(status) in raised.value.what
    assert raised.value.hint
    assert type(raised.value) is kind
    if isinstance(raised.value, SentryApiDown):
        assert raised.value.retry_after == 7


def test_an_api_that_ends_says_since_when_and_what_comes_after(
    client: Client, api: SentryApi
) -> None:
    """410 is "this API has ended", never "the thing is gone"."""
    headers = {
        "X-Sentry-Deprecation-Date": "2026-05-14T00:00:00",
        "X-Sentry-Replacement-Endpoint": "/api/0/organizations/{org}/workflows/",
    }
    api.faults = [Fault(410, headers)]
    with pytest.raises(SentryApiGone, match="deprecated since 2026-05-14") as raised:
        client.all(*KEYS)
    assert "workflows" in raised.value.hint


def test_a_page_for_people_is_not_the_api(client: Client, api: SentryApi) -> None:
    """A login page answers 200, too."""
    api.faults = [Fault("page")]
    with pytest.raises(SentryApiAbsent, match="not Sentry's API"):
        client.all(*KEYS)


def test_nobody_at_the_address_is_down(client: Client, api: SentryApi) -> None:
    """The error names the way out, and no token."""
    api.stop()
    with pytest.raises(SentryApiDown) as raised:
        client.ask("GET", *KEYS)
    assert api.token not in str(raised.value)


@pytest.mark.parametrize("how", ["hang", "lost"])
def test_a_server_that_falls_silent_is_down(
    client: Client, api: SentryApi, monkeypatch: pytest.MonkeyPatch, how: Any
) -> None:
    """Within the limit of one request."""
    monkeypatch.setattr(of_client, "SECONDS", 0.5)
    api.faults = [Fault(how)]
    with pytest.raises(SentryApiDown, match="gives no answer"):
        client.all(*KEYS)
    assert len(client.all(*KEYS)) == 1


def test_an_answer_that_comes_a_byte_at_a_time_is_down(
    api: SentryApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer takes longer than the limit of one request."""
    monkeypatch.setattr(of_client, "SECONDS", 0.5)
    with Proxy(api.address) as proxy:
        proxy.faults = Faults(drip=0.05)
        client = Client(f"http://{proxy.address}", api.token, Subject("keys", "x"))
        began = time.monotonic()
        with pytest.raises(SentryApiDown, match="gives no answer"):
            client.all(*KEYS)
        assert time.monotonic() - began < 5


def test_json_that_is_nested_too_deeply_is_not_the_api(api: SentryApi) -> None:
    """Python gives up on it."""
    with Proxy(api.address) as proxy:
        proxy.faults = Faults(status=200, body=b"[" * 65536)
        client = Client(f"http://{proxy.address}", api.token, Subject("keys", "x"))
        with pytest.raises(SentryApiAbsent):
            client.all(*KEYS)


def test_the_words_about_a_wrong_request_are_shown_without_a_key(
    client: Client, api: SentryApi
) -> None:
    """What is wrong with a rule only the server knows."""
    key = "c0ffee00c0ffee00c0ffee00c0ffee00"
    api.faults = [Fault(400, body=f'{{"dataSources": ["no {key}"]}}')]
    with pytest.raises(SentryApiError, match="dataSources") as raised:
        client.all(*KEYS)
    assert key not in raised.value.what


def test_what_has_a_slash_stays_one_part_of_the_path(
    client: Client, api: SentryApi
) -> None:
    """A release is named as `lms@1.0/7`."""
    with pytest.raises(SentryApiAbsent, match=r"\(404\) at projects/school/a/../lms$"):
        client.ask("GET", "projects", "school", "a/../lms", "keys")
    assert api.asked[-1][1] == "/api/0/projects/school/a%2F..%2Flms/keys/"
    api.broken.clear()  # the description has no 404 here
