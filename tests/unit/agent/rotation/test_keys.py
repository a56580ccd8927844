"""The client keys of a project, at a stand-in that is held to Sentry's description."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.rotation import keys as of_keys
from agent.rotation.errors import (
    KeyApiAbsent,
    KeyApiDenied,
    KeyApiDown,
    KeyApiError,
)
from agent.rotation.keys import Keys
from lab.sentry_api import Fault, SentryApi

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.server

INGEST = "sentry.example.org"


@pytest.fixture
def api() -> Iterator[SentryApi]:
    with SentryApi(INGEST, scopes=("project:admin",)) as api:
        yield api
        assert api.broken == []


@pytest.fixture
def keys(api: SentryApi) -> Keys:
    api.project("lms", 42)
    return Keys(api.url, "school", "lms", api.token)


def test_a_key_is_made_found_switched_and_deleted(keys: Keys) -> None:
    """What the API answers is what the server holds."""
    made = keys.make("resentry-1")
    assert made.dsn == f"http://{made.id}@{INGEST}/42"
    assert made.is_active

    assert keys.named("resentry-1") == [made]
    off = keys.switch(made.id, is_active=False)
    assert not off.is_active
    assert keys.switch(made.id, is_active=True) == made

    keys.delete(made.id)
    keys.delete(made.id)
    assert keys.named("resentry-1") == []


def test_all_pages_are_read(keys: Keys, api: SentryApi) -> None:
    """The server gives ten keys a page, and the oldest key is on the last one."""
    for number in range(34):
        api.add_key(api.projects["lms"], f"key-{number}")
    assert len(keys.all()) == 35
    assert [key.name for key in keys.named("Default")] == ["Default"]
    assert len({key.id for key in keys.all()}) == 35


def test_pages_without_end_are_an_error(
    keys: Keys, api: SentryApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that always names a next page does not hold the rotation."""
    monkeypatch.setattr(of_keys, "PAGES_LIMIT", 2)
    for number in range(30):
        api.add_key(api.projects["lms"], f"key-{number}")
    with pytest.raises(KeyApiError, match="more than 2 pages"):
        keys.all()


def test_a_lost_answer_leaves_a_key_that_its_name_finds(
    keys: Keys, api: SentryApi
) -> None:
    """The server made the key, and the client never heard of it."""
    api.faults = [Fault("lost")]
    with pytest.raises(KeyApiDown):
        keys.make("resentry-1")
    assert len(keys.named("resentry-1")) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, KeyApiDenied),
        (403, KeyApiDenied),
        (404, KeyApiAbsent),
        (410, KeyApiAbsent),
        (400, KeyApiError),
        (302, KeyApiError),
        (429, KeyApiDown),
        (500, KeyApiDown),
        (502, KeyApiDown),
        (503, KeyApiDown),
    ],
)
def test_the_status_decides_what_comes_next(
    status: int, kind: type[KeyApiError], keys: Keys, api: SentryApi
) -> None:
    """Denied needs a person, down is tried again."""
    headers = {"Location": "http://127.0.0.1:1/", "Retry-After": "7"}
    api.faults = [Fault(status, headers)]
    with pytest.raises(kind) as raised:
        keys.all()
    assert str(status) in raised.value.what
    if isinstance(raised.value, KeyApiDown):
        assert raised.value.retry_after == 7


def test_a_page_for_people_is_not_the_api(keys: Keys, api: SentryApi) -> None:
    """A login page answers 200, too."""
    api.faults = [Fault("page")]
    with pytest.raises(KeyApiAbsent, match="not Sentry's API"):
        keys.all()


def test_a_token_without_the_right_is_denied(api: SentryApi) -> None:
    """To read is not to write, and to write is not to delete."""
    api.project("lms", 42)
    keys = Keys(api.url, "school", "lms", api.token)
    api.scopes = {"project:read"}
    (key,) = keys.all()
    with pytest.raises(KeyApiDenied):
        keys.make("resentry-1")
    api.scopes = {"project:write"}
    assert not keys.switch(key.id, is_active=False).is_active
    with pytest.raises(KeyApiDenied):
        keys.delete(key.id)


def test_glitchtip_ignores_a_deactivation(keys: Keys, api: SentryApi) -> None:
    """The answer says so: 200, and the key is active."""
    api.is_glitchtip = True
    (key,) = keys.all()
    assert keys.switch(key.id, is_active=False).is_active


def test_nobody_at_the_address_is_down(keys: Keys, api: SentryApi) -> None:
    """The error names neither token nor key."""
    api.stop()
    with pytest.raises(KeyApiDown) as raised:
        keys.make("resentry-1")
    assert api.token not in str(raised.value)


def test_quiet_counts_from_the_end_of_the_last_hour(keys: Keys, api: SentryApi) -> None:
    """Where the server says so; its statistics are no public API."""
    (key,) = keys.all()
    now = 1_700_002_800.0 + 600  # ten minutes into an hour
    assert keys.quiet_for(key, now) is None
    api.has_stats = True
    assert keys.quiet_for(key, now) == of_keys.STATS_SECONDS
    api.used[key.id] = [now - 1200, now - 7200]
    assert keys.quiet_for(key, now) == 600
    api.used[key.id].append(now - 1)
    assert keys.quiet_for(key, now) == -3000
