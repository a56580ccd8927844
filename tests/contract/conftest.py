"""A volume with one snapshot, and targets of one's own making."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent.publish.volume import Volume
from lab.process import eventually
from resentry.contract import Boost, Receipt, Rule, Snapshot, revision_of
from resentry.receipt_file import Identity

SETTINGS = {
    "SENTRY_DSN": "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42",
    "SENTRY_ENVIRONMENT": "production",
    "SENTRY_RELEASE": "lms@1.4.2",
    "SENTRY_SAMPLE_RATE": 1.0,
    "SENTRY_TRACES_SAMPLE_RATE": 0.1,
    "SENTRY_PROFILES_SAMPLE_RATE": 0.0,
    "SENTRY_PROFILE_SESSION_SAMPLE_RATE": 0.5,
    "SENTRY_SEND_PII": False,
    "SENTRY_ENABLE_FOR_CELERY": True,
    "SENTRY_ENABLE_LOGS": False,
}

_APP = """
import sys
import resentry
resentry.init(
    role="celery", default_integrations=False, auto_enabling_integrations=False
)
print("ready", flush=True)
sys.stdin.read()
"""


def _snapshot() -> Snapshot:
    content = Snapshot(
        settings=SETTINGS,
        roles={"celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.01}},
        rules=(Rule("GET /health", 0.0),),
        boosts=(Boost("b1", 1.0, "2026-11-24T06:15:00Z", "POST /checkout", "api"),),
    )
    where = {"source": "vault", "path": "secret/data/lms", "version": 7}
    return Snapshot(
        content.settings,
        content.roles,
        content.rules,
        content.boosts,
        dict.fromkeys(SETTINGS, where),
        revision_of(content),
    )


@pytest.fixture
def snapshot() -> Snapshot:
    return _snapshot()


@pytest.fixture
def published(volume: Volume, snapshot: Snapshot) -> Snapshot:
    return volume.publish(snapshot)


@pytest.fixture
def receipt() -> Callable[..., Receipt]:
    """Make a receipt of this process."""

    def make(**values: Any) -> Receipt:
        me = Identity()
        given = {
            "id": me.id,
            "role": "api",
            "pid": os.getpid(),
            "pidns": me.pidns,
            "start_time": me.start_time,
            **values,
        }
        return Receipt(**given)

    return make


@pytest.fixture
def start_app(directory: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a real application that follows the volume."""
    with ExitStack() as stack:

        def start(**environ: str) -> "subprocess.Popen[str]":
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _APP],
                    env={
                        "PATH": os.environ["PATH"],
                        "RESENTRY_DIR": str(directory),
                        **environ,
                    },
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            return process

        yield start


@pytest.fixture
def app(
    start_app: Callable[..., "subprocess.Popen[str]"], published: Snapshot
) -> "subprocess.Popen[str]":
    """One application that runs the published snapshot."""
    return start_app(VERSION=published.revision)


@pytest.fixture
def receipts(directory: Path, app: Any) -> Path:  # noqa: ARG001 - it writes there
    """The receipts' directory, once the application has given its last one.

    It gives none after "drained", so whoever kills it then leaves no half of one.
    """
    folder = directory / "receipts"
    eventually(
        lambda: [
            path
            for path in folder.glob("*.json")
            if json.loads(path.read_bytes())["phase"] == "drained"
        ],
        within=60,
        what="a receipt that says drained",
    )
    return folder
