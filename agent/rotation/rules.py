"""What a rotation may do next. Pure: what the servers and the fleet said is given."""

from __future__ import annotations

from typing import NamedTuple

NOBODY = "no process has shown itself"
NOBODY_FOLLOWS = "no process of the role has shown itself"


class Process(NamedTuple):
    """One process that may send by a DSN of this rotation.

    `runs` and `holds` are fingerprints: of its current DSN, and of every DSN that it still
    sends by. One that cannot prove what it holds (`proves` is false) counts as one that
    holds the old DSN. `follows` is false if the new DSN is not for its role.
    """

    name: str
    runs: str
    holds: frozenset[str]
    proves: bool = True
    follows: bool = True
    refused: int | None = 0
    """The envelopes of it that servers have refused; `None` if nobody knows."""


class Fleet(NamedTuple):
    """Every process that is known now.

    `silent` are names of pods that gave no answer: nobody knows what runs there. `troubles`
    are sentences that may say why something is missing.
    """

    processes: tuple[Process, ...]
    silent: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()


def unconverged(fleet: Fleet, new: str, forced: frozenset[str]) -> list[str]:
    """Return who does not run the new DSN, by name. Nobody at all is no proof.

    Nobody whose role gets the new DSN is none either: the role may be about to start.
    """
    if not fleet.processes and not fleet.silent:
        return [NOBODY]
    late = [] if any(each.follows for each in fleet.processes) else [NOBODY_FOLLOWS]
    late += [each.name for each in fleet.processes if each.follows and each.runs != new]
    return [name for name in (*late, *fleet.silent) if name not in forced]


def refusals(fleet: Fleet, forced: frozenset[str]) -> tuple[dict[str, int], list[str]]:
    """Return by process how many envelopes servers have refused, and who does not say."""
    asked = [each for each in fleet.processes if each.name not in forced]
    mute = [each.name for each in asked if each.refused is None]
    mute += [name for name in fleet.silent if name not in forced]
    if not fleet.processes and not fleet.silent:
        mute = [NOBODY]
    return {each.name: each.refused for each in asked if each.refused}, mute


def holders(fleet: Fleet, old: str, forced: frozenset[str]) -> list[str]:
    """Return who may still send by the old DSN, by name."""
    found = [
        each.name
        for each in fleet.processes
        if not each.proves or old in {each.runs, *each.holds}
    ]
    return [name for name in (*found, *fleet.silent) if name not in forced]
