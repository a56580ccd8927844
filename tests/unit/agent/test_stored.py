"""Reading test items back: what Sentry's and Bugsink's API answer, and what they do not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from agent import stored
from agent.cli.read_back import open_server
from agent.errors import SettingsError
from agent.stored import Found, Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.settings import Settings

TOKEN = "planted-secret"
EVENT = "ea99010326f34c0e99743da6ec01918b"
BASE = "https://sentry.example.com"


class Answers:
    """Takes the place of `web.get`: answers by the path, else with 404."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    def __call__(
        self, url: str, headers: dict[str, str], *_limits: float
    ) -> tuple[int, bytes]:
        path = url.removeprefix(f"{BASE}/api/")
        self.asked.append((path, headers.get("Authorization", "")))
        answer = self.answers.get(path, 404)
        if isinstance(answer, OSError):
            raise answer
        if isinstance(answer, int):
            return answer, b""
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return 200, body


@pytest.fixture
def server(
    monkeypatch: pytest.MonkeyPatch, settings: Callable[..., Settings]
) -> Callable[..., tuple[Server, Answers]]:
    def make(answers: dict[str, Any]) -> tuple[Server, Answers]:
        asked = Answers(**answers)
        monkeypatch.setattr(stored, "get", asked)
        made = settings(verify_api=f"{BASE}/", verify_token=TOKEN)
        return Server(made, "test"), asked

    return make


SCHEMA = {"canonical/0/schema/": b"openapi: 3.0.3\ninfo:\n  title: Bugsink\n"}
ISSUES = "canonical/0/issues/?project=42&sort=last_seen&order=desc"


def test_bugsink_has_an_event_in_one_of_its_newest_issues(server: Any) -> None:
    """Its id has dashes there. Transactions and logs are never kept."""
    dashed = f"{EVENT[:8]}-{EVENT[8:12]}-{EVENT[12:16]}-{EVENT[16:20]}-{EVENT[20:]}"
    one, asked = server(
        {
            **SCHEMA,
            ISSUES: {"results": [{"id": "other"}, {"id": "i1"}, "nonsense"]},
            "canonical/0/events/?issue=other": {"results": []},
            "canonical/0/events/?issue=i1": {
                "results": [{"id": "e1", "event_id": dashed}]
            },
            "canonical/0/events/e1/": {
                "data": {"environment": "staging", "release": "1.0"}
            },
        }
    )
    found = one.find("42", {"error": EVENT, "message": "b" * 32, "log": "c" * 32})
    assert found == {
        "error": Found("yes", "staging", "1.0"),
        "message": Found("no"),
        "log": Found("never"),
    }
    assert asked.asked[0] == ("canonical/0/schema/", "")  # who it is, without the token
    assert {token for _, token in asked.asked[1:]} == {f"Bearer {TOKEN}"}


def test_sentry_has_an_event_by_project_and_id(server: Any) -> None:
    """It has no address for one log; a project of another organization is 404."""
    one, _ = server(
        {
            "0/organizations/": [{"slug": "first"}, {"slug": "second"}],
            f"0/projects/second/42/events/{EVENT}/": {
                "tags": [
                    {"key": "environment", "value": "production"},
                    {"key": "release", "value": "1.0.0"},
                ]
            },
        }
    )
    found = one.find("42", {"error": EVENT, "transaction": "b" * 32, "log": "c" * 32})
    assert found["error"] == Found("yes", "production", "1.0.0")
    assert found["transaction"] == Found("no")
    assert found["log"].stored == "unknown"


@pytest.mark.parametrize(
    "answers",
    [
        {"0/organizations/": 401},
        {"0/organizations/": 403},
        {"0/organizations/": 500},
        {"0/organizations/": 404},
        {"0/organizations/": OSError("Connection refused")},
        {"0/organizations/": b"<html>"},
        {"0/organizations/": []},
        {
            "0/organizations/": [{"slug": "o"}],
            f"0/projects/o/42/events/{EVENT}/": 403,
        },
        {**SCHEMA, ISSUES: 403},
        {**SCHEMA, ISSUES: OSError("no answer within 5 s")},
    ],
    ids=str,
)
def test_what_the_api_does_not_tell_is_unknown(
    server: Any, answers: dict[str, Any]
) -> None:
    """Each with a reason, which quotes no token."""
    one, _ = server(answers)
    found = one.find("42", {"error": EVENT})["error"]
    assert found.stored == "unknown"
    assert found.why
    assert TOKEN not in found.why


@pytest.mark.parametrize(
    "given",
    [
        {"verify_token": TOKEN},
        {"verify_api": BASE},
        {"verify_api": BASE, "verify_token": "two\nlines"},
        {"verify_api": BASE, "verify_token_file": "/nowhere/token"},
    ],
    ids=str,
)
def test_without_address_or_token_it_says_what_to_set(
    settings: Callable[..., Settings], given: dict[str, str]
) -> None:
    """Before anything is sent."""
    with pytest.raises(SettingsError) as wrong:
        Server(settings(**given), "test")
    assert wrong.value.hint


def test_the_token_is_read_from_its_file(
    tmp_path: Path, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file wins over the variable."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    asked = Answers()
    monkeypatch.setattr(stored, "get", asked)
    made = settings(verify_api=BASE, verify_token_file=str(file), verify_token="other")
    Server(made, "test").find("42", {"error": EVENT})
    assert asked.asked[-1] == ("0/organizations/", f"Bearer {TOKEN}")


def test_a_token_that_the_network_can_read_is_warned_of(
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over http to another host; not over https, nor to this machine."""
    said: list[str] = []
    monkeypatch.setattr("agent.cli.read_back.stderr.say", said.append)
    monkeypatch.setattr(stored, "get", Answers())
    for address in (BASE, "http://127.0.0.1:8000", "http://localhost"):
        open_server(settings(verify_api=address, verify_token=TOKEN))
    assert said == []
    open_server(settings(verify_api="http://bugsink.example.com", verify_token=TOKEN))
    assert len(said) == 1
    assert TOKEN not in said[0]
