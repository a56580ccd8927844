"""What the agent occupies, as it is installed for production: sizes, and no time."""

from pathlib import Path

import pytest

from bench import environment
from bench.agent import GATES, broken_gates
from bench.peers import Peers
from bench.subjects import Fleet
from lab.vault import ProductionVault

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_the_agent_stays_below_its_gates(tmp_path: Path) -> None:
    """It polls over TLS, serves its page, and has an application that has confirmed."""
    with ProductionVault() as vault:
        peers = Peers(vault, environment.build(tmp_path), tmp_path, {})
        with Fleet(peers, vault, ["agent"], seconds=1) as fleet:
            fleet.settle()
            found = fleet.sizes("agent")
    assert broken_gates({row: [found[row]] for row in GATES}) == []
