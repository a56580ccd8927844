"""What stands between a running agent and Vault, and the little that it may cost.

What the agent makes of each answer is in tests/unit/agent/source/test_{api,session}.py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from lab.process import eventually
from lab.proxy import Faults, Proxy
from lab.sink import Sink
from lab.system import System
from lab.vault import ProductionVault

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.vault


MEBIBYTE = 1024 * 1024


@pytest.fixture
def system() -> Iterator[System]:
    with System() as system:
        yield system


@pytest.fixture
def proxy(system: System) -> Iterator[Proxy]:
    """Stands between the agent and Vault."""
    with Proxy(system.vault.address) as proxy:
        system.environ["RESENTRY_VAULT_ADDR"] = proxy.url
        yield proxy


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


def passes(system: System) -> float:
    """How many passes have ended."""
    lines = system.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("resentry_passes_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def sequence(system: System, number: int) -> None:
    """Wait for that snapshot."""
    eventually(
        lambda: (system.status()["current"] or {}).get("sequence") == number,
        what=f"sequence {number}",
    )


def test_an_answer_that_drips_is_cut_after_15_seconds(
    system: System, proxy: Proxy
) -> None:
    """A byte a second is in time for every time-out, and a pass may take a minute."""
    proxy.faults = Faults(status=200, body=b"x" * 1000, drip=1)
    began = time.monotonic()
    code, printed = system.run("resentry-agent", "once", RESENTRY_PASS_SECONDS="60")
    seconds = time.monotonic() - began
    assert code == 69
    assert "is not complete after 15 s" in printed
    assert 15 < seconds < 40  # not a minute


def test_an_endless_body_costs_no_memory(
    system: System, proxy: Proxy, sink: Sink
) -> None:
    """It is refused again and again; the agent does not grow, and then reads on."""
    system.write(SENTRY_DSN=sink.dsn(1))
    agent = system.start_agent()
    sequence(system, 1)
    before = memory_of(agent.pid)

    endless = {"Content-Length": "1000000000000"}
    proxy.faults = Faults(status=200, body=b"x" * 65536, headers=endless, endless=True)
    eventually(
        lambda: "larger than 2 MiB" in system.status()["source"]["sentence"],
        what="the refusal",
    )
    seen = passes(system)
    eventually(lambda: passes(system) >= seen + 5, 20, "five more passes")
    assert memory_of(agent.pid) < before + 16 * MEBIBYTE
    assert system.status()["current"]["sequence"] == 1

    proxy.clear()
    system.write(SENTRY_DSN=sink.dsn(2))
    sequence(system, 2)


def memory_of(pid: int) -> int:
    """The most that the process has held so far, in bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_polls_share_one_connection(system: System, proxy: Proxy, sink: Sink) -> None:
    """For the life of the agent, as long as nobody closes it."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent()
    sequence(system, 1)
    asked = len(proxy.requests)
    eventually(lambda: len(proxy.requests) >= asked + 5, what="five more requests")
    assert proxy.connections == 1


def test_a_restart_between_two_polls_costs_no_pass(sink: Sink) -> None:
    """The kept connection is gone with the old server; a new one is made at once."""
    with System(ProductionVault()) as system:
        system.write(SENTRY_DSN=sink.dsn(1))
        system.start_agent(RESENTRY_POLL_SECONDS="3600")
        sequence(system, 1)

        system.vault.kill()
        system.vault.start()
        system.write(SENTRY_DSN=sink.dsn(2))
        system.poll_now()

        sequence(system, 2)
        assert (
            'resentry_passes_total{outcome="failed"} 0.0' in system.get("/metrics").text
        )
