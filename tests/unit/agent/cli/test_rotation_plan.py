"""The plan that a person reads before a rotation begins, and the line at its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from agent.cli import fleet
from agent.cli.rotating import answer_of, plan_lines
from agent.rotation.given import GivenKeys
from agent.rotation.journal import Journal
from agent.rotation.open import Choice
from agent.rotation.rules import Fleet, Process

OLD, MARK = "https://0@sentry.example.org/42", "0" * 12
PLANNED = Journal(rotation="r1", secret="s", old=MARK, quiet_seconds=1800, since=1)
ONE = Fleet((Process("a api pid 1", MARK, frozenset({MARK})),))


def plan(
    journal: Journal = PLANNED,
    fleet: Fleet = ONE,
    new: str = "",
    *,
    given: bool = False,
    lifetime: str = "",
    kept: int = 0,
) -> str:
    none: Any = None
    keys = GivenKeys(none, new, none, none, none) if given or new else None
    opened: Any = SimpleNamespace(
        servers=SimpleNamespace(fleet=lambda: fleet, keys=keys),
        secret=SimpleNamespace(
            read=lambda: SimpleNamespace(dsn=OLD),
            kept=lambda: kept,
            path="secret/data/s",
        ),
        file=SimpleNamespace(lifetime=lambda: lifetime, path="secret/data/r"),
    )
    return "\n".join(plan_lines(journal, opened, Choice("s", new_dsn=new)))


def test_a_plan_that_could_not_end_says_so_first() -> None:
    """No process at all; and why a pod is silent, where DNS or a port is wrong."""
    why = Fleet((), ("b",), ("b: connection refused",))
    for found in (Fleet(()), why):
        warning = plan(fleet=found).splitlines()[1]
        assert "warning: no process was found, so step 3 would never end" in warning
        assert "RESENTRY_FLEET" in warning
    assert "now: b: connection refused" in plan(fleet=why)
    assert "warning" not in plan()
    assert "1 process runs it" in plan()


def test_a_plan_says_what_a_person_has_to_do() -> None:
    """Where no API retires keys; and that events go to another project."""
    assert "YOU disable the old key" in plan(new=OLD.replace("0@", "1@"))
    assert "ask you for a new DSN" in plan(given=True)
    assert "YOU" not in plan()
    warning = plan(new="https://1@sentry.example.org/43").splitlines()[1]
    assert "warning: " in warning
    assert "another server or project" in warning
    leaked = replace(PLANNED, deadline=60.0)
    assert "you are asked to disable the old key" in plan(leaked, given=True)
    assert "the old key is retired, once" in plan(leaked)


def test_the_plan_of_a_leaked_key_waits_no_longer_than_its_deadline() -> None:
    """Also with a time for quiet."""
    assert "30 minutes, at most until the deadline" in plan(
        replace(PLANNED, deadline=60.0)
    )


def test_the_end_names_who_was_left_out() -> None:
    """By a deadline or by a person: their events may be lost from now on."""
    done = PLANNED.enter("done", 2.0, "", left_out=("pod b",), forced=("pod a",))
    (line,) = answer_of(done).lines
    assert "is done, but this was left out: pod a, pod b; restart" in line
    assert answer_of(PLANNED.enter("done", 2.0, "")).lines == ("rotation r1 is done",)


@pytest.mark.parametrize("text", ["0" * 11, OLD, "0" * 12 + "\n", "G" * 12])
def test_fleet_takes_a_fingerprint_alone(text: str) -> None:
    """Else each process would run another DSN than a DSN that was pasted."""
    ran = CliRunner().invoke(fleet.command, ["--dsn", text])
    assert ran.exit_code == 2
    assert "a fingerprint has 12" in ran.output


def test_a_plan_warns_of_what_vault_forgets_by_itself() -> None:
    """The journal, and the old DSN where only Vault has it."""
    assert "deletes the journal after 1h" in plan(lifetime="1h")
    assert "Vault keeps 1 versions" in plan(given=True, kept=1)
    assert "Vault keeps" not in plan(given=True, kept=10) + plan(kept=1)
