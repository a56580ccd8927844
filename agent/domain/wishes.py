"""What an operator asked for: boosts, ceilings, and a rollback that is held."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from agent.domain.kept import decode_kept
from agent.domain.value import Value, replace
from resentry import formats
from resentry.contract import (
    SETTING,
    TUNING,
    Boost,
    Ceiling,
    Snapshot,
    encode_snapshot,
    read_items,
    revision_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Values = Mapping[str, Sequence[str | None]]

Ending = TypeVar("Ending", Boost, Ceiling)
OPERATOR = {"source": "operator"}
BOOSTS, CEILINGS = "RESENTRY_BOOSTS", "RESENTRY_CEILINGS"
"""The settings whose values an operator gives by `boost` and `throttle`."""
OF_OPERATORS = {"boosts": BOOSTS, "ceilings": CEILINGS}
"""What comes and goes without the source, by its name in a snapshot."""
ENDED_SECONDS = 86400.0
"""What has ended is forgotten so much later: the clock may only have been wrong."""
ENDED_LIMIT = 50
"""At most so many that have ended are remembered, of boosts and of ceilings."""
NAMES_LIMIT = 16
"""At most this many names of undone values are told."""


class Held(Value, frozen=True):
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


class Wishes(Value, frozen=True):
    """What an operator asked for: boosts, ceilings, and a rollback that is held."""

    boosts: tuple[Boost, ...] = ()
    held: Held | None = None
    ceilings: tuple[Ceiling, ...] = ()

    def holding(self, then: Snapshot, *undone: Snapshot | None) -> Wishes:
        """Return these wishes with a rollback to `then`, which undoes those snapshots.

        The rollback is held until the source holds no value any more that it undoes.
        """
        present = [snapshot for snapshot in undone if snapshot is not None]
        return replace(self, held=Held(then, undone_values(then, *present)))

    def pruned(self, last_good: Snapshot | None, now: float, cap: float) -> Wishes:
        """Return the wishes without what has ended: a rollback, old boosts and ceilings.

        Boosts above the cap have ended, too: the cap may be lower than when they began.
        """
        held = self.held
        if held is not None and last_good and not held.still_concerns(last_good):
            held = None
        boosts = tuple(b for b in _not_old(self.boosts, now) if b.traces <= cap)
        ceilings = _not_old(self.ceilings, now)
        return replace(self, boosts=boosts, ceilings=ceilings, held=held)


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
    place = "the source"
    # A tuning file can hold no other names. Its module is not imported without one.
    if any("_RATE" in name or name.startswith("RESENTRY_") for name in undone):
        place = "the source, or in the tuning file if it stands there"
    return (
        f"correct {', '.join(undone)} at {place}, then: resentry-agent refresh. What the "
        "rollback has undone is still there; resentry-agent rollback --resume would publish "
        "it again"
    )


def running(items: tuple[Ending, ...], now: float) -> tuple[Ending, ...]:
    """Return the boosts or ceilings that have not ended."""
    return tuple(
        each for each in items if not each.until or formats.moment(each.until) > now
    )


def _not_old(items: tuple[Ending, ...], now: float) -> tuple[Ending, ...]:
    """Return what runs, and what has ended not long ago by a clock that may be wrong."""
    runs = running(items, now)
    ended = tuple(each for each in items if each not in runs)[-ENDED_LIMIT:]
    young = running(ended, now - ENDED_SECONDS)
    return tuple(each for each in items if each in runs or each in young)


def next_end(snapshot: Snapshot | None, now: float) -> float | None:
    """Return in how many seconds the next boost or ceiling ends; `None` if none does."""
    if snapshot is None:
        return None
    items: tuple[Boost | Ceiling, ...] = (*snapshot.boosts, *snapshot.ceilings)
    ends = [formats.moment(each.until) - now for each in items if each.until]
    return min((end for end in ends if end > 0), default=None)


def with_seconds_left(items: tuple[Ending, ...], now: float) -> list[dict[str, Any]]:
    """Return the boosts or ceilings that have not ended, each with `left_seconds`."""
    return [
        {
            **each._asdict(),
            "left_seconds": each.until and round(formats.moment(each.until) - now),
        }
        for each in running(items, now)
    ]


def overlay(last_good: Snapshot, wishes: Wishes, now: float) -> Snapshot:
    """Return the snapshot to publish: the last good one, under the wishes.

    A held rollback replaces the last good snapshot. Running boosts and ceilings are added.
    """
    held = wishes.held.snapshot if wishes.held else None
    chosen = last_good if held is None else held
    provenance = dict(chosen.provenance)
    if held is not None:
        provenance = {
            name: {**origin, **OPERATOR, "held": held.revision}
            for name, origin in provenance.items()
        }
    for name, setting in OF_OPERATORS.items():
        if running(getattr(wishes, name), now):
            provenance[setting] = dict(OPERATOR)
    ceilings = running(without_operators(chosen).ceilings + wishes.ceilings, now)
    snapshot = replace(
        chosen,
        boosts=running(last_good.boosts + wishes.boosts, now),
        ceilings=ceilings,
        provenance=provenance,
        judged_by=last_good.judged_by,
    )
    return replace(snapshot, revision=revision_of(snapshot))


def values_of(snapshot: Snapshot) -> dict[str, str]:
    """Return every value of a snapshot as text, by key and role.

    What operators have asked for does not count, and neither do boosts.
    """
    content = without_operators(snapshot).content()
    values = {key: json.dumps(value) for key, value in content["settings"].items()}
    for role, own in content["roles"].items():
        values |= {f"{key} of role {role}": json.dumps(v) for key, v in own.items()}
    values |= {
        SETTING.format(name.upper()): json.dumps(content[name], sort_keys=True)
        for name in TUNING
        if content.get(name)
    }
    return values


def without_operators(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot without boosts, and without the ceilings of operators."""
    of_source = tuple(each for each in snapshot.ceilings if each.id is None)
    return replace(snapshot, boosts=(), ceilings=of_source)


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


def is_lasting(snapshot: Snapshot) -> bool:
    """Return true if time changes nothing in the snapshot: no boost or ceiling ends."""
    return not snapshot.boosts and not snapshot.ceilings


def lasting_revision(snapshot: Snapshot) -> str:
    """Return the revision that the snapshot would have without what operators asked for."""
    return revision_of(without_operators(snapshot))


def difference(new: Snapshot, old: Snapshot | None) -> list[str]:
    """Return the names of all values that differ between two snapshots."""
    before = values_of(old) if old else {}
    after = values_of(new)
    names = [name for name in before | after if before.get(name) != after.get(name)]
    for name, setting in OF_OPERATORS.items():
        if getattr(new, name) != (getattr(old, name) if old else ()):
            names.append(setting)
    return sorted(set(names))


def encode_wishes(wishes: Wishes) -> bytes:
    """Return the file that keeps the wishes."""
    held = wishes.held
    document = {
        "boosts": [boost._asdict() for boost in wishes.boosts],
        "ceilings": [ceiling._asdict() for ceiling in wishes.ceilings],
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
    return Wishes(
        _items(Boost, parts.get("boosts")),
        _held(parts.get("held")),
        _items(Ceiling, parts.get("ceilings")),
    )


_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


def _items(kind: type[Ending], items: Any) -> tuple[Ending, ...]:
    try:
        return read_items(kind, items or ())[0]
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
