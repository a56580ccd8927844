"""Where no API makes keys: a person does each step, and the rotation looks whether it was done."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from agent.rotation.errors import PersonNeeded
from agent.rotation.given import GivenKeys
from agent.rotation.journal import Journal
from agent.rotation.parts import Waiting
from agent.rotation.steps import step
from resentry.contract import fingerprint
from tests.unit.agent.rotation.world import World, dsn

OLD, NEW = fingerprint(dsn(1)), fingerprint(dsn(2))
FIRST = Journal(rotation="r1", secret="s", old=OLD, quiet_seconds=1.0, since=1.0)


@dataclass
class Server:
    """The server and the secret, as `GivenKeys` sees them."""

    given: str = ""
    wanted: str = ""
    held: list[str] = field(default_factory=lambda: [dsn(1)])
    refused: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)

    @property
    def keys(self) -> GivenKeys:
        return GivenKeys(
            lambda: self.held,
            self.given,
            lambda: self.wanted,
            self.refused.__contains__,
            self.denied.__contains__,
        )


def world(server: Server) -> World:
    """A world whose keys are a person's."""

    class Given(World):
        @property
        def keys(self) -> GivenKeys:  # type: ignore[override]
            return server.keys

    return Given()


def waits_for(server: Server, journal: Journal) -> str:
    came = step(journal, world(server), 100.0)
    assert isinstance(came, Waiting)
    return came.reason


def test_a_new_dsn_has_to_be_given() -> None:
    """And given again by whoever resumes, as long as it stands nowhere else."""
    assert "--new-dsn" in waits_for(Server(), FIRST)
    server = Server(wanted=NEW)
    with pytest.raises(PersonNeeded, match=NEW):
        server.keys.all()
    server.given = dsn(3)
    with pytest.raises(PersonNeeded):
        server.keys.all()
    server.given = dsn(2)
    assert {key.fingerprint for key in server.keys.all()} == {OLD, NEW}
    server.given, server.held = "", [dsn(2), dsn(1)]
    assert {key.fingerprint for key in server.keys.all()} == {OLD, NEW}


def test_the_old_dsn_is_no_new_one() -> None:
    """Else the rotation would retire what everybody runs."""
    assert "the new DSN is the old one" in waits_for(Server(given=dsn(1)), FIRST)


def test_an_aborted_rotation_asks_for_the_end_of_the_new_key() -> None:
    """Whoever aborts need not have the new DSN: it stands in the secret's versions."""
    made = FIRST.enter("accepted", 2.0, "", new=NEW, is_aborting=True, version=1)
    server = Server(held=[dsn(1), dsn(2)])
    asked = waits_for(server, made)
    assert "disable or delete" in asked
    assert NEW not in asked
    server.refused.add(dsn(2))
    came = step(made, world(server), 100.0)
    assert isinstance(came, Journal)
    assert came.phase == "aborted"


def test_one_answer_says_whether_the_last_key_lives() -> None:
    """It was refused for minutes when its rotation was done; a proof takes too long."""
    server = Server(held=[dsn(2), dsn(1)])
    assert server.keys.is_alive(OLD)
    server.denied.add(dsn(1))
    assert not server.keys.is_alive(OLD)
    server.held = [dsn(2)]  # Vault keeps ten versions
    assert not server.keys.is_alive(OLD)


def test_nothing_goes_back_to_a_key_that_a_person_has_deleted() -> None:
    """The new DSN stays everywhere, and the rotation can still go on."""
    made = FIRST.enter("retired", 2.0, "", new=NEW, is_aborting=True, version=1)
    server = Server(held=[dsn(2), dsn(1)], refused={dsn(1)})
    theirs = world(server)
    theirs.versions.append(dsn(2))
    came = step(made, theirs, 100.0)
    assert isinstance(came, Journal)
    assert "activate" in came.held
    assert (came.is_aborting, came.phase) == (False, "retired")
    assert theirs.versions[-1] == dsn(2)
