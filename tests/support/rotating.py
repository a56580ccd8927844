"""A rotation in the end-to-end tests: a stand-in for Sentry's API, and `rotate` itself."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lab.process import Process, eventually
from lab.sentry_api import SentryApi
from lab.system import SECRET, System

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.sink import Sink

PROJECT = 42
JOURNAL = "secret/data/rotations/lms"


@contextmanager
def sentry(sink: Sink, **more: Any) -> Iterator[SentryApi]:
    """Start a server whose keys decide what the sink answers."""
    with SentryApi(sink.address, **more) as api:
        api.project("lms", PROJECT)
        api.switched = lambda project, key, is_active: sink.answer(
            project, "ok" if is_active else 403, key=key
        )
        yield api
        assert api.broken == []


def environ_of(api: SentryApi, folder: Path) -> dict[str, str]:
    """Return the settings of a rotation by this API."""
    token = folder / "token"
    token.write_text(api.token)
    return {
        "RESENTRY_ROTATION_PATH": JOURNAL,
        "RESENTRY_SENTRY_API": api.url,
        "RESENTRY_SENTRY_ORGANIZATION": "school",
        "RESENTRY_SENTRY_PROJECT": "lms",
        "RESENTRY_SENTRY_TOKEN_FILE": str(token),
        "RESENTRY_DSN_CHECK_SECONDS": "5",
    }


def rotate(system: System, *args: str, **environ: str) -> Process:
    """Start a rotation. Its fleet is one pod that has two addresses."""
    hosts = ("127.0.0.1", "localhost")
    urls = ",".join(f"http://{host}:{system.http_port}" for host in hosts)
    fleet = {"RESENTRY_FLEET": urls}
    command = ("resentry-agent", "rotate", *args, "--json")
    return system.spawn(*command, environ=fleet | environ)


def says(process: Process, text: str) -> None:
    """Wait until a command has said this."""
    eventually(
        lambda: text in process.log_text() or not process.alive, 120, f"{text!r}"
    )
    assert text in process.log_text(), process.log_text()


def ended(process: Process, code: int = 0) -> dict[str, Any]:
    """Wait for the end of a command, and return its result."""
    eventually(lambda: not process.alive, 180, "the end of rotate")
    printed = process.log_text()
    assert process.returncode == code, printed
    document, _ = json.JSONDecoder().raw_decode(printed[printed.index("{") :])
    return dict(document["result"] or {})


def held(system: System) -> dict[str, Any]:
    """Return what the secret holds."""
    answer = system.vault.client.read(f"secret/data/{SECRET}")
    return dict(answer["data"]["data"])


def active(api: SentryApi) -> list[bool]:
    """Return for each key, the oldest first, whether it is active."""
    return [bool(key["isActive"]) for key in api.projects["lms"].keys]
