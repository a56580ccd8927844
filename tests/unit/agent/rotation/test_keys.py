"""The client keys of a project, at a stand-in that is held to Sentry's description."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.rotation.keys import SUBJECT, Keys
from agent.sentry_api.client import SentryApi as Client
from agent.sentry_api.errors import SentryApiDenied, SentryApiDown
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
    return Keys(Client(api.url, api.token, SUBJECT), "school", "lms")


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


def test_a_lost_answer_leaves_a_key_that_its_name_finds(
    keys: Keys, api: SentryApi
) -> None:
    """The server made the key, and the client never heard of it."""
    api.faults = [Fault("lost")]
    with pytest.raises(SentryApiDown):
        keys.make("resentry-1")
    assert len(keys.named("resentry-1")) == 1


def test_a_token_without_the_right_is_denied(api: SentryApi) -> None:
    """To read is not to write, and to write is not to delete."""
    api.project("lms", 42)
    keys = Keys(Client(api.url, api.token, SUBJECT), "school", "lms")
    api.scopes = {"project:read"}
    (key,) = keys.all()
    with pytest.raises(SentryApiDenied):
        keys.make("resentry-1")
    api.scopes = {"project:write"}
    assert not keys.switch(key.id, is_active=False).is_active
    with pytest.raises(SentryApiDenied):
        keys.delete(key.id)


def test_glitchtip_ignores_a_deactivation(keys: Keys, api: SentryApi) -> None:
    """The answer says so: 200, and the key is active."""
    api.is_glitchtip = True
    (key,) = keys.all()
    assert keys.switch(key.id, is_active=False).is_active


def test_nobody_at_the_address_is_down(keys: Keys, api: SentryApi) -> None:
    """The error names neither token nor key."""
    api.stop()
    with pytest.raises(SentryApiDown) as raised:
        keys.make("resentry-1")
    assert api.token not in str(raised.value)


def test_quiet_counts_from_the_end_of_the_last_hour(keys: Keys, api: SentryApi) -> None:
    """Where the server says so; its statistics are no public API."""
    (key,) = keys.all()
    now = 1_700_002_800.0 + 600  # ten minutes into an hour
    assert keys.quiet_for(key, now) is None
    api.has_stats = True
    assert keys.quiet_for(key, now) == float("inf")
    api.used[key.id] = [now - 1200, now - 7200]
    assert keys.quiet_for(key, now) == 600
    api.used[key.id].append(now - 1)
    assert keys.quiet_for(key, now) == -3000
    for text in ("[]", "{}", '""', "null", '[{"ts": 0}]'):
        api.faults = [Fault(200, body=text)]
        assert keys.quiet_for(key, now) is None
    api.faults = [Fault(503)]
    with pytest.raises(SentryApiDown):  # it is not silent: nobody has said anything
        keys.quiet_for(key, now)
