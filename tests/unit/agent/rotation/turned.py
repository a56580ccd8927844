"""A rotation that is turned step by step, killed and resumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from agent.errors import AgentError
from agent.rotation.journal import Journal, decode, encode
from agent.rotation.keeper import failed, waiting
from agent.rotation.parts import Waiting
from agent.rotation.steps import step
from resentry.contract import fingerprint
from tests.unit.agent.rotation.world import Killed, World

if TYPE_CHECKING:
    from collections.abc import Callable

TURN_SECONDS = 30.0
TURNS = 500


@dataclass
class Rotation:
    """The journal, as it was saved last, in this world."""

    world: World
    journal: Journal
    waits_for: str = ""

    def turn(self) -> None:
        """One step, and the save of its journal: killed before it or after it."""
        self.world.now += TURN_SECONDS
        now = self.world.now
        try:
            came = step(self.journal, self.world, now)
        except AgentError as error:
            came = failed(self.journal, error, now)
        if isinstance(came, Waiting):
            self.waits_for = came.reason
            self.journal = waiting(self.journal, came.reason)
            return
        self.world.may_die()
        self.journal = decode(encode(came))
        self.world.may_die()

    def run(
        self, until: Callable[[Journal], bool] = lambda made: made.has_ended
    ) -> None:
        """Turn until then; what is killed is resumed."""
        for _ in range(TURNS):
            if until(self.journal):
                return
            try:
                self.turn()
            except Killed:
                self.world.dies_at = None
        pytest.fail(f"{self.journal.phase}: {self.journal.held} {self.waits_for}")

    @property
    def live(self) -> list[str]:
        """The fingerprints of the active keys."""
        return sorted(key.fingerprint for key in self.world.server if key.is_active)

    @property
    def source(self) -> str:
        """The fingerprint of the DSN that the secret holds."""
        return fingerprint(self.world.read().dsn)
