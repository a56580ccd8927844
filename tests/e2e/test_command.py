"""What a person sees: help, check, once, status, and the most likely mistakes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab.sink import Sink
    from lab.system import System

pytestmark = pytest.mark.process


@pytest.mark.vault
def test_check_walks_all_steps(system: System, sink: Sink) -> None:
    """With everything good each step says ok, and nothing is published."""
    system.write(SENTRY_DSN=sink.dsn(1))

    code, printed = system.run("resentry-agent", "check", "--json")

    assert code == 0, printed
    report = json.loads(printed)["result"]
    assert [step["step"] for step in report["steps"]] == [
        "settings",
        "source",
        "rights",
        "secret",
        "values",
        "volume",
        "listen",
        "receipts",
        "targets",
    ]
    assert {"ok"} == {step["result"] for step in report["steps"]}
    assert not system.directory.exists()


@pytest.mark.vault
def test_a_wrong_token_is_named(system: System, sink: Sink) -> None:
    """Exit code 77, with what to check; the token is nowhere in the answer."""
    system.write(SENTRY_DSN=sink.dsn(1))

    code, printed = system.run(
        "resentry-agent", "check", RESENTRY_VAULT_TOKEN="s.planted-token-0123456789"
    )

    assert code == 77
    assert "does not know the token" in printed
    assert "planted-token" not in printed


def test_a_wrong_address_is_named(system: System) -> None:
    """Exit code 69, with the address and the setting."""
    code, printed = system.run(
        "resentry-agent", "once", RESENTRY_VAULT_ADDR="http://127.0.0.1:1"
    )

    assert code == 69
    assert "http://127.0.0.1:1" in printed
    assert "RESENTRY_VAULT_ADDR" in printed


@pytest.mark.vault
def test_a_missing_secret_is_named(system: System) -> None:
    """Exit code 66, with the path and the setting."""
    code, printed = system.run(
        "resentry-agent", "once", RESENTRY_VAULT_PATHS="secret/data/nowhere"
    )

    assert code == 66
    assert "there is no secret at secret/data/nowhere" in printed
    assert "RESENTRY_VAULT_PATHS" in printed


def test_missing_settings_are_all_named(system: System) -> None:
    """Exit code 78, and every setting that is needed."""
    code, printed = system.run(
        "resentry-agent",
        "run",
        RESENTRY_VAULT_ADDR="",
        RESENTRY_VAULT_PATHS="",
        RESENTRY_VAULT_TOKEN="",
    )

    assert code == 78
    for name in ("VAULT_ADDR", "VAULT_PATHS", "VAULT_TOKEN_FILE"):
        assert f"RESENTRY_{name}" in printed


def test_a_misspelt_key_is_refused_with_the_nearest(system: System, sink: Sink) -> None:
    """Exit code 65; the key that was probably meant is named, values are not."""
    system.write(SENTRY_DSN=sink.dsn(1), SENTRY_TRACE_SAMPLE_RATE="0.1")

    code, printed = system.run("resentry-agent", "once")

    assert code == 65
    assert "did you mean SENTRY_TRACES_SAMPLE_RATE?" in printed
    assert sink.dsn(1) not in printed


def test_status_reads_a_volume_whose_agent_is_dead(system: System, sink: Sink) -> None:
    """It exits 1 while no process has proved that it runs the snapshot."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.run("resentry-agent", "once")

    code, printed = system.run("resentry-agent", "status")

    assert code == 1
    assert "not running" in printed
    assert "no process has given a receipt yet" in printed
    assert sink.dsn(1) not in printed
