"""What an operator asked for: boosts, and a rollback that is held."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agent.domain.kept import decode_kept
from resentry import formats
from resentry.contract import (
    Boost,
    Snapshot,
    encode_snapshot,
    read_items,
    revision_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Values = Mapping[str, Sequence[str | None]]

OPERATOR = {"source": "operator"}
BOOSTS = "RESENTRY_BOOSTS"
"""The setting whose value an operator gives by `boost`."""
NAMES_LIMIT = 16
"""At most this many names of undone values are told."""


@dataclass(frozen=True, slots=True)
class Held:
    """A rollback: `snapshot` is published instead of the last good one.

    `undone_values` are the values that the rollback undoes, by name. The rollback ends
    when the source holds none of them any more. Boosts do not count.
    """

    snapshot: Snapshot
    undone_values: Values

    def still_concerns(self, snapshot: Snapshot) -> bool:
        """Return true if the snapshot holds a value that this rollback undoes."""
        return bool(self.names_in(snapshot))

    def names_in(self, snapshot: Snapshot | None) -> list[str]:
        """Return the names of the undone values that the snapshot holds.

        Without a snapshot nobody knows: all of them.
        """
        if snapshot is None:
            return sorted(self.undone_values)
        values = values_of(snapshot)
        undone = self.undone_values.items()
        return sorted(name for name, old in undone if values.get(name) in old)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an operator asked for: boosts, and a rollback that is held."""

    boosts: tuple[Boost, ...] = ()
    held: Held | None = None

    def holding(self, then: Snapshot, *undone: Snapshot | None) -> Wishes:
        """Return these wishes with a rollback to `then`, which undoes those snapshots.

        The rollback is held until the source holds no value any more that it undoes.
        """
        present = [snapshot for snapshot in undone if snapshot is not None]
        return replace(self, held=Held(then, undone_values(then, *present)))

    def pruned(self, last_good: Snapshot | None, now: float, cap: float) -> Wishes:
        """Return the wishes without boosts and without a rollback that have ended.

        Boosts above the cap have ended, too: the cap may be lower than when they began.
        """
        held = self.held
        if held is not None and last_good and not held.still_concerns(last_good):
            held = None
        boosts = tuple(b for b in running(self.boosts, now) if b.traces <= cap)
        return replace(self, boosts=boosts, held=held)


def held_document(held: Held | None, last_good: Snapshot | None) -> dict[str, Any]:
    """Return the held revision, and which undone values the source still holds, by name."""
    return {
        "held": held and held.snapshot.revision,
        "undone": held.names_in(last_good)[:NAMES_LIMIT] if held else [],
    }


def resume_hint(undone: Sequence[str]) -> str:
    """Return how to end a rollback. `undone` are undone values that the source still holds.

    Without them the rollback ends by itself at the next pass.
    """
    if not undone:
        return "resentry-agent rollback --resume ends the rollback"
    return (
        f"correct {', '.join(undone)} at the source, then: resentry-agent refresh. The "
        "source still holds what the rollback has undone; resentry-agent rollback --resume "
        "would publish it again"
    )


def running(boosts: tuple[Boost, ...], now: float) -> tuple[Boost, ...]:
    """Return the boosts that have not ended."""
    return tuple(boost for boost in boosts if formats.moment(boost.until) > now)


def next_end(boosts: tuple[Boost, ...], now: float) -> float | None:
    """Return in how many seconds the next boost ends; `None` if none is running."""
    ends = [formats.moment(boost.until) - now for boost in running(boosts, now)]
    return min(ends, default=None)


def boosts_with_seconds_left(
    boosts: tuple[Boost, ...], now: float
) -> list[dict[str, Any]]:
    """Return the boosts that have not ended, each with `left_seconds`."""
    return [
        {
            **boost._asdict(),
            "left_seconds": round(formats.moment(boost.until) - now),
        }
        for boost in running(boosts, now)
    ]


def overlay(last_good: Snapshot, wishes: Wishes, now: float) -> Snapshot:
    """Return the snapshot to publish: the last good one, under the wishes.

    A held rollback replaces the last good snapshot. Running boosts are added.
    """
    held = wishes.held.snapshot if wishes.held else None
    chosen = last_good if held is None else held
    provenance = dict(chosen.provenance)
    if held is not None:
        provenance = {
            name: {**origin, **OPERATOR, "held": held.revision}
            for name, origin in provenance.items()
        }
    if wishes.boosts:
        provenance[BOOSTS] = dict(OPERATOR)
    snapshot = replace(
        chosen,
        boosts=running(last_good.boosts + wishes.boosts, now),
        provenance=provenance,
        judged_by=last_good.judged_by,
    )
    return replace(snapshot, revision=revision_of(snapshot))


def values_of(snapshot: Snapshot) -> dict[str, str]:
    """Return every value of a snapshot as text, by key and role. Boosts do not count."""
    content = snapshot.content()
    values = {key: json.dumps(value) for key, value in content["settings"].items()}
    for role, own in content["roles"].items():
        values |= {f"{key} of role {role}": json.dumps(v) for key, v in own.items()}
    if content["rules"]:
        values["RESENTRY_RULES"] = json.dumps(content["rules"], sort_keys=True)
    return values


def undone_values(then: Snapshot, *undone: Snapshot) -> Values:
    """Return the values that a rollback to `then` undoes, by name.

    If the rollback only adds keys, these are the missing keys, each with None.
    """
    after = values_of(then)
    differing: dict[str, list[str | None]] = {}
    for before in map(values_of, undone):
        for name in before | after:
            if before.get(name) != after.get(name):
                differing.setdefault(name, []).append(before.get(name))
    values = {
        name: [value for value in old if value is not None]
        for name, old in differing.items()
    }
    return {name: old for name, old in values.items() if old} or differing


def is_held(snapshot: Snapshot) -> bool:
    """Return true if a rollback published this snapshot."""
    return any("held" in origin for origin in snapshot.provenance.values())


def revision_without_boosts(snapshot: Snapshot) -> str:
    """Return the revision that the snapshot would have without its boosts."""
    return revision_of(replace(snapshot, boosts=()))


def difference(new: Snapshot, old: Snapshot | None) -> list[str]:
    """Return the names of all values that differ between two snapshots."""
    before = values_of(old) if old else {}
    after = values_of(new)
    names = [name for name in before | after if before.get(name) != after.get(name)]
    if new.boosts != (old.boosts if old else ()):
        names.append(BOOSTS)
    return sorted(names)


def encode_wishes(wishes: Wishes) -> bytes:
    """Return the file that keeps the wishes."""
    held = wishes.held
    document = {
        "boosts": [boost._asdict() for boost in wishes.boosts],
        "held": held
        and {
            "snapshot": encode_snapshot(held.snapshot).decode(),
            "undone_values": dict(held.undone_values),
        },
    }
    return json.dumps(document).encode()


def decode_wishes(body: bytes | None) -> Wishes:
    """Read the file that keeps the wishes. A part that cannot be read is no wish."""
    try:
        document = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return Wishes()
    parts = document if isinstance(document, dict) else {}
    return Wishes(_boosts(parts.get("boosts")), _held(parts.get("held")))


_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


def _boosts(items: Any) -> tuple[Boost, ...]:
    try:
        return read_items(Boost, items or ())[0]
    except _UNREADABLE:
        return ()


def _held(document: Any) -> Held | None:
    try:
        undone = {
            str(name): [
                value if value is None else str(value) for value in list(values)
            ]
            for name, values in document["undone_values"].items()
        }
        return Held(decode_kept(document["snapshot"].encode()), undone)
    except _UNREADABLE:
        return None
