"""What an operator asked for, laid over what the source holds."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from resentry import formats
from resentry.contract import (
    Boost,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
    read_items,
    revision_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Values = Mapping[str, str]
    Against = Mapping[str, Sequence[str | None]]

OPERATOR = {"source": "operator"}


@dataclass(frozen=True, slots=True)
class Held:
    """A rollback: `snapshot` is published instead of what the source holds.

    `against` are the values that were rolled back from, by name. Once the source holds
    none of them any more, the rollback has served its purpose. Boosts are an affair of
    their own.
    """

    snapshot: Snapshot
    against: Against

    def bars(self, snapshot: Snapshot) -> bool:
        """Whether the snapshot holds a value that was rolled back from."""
        found = values_of(snapshot)
        return any(found.get(name) in values for name, values in self.against.items())


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an operator asked for: boosts, and a held rollback."""

    boosts: tuple[Boost, ...] = ()
    held: Held | None = None

    def holding(self, then: Snapshot, *turned_from: Snapshot | None) -> Wishes:
        """Return these with a rollback to `then`.

        It lasts until the source holds no value any more that was turned from.
        """
        present = [snapshot for snapshot in turned_from if snapshot is not None]
        return replace(self, held=Held(then, against(then, *present)))

    def pruned(self, base: Snapshot | None, now: float) -> Wishes:
        """Without boosts that have ended, and without a rollback that is over."""
        held = self.held
        if held is not None and base is not None and not held.bars(base):
            held = None
        return replace(self, boosts=running(self.boosts, now), held=held)


def running(boosts: tuple[Boost, ...], now: float) -> tuple[Boost, ...]:
    """The boosts whose end has not come."""
    return tuple(boost for boost in boosts if formats.moment(boost.until) > now)


def next_end(boosts: tuple[Boost, ...], now: float) -> float | None:
    """In how many seconds the next running boost ends."""
    ends = [formats.moment(boost.until) - now for boost in running(boosts, now)]
    return min(ends, default=None)


def left(boosts: tuple[Boost, ...], now: float) -> list[dict[str, Any]]:
    """The boosts whose end has not come, with the seconds that are left."""
    return [
        {
            **boost._asdict(),
            "left_seconds": round(formats.moment(boost.until) - now),
        }
        for boost in running(boosts, now)
    ]


def overlay(base: Snapshot, wishes: Wishes, now: float) -> Snapshot:
    """Return what is to be published: the base, or the held one, and running boosts."""
    held = wishes.held.snapshot if wishes.held else None
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
        boosts=running(base.boosts + wishes.boosts, now),
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


def against(then: Snapshot, *turned_from: Snapshot) -> Against:
    """What a rollback to `then` rolls back from: values; lacking keys if nothing else."""
    after = values_of(then)
    found: dict[str, list[str | None]] = {}
    for before in map(values_of, turned_from):
        for name in before | after:
            if before.get(name) != after.get(name):
                found.setdefault(name, []).append(before.get(name))
    values = {
        name: [value for value in old if value is not None]
        for name, old in found.items()
    }
    return {name: old for name, old in values.items() if old} or found


def name_of(snapshot: Snapshot) -> str:
    """The revision that the snapshot would have without boosts."""
    return revision_of(replace(snapshot, boosts=()))


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
    held = wishes.held
    document = {
        "boosts": [boost._asdict() for boost in wishes.boosts],
        "held": held
        and {
            "snapshot": encode_snapshot(held.snapshot).decode(),
            "against": dict(held.against),
        },
    }
    return json.dumps(document).encode()


def decode_wishes(body: bytes | None) -> Wishes:
    """Read that file; nothing, or nothing readable, is no wish."""
    try:
        found: dict[str, Any] = json.loads(body or b"{}")
        held = found.get("held")
        return Wishes(
            read_items(Boost, found.get("boosts", ()))[0],
            held
            and Held(decode_snapshot(held["snapshot"].encode()), dict(held["against"])),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return Wishes()
