"""Where the keys stand in Vault, and what the agent may do there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.process import eventually
from lab.system import System
from lab.vault import ProductionVault

if TYPE_CHECKING:
    from lab.sink import Sink

pytestmark = pytest.mark.process


READ_ONE = 'path "secret/data/lms" { capabilities = ["read"] }'


def test_a_token_that_may_read_one_secret_is_enough(system: System, sink: Sink) -> None:
    """Neither the mount's version nor the secret needs more than read on its path."""
    system.write(SENTRY_DSN=sink.dsn(1))
    token = system.vault.policy_token(READ_ONE)

    code, printed = system.run(
        "resentry-agent",
        "once",
        RESENTRY_VAULT_TOKEN=token,
        RESENTRY_VAULT_PATHS="secret/lms",
    )

    assert code == 0, printed
    assert system.status()["current"]["sequence"] == 1


def test_a_token_file_is_read_anew_at_every_pass(system: System, sink: Sink) -> None:
    """A token that was replaced in its file serves from the next pass on."""
    file = system.folder / "token"
    file.write_text("not-a-token\n")
    system.write(SENTRY_DSN=sink.dsn(1))
    del system.environ["RESENTRY_VAULT_TOKEN"]
    system.start_agent(RESENTRY_VAULT_TOKEN_FILE=str(file))
    eventually(
        lambda: "does not know the token" in system.status()["source"]["sentence"],
        what="the refusal",
    )

    file.write_text(system.vault.token)

    eventually(lambda: system.status()["current"], what="the first snapshot")


def test_one_secret_per_key(system: System, sink: Sink) -> None:
    """A path that ends in a key holds it: in its name, in `value`, or alone."""
    system.vault.write("lms/SENTRY_DSN", {"SENTRY_DSN": sink.dsn(1), "owner": "team"})
    system.vault.write("lms/SENTRY_TRACES_SAMPLE_RATE", {"value": "0.25"})
    system.vault.write("lms/SENTRY_ENVIRONMENT", {"name": "staging"})

    code, printed = system.run(
        "resentry-agent",
        "once",
        RESENTRY_VAULT_PATHS="secret/data/lms/SENTRY_DSN,secret/lms/"
        "SENTRY_TRACES_SAMPLE_RATE,secret/lms/SENTRY_ENVIRONMENT",
        RESENTRY_ENVIRONMENT="staging",
    )

    assert code == 0, printed
    settings = system.status()["current"]["settings"]
    assert settings["SENTRY_TRACES_SAMPLE_RATE"] == 0.25
    assert settings["SENTRY_ENVIRONMENT"] == "staging"
    assert {"SENTRY_DSN", *settings} == set(settings)


def test_kv_version_1_over_tls(sink: Sink) -> None:
    """Version 1 is polled like version 2; Vault's certificate is checked."""
    with System(ProductionVault()) as system:
        client = system.vault.client
        client.secrets.kv.v1.create_or_update_secret(
            "lms", {"SENTRY_DSN": sink.dsn(1)}, mount_point="kv1"
        )
        system.start_agent(RESENTRY_VAULT_PATHS="kv1/lms")
        eventually(lambda: system.status()["current"], what="the first snapshot")

        client.secrets.kv.v1.create_or_update_secret(
            "lms", {"SENTRY_DSN": sink.dsn(2)}, mount_point="kv1"
        )
        eventually(
            lambda: system.status()["current"]["sequence"] == 2, what="sequence 2"
        )

        code, printed = system.run("resentry-agent", "once", RESENTRY_VAULT_CA="")
        assert code == 75, printed  # the running agent has the volume
        code, printed = system.run("resentry-agent", "check", RESENTRY_VAULT_CA="")
        assert code == 69
        assert f"TLS with {system.vault.address} fails" in printed


def test_one_request_per_poll(sink: Sink) -> None:
    """In the steady state a poll is one read, on one kept connection."""
    with System(ProductionVault()) as system:
        system.write(SENTRY_DSN=sink.dsn(1))
        system.start_agent()
        eventually(lambda: system.status()["current"], what="the first snapshot")
        before = len(system.vault.requests())
        eventually(
            lambda: len(system.vault.requests()) >= before + 3, what="three requests"
        )

        assert {("read", "secret/data/lms")} == set(system.vault.requests()[before:])


def test_a_change_of_another_key_is_no_new_revision(system: System, sink: Sink) -> None:
    """A new version of the secret with the same known values changes nothing."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.run("resentry-agent", "once")
    system.write(SENTRY_DSN=sink.dsn(1), DATABASE_URL="postgres://lms")

    code, printed = system.run("resentry-agent", "once")

    assert code == 0
    assert "nothing new" in printed
    assert system.status()["current"]["sequence"] == 1
    assert not list(system.directory.glob("DATABASE_URL"))
