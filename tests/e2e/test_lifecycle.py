"""Parts come and go: the agent, Vault, the applications, in any order."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
import requests

from lab.process import eventually
from lab.proxy import Faults, Proxy
from lab.system import System
from lab.vault import ProductionVault

if TYPE_CHECKING:
    from lab.process import Process
    from lab.sink import Sink

pytestmark = pytest.mark.process


def error_in(system: System) -> None:
    """Have the API raise and report."""
    requests.get(f"http://127.0.0.1:{system.api_port}/courses/1", timeout=10)


@pytest.mark.vault
def test_vault_goes_away_and_comes_back(sink: Sink) -> None:
    """The agent stays up, keeps the last good snapshot, and recovers by itself."""
    with System(ProductionVault()) as system:
        system.write(SENTRY_DSN=sink.dsn(1))
        agent = system.start_agent()
        system.start_api(workers=1)
        system.converge(1, 1)

        system.vault.stop()
        eventually(
            lambda: system.status()["source"]["outcome"] == "failed", what="the outage"
        )
        error_in(system)
        eventually(lambda: sink.count("event", 1) == 1, what="the error in project 1")
        assert system.get("/livez").status_code == 200

        system.vault.start()
        system.write(SENTRY_DSN=sink.dsn(2))
        system.converge(1, 2)
        error_in(system)
        eventually(lambda: sink.count("event", 2) == 1, what="the error in project 2")
        assert agent.alive


def test_a_killed_agent_goes_on_where_it_was(system: System, sink: Sink) -> None:
    """Applications run on without it; its successor finds the volume and moves on."""
    system.write(SENTRY_DSN=sink.dsn(1))
    agent = system.start_agent()
    system.start_api(workers=1)
    system.converge(1, 1)

    agent.kill()
    error_in(system)
    eventually(lambda: sink.count("event", 1) == 1, what="the error in project 1")
    assert system.status()["agent"] == "not running"

    system.write(SENTRY_DSN=sink.dsn(2))
    system.start_agent()
    system.converge(1, 2)
    error_in(system)
    eventually(lambda: sink.count("event", 2) == 1, what="the error in project 2")


def test_an_agent_that_restarts_without_vault_keeps_what_is_published(
    system: System, sink: Sink
) -> None:
    """The volume is the truth: nothing is published anew, and the probe says started."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent().kill()
    system.vault.kill()

    system.start_agent()

    assert system.get("/startupz").status_code == 200
    assert system.get("/readyz").status_code == 503
    assert system.status()["current"]["sequence"] == 1


def test_an_application_that_is_earlier_takes_the_first_snapshot(
    system: System, sink: Sink
) -> None:
    """It starts on its environment variables and swaps once the agent has published."""
    system.start_api(workers=1, SENTRY_DSN=sink.dsn(1))
    error_in(system)
    eventually(lambda: sink.count("event", 1) == 1, what="the error in project 1")

    system.write(SENTRY_DSN=sink.dsn(2))
    system.start_agent()
    system.converge(1, 1)
    error_in(system)
    eventually(lambda: sink.count("event", 2) == 1, what="the error in project 2")


def test_an_application_without_any_agent_runs_on_its_environment(
    system: System, sink: Sink
) -> None:
    """The guide's variables serve, and nobody has to know of resentry."""
    system.start_api(workers=1, RESENTRY_DIR="", SENTRY_DSN=sink.dsn(1))

    error_in(system)

    eventually(lambda: sink.count("event", 1) == 1, what="the error in project 1")
    assert not system.directory.exists()


def test_a_target_that_dies_is_dropped_at_once(system: System, sink: Sink) -> None:
    """SIGKILL leaves files behind; the agent removes them and counts the living."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent()
    first = system.start_api(workers=1)
    system.converge(1, 1)

    first.kill()

    eventually(lambda: not system.status()["rollout"]["targets"], what="no target")
    system.poll_now()
    receipts = system.directory / "receipts"
    eventually(lambda: not list(receipts.iterdir()), what="no file")


def ends(process: Process, number: int) -> float:
    """Signal the process; return how long it took to end."""
    began = time.monotonic()
    process.signal(number)
    eventually(lambda: not process.alive, what="the end")
    return time.monotonic() - began


@pytest.mark.alone
def test_sigterm_ends_the_agent_within_a_second(system: System, sink: Sink) -> None:
    """Also while Vault hangs in the middle of an answer; what is published stays."""
    with Proxy(system.vault.address) as proxy:
        system.write(SENTRY_DSN=sink.dsn(1))
        idle = system.start_agent()
        assert ends(idle, signal.SIGTERM) < 1
        assert idle.returncode == 0

        proxy.faults = Faults(hang=True)
        hanging = system.launch_agent(RESENTRY_VAULT_ADDR=proxy.url)
        assert ends(hanging, signal.SIGTERM) < 1
        assert hanging.returncode == 0
    assert system.status()["current"]["sequence"] == 1


def test_sighup_polls_now(system: System, sink: Sink) -> None:
    """An agent that polls once an hour sees a change at once when it is told."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent(RESENTRY_POLL_SECONDS="3600")
    system.write(SENTRY_DSN=sink.dsn(2))

    system.poll_now()

    eventually(lambda: system.status()["current"]["sequence"] == 2, what="sequence 2")


def test_a_pass_ends_at_its_deadline(system: System, sink: Sink) -> None:
    """An answer that comes a byte at a time is cut, and the next pass is a good one."""
    with Proxy(system.vault.address) as proxy:
        system.write(SENTRY_DSN=sink.dsn(1))
        proxy.faults = Faults(drip=0.2)
        system.start_agent(RESENTRY_VAULT_ADDR=proxy.url, RESENTRY_PASS_SECONDS="1.5")
        eventually(
            lambda: (
                "in the time that a pass may take"
                in system.status()["source"]["sentence"]
            ),
            what="the cut",
        )

        proxy.clear()
        eventually(lambda: system.status()["current"], what="the first snapshot")
