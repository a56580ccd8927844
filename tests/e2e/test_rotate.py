"""`rotate`: a DSN is replaced under load, and its key retired when nobody holds it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import requests

from lab.process import Process, eventually
from lab.sentry_api import SentryApi
from lab.sink import Sink
from lab.system import SECRET, System
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.vault

PROJECT = 42
JOURNAL = "secret/data/rotations/lms"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def api(sink: Sink) -> Iterator[SentryApi]:
    """A server whose keys decide what the sink answers."""
    with SentryApi(sink.address) as api:
        api.project("lms", PROJECT)
        api.switched = lambda project, key, is_active: sink.answer(
            project, "ok" if is_active else 403, key=key
        )
        yield api
        assert api.broken == []


@pytest.fixture
def system(api: SentryApi, tmp_path: Path) -> Iterator[System]:
    token = tmp_path / "token"
    token.write_text(api.token)
    with System(
        RESENTRY_ROTATION_PATH=JOURNAL,
        RESENTRY_SENTRY_API=api.url,
        RESENTRY_SENTRY_ORGANIZATION="school",
        RESENTRY_SENTRY_PROJECT="lms",
        RESENTRY_SENTRY_TOKEN_FILE=str(token),
        RESENTRY_DSN_CHECK_SECONDS="5",
    ) as system:
        yield system


def rotate(system: System, *args: str) -> Process:
    return system.spawn(
        "resentry-agent",
        "rotate",
        *args,
        "--json",
        environ={"RESENTRY_FLEET": f"http://127.0.0.1:{system.http_port}"},
    )


def ended(process: Process, code: int = 0) -> dict[str, Any]:
    eventually(lambda: not process.alive, 90, "the end of rotate")
    printed = process.log_text()
    assert process.returncode == code, printed
    result: dict[str, Any] = json.loads(printed[printed.index("\n{") :])["result"]
    return result


def held(system: System) -> dict[str, Any]:
    answer = system.vault.client.read(f"secret/data/{SECRET}")
    return dict(answer["data"]["data"])


def test_a_rotation_under_load(system: System, sink: Sink, api: SentryApi) -> None:
    """Ended in the middle and resumed; no event is lost or doubled."""
    (old,) = api.projects["lms"].keys
    others = {"SENTRY_SAMPLE_RATE": "1.0", "theirs": {"kept": True}}
    system.write(SENTRY_DSN=old["dsn"]["public"], **others)
    system.start_agent()
    system.start_api(workers=2)
    system.converge(2, 1)
    sent = 0

    def report() -> None:
        nonlocal sent
        requests.get(f"http://127.0.0.1:{system.api_port}/courses/1", timeout=10)
        sent += 1

    first = rotate(system, "--quiet", "2s", "--refused", "3s")
    eventually(lambda: report() or "written:" in first.log_text(), 60, "a new value")
    assert first.stop() == 130
    assert "--resume goes on" in first.log_text()
    second = rotate(system, "--resume")
    eventually(lambda: report() or not second.alive, 120, "the end")

    result = ended(second)
    assert result["phase"] == "done"
    (new,) = (key for key in api.projects["lms"].keys if key["isActive"])
    assert new["name"] == f"resentry-{result['rotation']}"
    assert held(system) == {"SENTRY_DSN": new["dsn"]["public"], **others}
    eventually(lambda: sink.count("event", PROJECT) >= sent, what="every event")
    assert sink.duplicates() == 0
    assert sink.answered(403, PROJECT, old["id"]) > 0
    text = json.dumps(system.vault.client.read(JOURNAL)["data"])
    assert old["id"] not in text
    assert new["id"] not in text
    assert fingerprint(new["dsn"]["public"]) in text
