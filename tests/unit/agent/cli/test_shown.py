"""How values are shown, and what an agent says that cannot start."""

import socket
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"


@pytest.fixture
def source(tmp_path: Path) -> dict[str, str]:
    """A mounted source, as settings."""
    file = tmp_path / "source"
    file.write_text(f"SENTRY_DSN={DSN}\nSENTRY_SEND_PII=true\n")
    return {
        "RESENTRY_SOURCE_PATH": str(file),
        "RESENTRY_DSN_CHECK": "off",
        "ENVIRONMENT": "staging",
    }


def test_a_setting_is_shown_as_it_stands_at_the_source(
    command: Any, source: dict[str, str]
) -> None:
    """True and false in lower case."""
    assert command("once", **source).returncode == 0
    for name in ("status", "history"):
        shown = command(name).stdout
        assert "SENTRY_SEND_PII=true\n" in shown
        assert "True" not in shown


def test_an_agent_that_cannot_start_does_not_say_that_it_stopped(
    command: Any, source: dict[str, str]
) -> None:
    """The reason is the last thing that it says, and nothing comes between."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ran = command("run", RESENTRY_HTTP_LISTEN=f"127.0.0.1:{port}", **source)
    assert ran.returncode == 78
    assert f"127.0.0.1:{port}" in ran.stderr
    assert "agent stopped" not in ran.stderr + ran.stdout
