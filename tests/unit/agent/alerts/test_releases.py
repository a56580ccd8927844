"""A deployment, told to Sentry: the stand-in is held to Sentry's published description."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.alerts.releases import SUBJECT, Deployment, tell
from agent.sentry_api.client import SentryApi as Client
from agent.sentry_api.errors import SentryApiDenied, SentryApiDown
from lab.sentry_api import Fault, SentryApi

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.server

FIRST = Deployment(
    "lms", "lms@1.0/7", "production", "run 1", "https://ci.example.org/1"
)


@pytest.fixture
def api() -> Iterator[SentryApi]:
    with SentryApi("sentry.example.org", scopes=("org:ci",)) as api:
        api.project("lms", 42)
        yield api
        assert api.broken == []


def deploys(api: SentryApi) -> list[tuple[str, str]]:
    return [
        (each["environment"], each["name"])
        for every in api.releases.deploys.values()
        for each in every
    ]


def test_a_deployment_is_told_once(api: SentryApi) -> None:
    """Again it is known; in another environment and by another run it is new."""
    client = Client(api.url, api.token, SUBJECT)
    assert tell(client, "school", FIRST)
    assert not tell(client, "school", FIRST)
    assert tell(client, "school", FIRST._replace(environment="staging"))
    assert tell(client, "school", FIRST._replace(name="", url=""))
    assert not tell(client, "school", FIRST._replace(name=""))
    assert [*api.releases.deploys] == ["lms@1.0/7"]
    assert deploys(api) == [
        ("production", "run 1"),
        ("staging", "run 1"),
        ("production", None),
    ]


@pytest.mark.parametrize("before", range(3))
def test_a_lost_answer_makes_no_second_deploy(api: SentryApi, before: int) -> None:
    """Of the release, of the list, and of the deploy itself."""
    client = Client(api.url, api.token, SUBJECT)
    assert tell(client, "school", FIRST._replace(environment="staging"))
    api.faults = [*[Fault("through")] * before, Fault("lost")]
    with pytest.raises(SentryApiDown):
        tell(client, "school", FIRST)
    tell(client, "school", FIRST)
    assert deploys(api) == [("staging", "run 1"), ("production", "run 1")]


def test_a_token_without_the_scope_is_denied(api: SentryApi) -> None:
    """The error names the scope."""
    api.scopes = {"alerts:write"}
    with pytest.raises(SentryApiDenied) as raised:
        tell(Client(api.url, api.token, SUBJECT), "school", FIRST)
    assert "org:ci" in raised.value.hint
