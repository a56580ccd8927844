"""What an operator asked for, laid over what the source holds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from resentry.contract import Boost, Snapshot, revision_of

if TYPE_CHECKING:
    from collections.abc import Mapping

OPERATOR = {"source": "operator"}


@dataclass(frozen=True, slots=True)
class Held:
    """A rollback: `revision` is published instead of what the source holds.

    `against` are the values that were rolled back from, by name. Once the source holds
    none of them any more, the rollback has served its purpose.
    """

    revision: str
    against: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wishes:
    """Boosts, a held rollback, and revisions that a target could not apply."""

    boosts: tuple[Boost, ...] = ()
    held: Held | None = None
    rejected: tuple[str, ...] = ()

    def pruned(self, base: Snapshot | None, now: float) -> Wishes:
        """Without boosts that have ended, and without a rollback that is over."""
        held = self.held
        if held is not None and base is not None:
            facts = values_of(base)
            if not any(
                facts.get(name) == value for name, value in held.against.items()
            ):
                held = None
        return replace(self, boosts=running(self.boosts, now), held=held)


def running(boosts: tuple[Boost, ...], now: float) -> tuple[Boost, ...]:
    """The boosts whose end has not come."""
    return tuple(boost for boost in boosts if epoch(boost.until) > now)


def epoch(until: str) -> float:
    """A boost's end in seconds since the epoch."""
    return datetime.fromisoformat(until).timestamp()


def overlay(
    base: Snapshot, held: Snapshot | None, wishes: Wishes, now: float
) -> Snapshot:
    """Return what is to be published: the base, or the held one, and running boosts."""
    chosen = base if held is None else held
    provenance = dict(chosen.provenance)
    if held is not None:
        provenance = {
            name: {**where, **OPERATOR, "held": held.revision}
            for name, where in provenance.items()
        }
    if wishes.boosts:
        provenance["RESENTRY_BOOSTS"] = dict(OPERATOR)
    laid = replace(
        chosen,
        boosts=running(chosen.boosts, now) + wishes.boosts,
        provenance=provenance,
    )
    return replace(laid, revision=revision_of(laid))


def values_of(snapshot: Snapshot) -> dict[str, str]:
    """Every value of a snapshot as text, by a name that says where it stands."""
    content = snapshot.content()
    found = {key: json.dumps(value) for key, value in content["settings"].items()}
    for role, own in content["roles"].items():
        found |= {f"{key} of role {role}": json.dumps(v) for key, v in own.items()}
    if content["rules"]:
        found["RESENTRY_RULES"] = json.dumps(content["rules"], sort_keys=True)
    return found


def difference(new: Snapshot, old: Snapshot | None) -> list[str]:
    """Name what differs between two snapshots."""
    before = values_of(old) if old else {}
    after = values_of(new)
    names = [name for name in before | after if before.get(name) != after.get(name)]
    if new.boosts != (old.boosts if old else ()):
        names.append("RESENTRY_BOOSTS")
    return sorted(names)


def encode_wishes(wishes: Wishes) -> bytes:
    """Return the file that keeps them."""
    return json.dumps(asdict(wishes)).encode()


def decode_wishes(body: bytes | None) -> Wishes:
    """Read that file; nothing, or nothing readable, is no wish."""
    try:
        found: dict[str, Any] = json.loads(body or b"{}")
        return Wishes(
            tuple(Boost(**boost) for boost in found.get("boosts", ())),
            Held(**found["held"]) if found.get("held") else None,
            tuple(found.get("rejected", ())),
        )
    except (ValueError, TypeError, KeyError):
        return Wishes()
