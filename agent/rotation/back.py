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
    from agent.rotation.parts import World

GONE = (
    "the rotation cannot activate the old key again: activate it at the server and use "
    "--abort, or go on with --resume"
)


def go_back(journal: Journal, world: World, now: float) -> Journal | Waiting:
    """Put the old DSN back if it was replaced; then drop the new key."""
    old, held = key_of(journal.old, world), world.secret.read()
    mark = fingerprint(held.dsn)
    if journal.version and (old is None or not _may_return(old, world)):
        # What runs must not be taken back to a key that is gone: forward, if a person says so.
        forth = replace(journal, is_aborting=mark != journal.new)
        return forth.hold(now, GONE)
    if old is not None and mark == journal.new and journal.has_reached("quiet"):
        verdict = world.verdict(old.dsn)  # it may have been retired
        if verdict != "accepted":
            return Waiting("the server has not yet accepted the old key again")
    if journal.version:
        if mark == journal.new:
            world.secret.write(world.secret.read(journal.version).dsn, held.version)
        elif mark != journal.old:
            reason = "the secret holds a DSN that is not of this rotation"
            return journal.hold(now, reason)
        forced = frozenset(journal.forced)
        fleet = world.fleet()
        late = unconverged(fleet, journal.old, forced)
        late += holders(fleet, journal.new, forced)
        if late:
            return Waiting(f"the old DSN does not run everywhere: {named(set(late))}")
    for key in world.keys.all():
        if key.name == journal.key_name or key.fingerprint == journal.new:
            drop(key, world)
    return journal.enter("aborted", now, "the old DSN stays, the new key is retired")


def _may_return(old: Key, world: World) -> bool:
    """Activate the old key if it is not active; return whether that can be done."""
    try:
        return old.is_active or world.keys.switch(old.id, is_active=True).is_active
    except PersonNeeded:
        return False
