"""Who may write the secret cannot choose the guard rails, nor the rules of production."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lab.process import Process, eventually, free_port, listens

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
GOOD = {"SENTRY_DSN": f"https://{KEY}@sentry.example.org/1"}
EVIL: dict[str, Any] = {
    "SENTRY_DSN": f"http://{KEY}@evil.example/1",
    "SENTRY_SEND_PII": "true",
    "SENTRY_TRACES_SAMPLE_RATE": "1",
}
HOST = {"SENTRY_DSN": f"https://{KEY}@evil.example/1"}
RAILS = {
    "RESENTRY_ENVIRONMENT": "production",
    "RESENTRY_ALLOWED_DSNS": "production=sentry.example.org/1",
    "RESENTRY_RATE_CAPS": "production=0.1",
    "RESENTRY_DSN_CHECK": "off",
}
RULE = {"match": "*", "traces": 1.0}
BOOST = {"id": "b", "traces": 1.0, "until": "2099-01-01T00:00:00Z"}
ATTACKS: dict[str, dict[str, Any]] = {
    "unknown": EVIL | {"SENTRY_ENVIRONMENT": "x"},
    "upper case": HOST | {"SENTRY_ENVIRONMENT": "Production"},
    "short": HOST | {"SENTRY_ENVIRONMENT": "prod"},
    "role": GOOD | {"RESENTRY_ROLES": {"api": EVIL | {"SENTRY_ENVIRONMENT": "x"}}},
    "role alone": {"RESENTRY_ROLES": {"api": EVIL | {"SENTRY_ENVIRONMENT": "x"}}},
    "rule": GOOD | {"RESENTRY_RULES": [RULE]},
    "rule of a role": GOOD | {"RESENTRY_RULES": [RULE | {"role": "api"}]},
    "boost": GOOD | {"RESENTRY_BOOSTS": [BOOST]},
}


class Pod:
    """A volume, and a file that stands for the secret."""

    def __init__(self, folder: Path) -> None:
        self.volume = folder / "volume"
        self.secret = folder / "secret.json"
        self.environ = {
            "PATH": os.environ["PATH"],
            "RESENTRY_DIR": str(self.volume),
            "RESENTRY_SOURCE_PATH": str(self.secret),
        }

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def once(self, secret: dict[str, Any], **rails: str) -> tuple[int, str]:
        self.secret.write_text(json.dumps(secret))
        ran = self.run("-m", "agent", "once", **(rails or RAILS))
        return ran.returncode, ran.stdout + ran.stderr

    @property
    def published(self) -> bytes:
        return (self.volume / "settings.json").read_bytes()


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_secret_passes_the_rails_by_a_name(pod: Pod, attack: str) -> None:
    """The last good snapshot stays, and nothing is shown of the secret."""
    code, printed = pod.once(GOOD)
    assert code == 0, printed
    before = pod.published
    code, printed = pod.once(ATTACKS[attack])
    assert code == 65, printed
    assert pod.published == before
    assert KEY not in printed


def test_a_list_without_an_entry_publishes_nothing(pod: Pod) -> None:
    """`prod` is production, and `qa` is another environment."""
    code, printed = pod.once(GOOD, RESENTRY_ALLOWED_DSNS="prod=sentry.example.org")
    assert code == 0, printed
    before = pod.published
    code, printed = pod.once(
        GOOD | {"SENTRY_RELEASE": "2"}, RESENTRY_ALLOWED_DSNS="qa=sentry.example.org"
    )
    assert code == 65, printed
    assert "RESENTRY_ALLOWED_DSNS has no entry for production" in printed
    assert pod.published == before


PROGRAM = """
import json, resentry
resentry.init(role="api")
print(json.dumps(resentry.status()))
"""


@pytest.mark.parametrize("own", ["ENVIRONMENT", "SENTRY_ENVIRONMENT"])
def test_a_production_process_refuses_what_only_its_agent_lets_pass(
    pod: Pod, own: str
) -> None:
    """An agent of staging beside it publishes what no process of production runs."""
    secret = {
        "SENTRY_DSN": f"http://{KEY}@10.255.0.1/1",
        "SENTRY_ENVIRONMENT": "staging",
        "SENTRY_SEND_PII": "true",
    }
    code, printed = pod.once(
        secret, RESENTRY_ENVIRONMENT="staging", RESENTRY_DSN_CHECK="off"
    )
    assert code == 0, printed
    status = json.loads(pod.run("-c", PROGRAM, **{own: "production"}).stdout)
    assert status["values"]["SENTRY_DSN"] == "none"
    assert status["values"]["SENTRY_SEND_PII"] is False
    assert status["error"].endswith(
        f"must be false in production ({own} of this process)"
    )
    status = json.loads(pod.run("-c", PROGRAM, **{own: "staging"}).stdout)
    assert status["error"] is None
    assert status["values"]["SENTRY_SEND_PII"] is True


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("production", "the default: neither RESENTRY_ENVIRONMENT nor ENVIR")),
        ({"ENVIRONMENT": "qa"}, ("qa", "ENVIRONMENT")),
        ({"ENVIRONMENT": "qa", "RESENTRY_ENVIRONMENT": "dev"}, ("dev", "RESENTRY_ENV")),
    ],
)
def test_the_first_line_says_which_environment_counts(
    pod: Pod, environ: dict[str, str], expected: tuple[str, str]
) -> None:
    """And where it is set; a list without an entry for it is a warning."""
    port = free_port()
    environ = {
        **pod.environ,
        "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{port}",
        "RESENTRY_RATE_CAPS": "other=0.5",
        **environ,
    }
    pod.secret.write_text("{}")
    with Process(
        [sys.executable, "-m", "agent", "run"],
        env=environ,
        ready=lambda: listens(port),
    ) as process:
        eventually(lambda: "agent started" in process.log_text(), what="the first line")
        lines = [json.loads(line) for line in process.log_text().splitlines()]
    (started,) = (line for line in lines if line["event"] == "agent started")
    name, place = expected
    assert started["environment"] == name
    assert started["environment_place"].startswith(place)
    warning = f"RESENTRY_RATE_CAPS has no entry for {name}, so no rate above 0 can be"
    assert any(line["event"].startswith(warning) for line in lines)
