"""The way back: the old DSN everywhere, and the new key's end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from agent.rotation.errors import PersonNeeded
from agent.rotation.journal import named
from agent.rotation.parts import Waiting, drop, key_of
from agent.rotation.rules import holders, unconverged
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from agent.rotation.journal import Journal
    from agent.rotation.keys import Key
    from agent.rotation.parts import Held, World

GONE = (
    "the rotation cannot activate the old key again: activate it at the server and use "
    "--abort, or go on with --resume"
)


def go_back(journal: Journal, world: World, now: float) -> Journal | Waiting:
    """Put the old DSN back if it was replaced; then drop the new key.

    A DSN that is not of this rotation stays: somebody has decided so.
    """
    held = world.secret.read()
    mark, forced = fingerprint(held.dsn), frozenset(journal.forced)
    is_foreign = not mark or mark not in {journal.old, journal.new}
    if is_foreign:
        if (
            late := holders(world.fleet(), journal.new, forced)
            if journal.version
            else []
        ):
            return Waiting(f"the new DSN may still be used: {named(late)}")
    elif journal.version or mark == journal.new:
        came = _put_back(journal, world, held, now)
        if came is not None:
            return came
        fleet = world.fleet()
        late = unconverged(fleet, journal.old, forced)
        late += holders(fleet, journal.new, forced)
        if late:
            return Waiting(f"the old DSN does not run everywhere: {named(set(late))}")
    for key in world.keys.all():
        is_ours = key.name == journal.key_name or key.fingerprint == journal.new
        if is_ours and not (is_foreign and key.fingerprint == mark):
            drop(key, world)
    kept = "a DSN that is not of this rotation" if is_foreign else "the old DSN"
    return journal.enter("aborted", now, f"{kept} stays, the new key is retired")


def _put_back(
    journal: Journal, world: World, held: Held, now: float
) -> Journal | Waiting | None:
    """Write the old DSN, by the key that the server has. `None` if it is there."""
    old, is_new = key_of(journal.old, world), fingerprint(held.dsn) == journal.new
    if old is None or not _may_return(old, world):
        # What runs must not be taken back to a key that is gone: forward, if a person says so.
        return replace(journal, is_aborting=not is_new).hold(now, GONE)
    may_be_retired = is_new and journal.has_reached("quiet")
    if may_be_retired and world.verdict(old.dsn) != "accepted":
        return Waiting("the server has not yet accepted the old key again")
    if is_new or held.version == journal.version:
        # Also if it is there: who has lost the lock may be about to replace this version.
        world.secret.write(old.dsn, held.version)
    return None


def _may_return(old: Key, world: World) -> bool:
    """Activate the old key if it is not active; return whether that can be done."""
    try:
        return old.is_active or world.keys.switch(old.id, is_active=True).is_active
    except PersonNeeded:
        return False
