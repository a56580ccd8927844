"""The steps of a rotation. Each can be repeated: by who did it before, or by another.

    planned → created → accepted → written → converged → drained → quiet → retired → done

A step reads what the servers hold, does what is missing, and returns the journal of the
next phase. The caller saves the journal. Killed between the two, the next holder finds what
was done: a key by its name, the DSN by its fingerprint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from agent.errors import AgentError
from agent.rotation.back import go_back
from agent.rotation.errors import PersonNeeded
from agent.rotation.journal import named
from agent.rotation.parts import Waiting, drop, key_of, new_key, old_dsn
from agent.rotation.rules import (
    NOBODY,
    NOBODY_FOLLOWS,
    Fleet,
    holders,
    refusals,
    unconverged,
)
from resentry.contract import fingerprint, time_text

if TYPE_CHECKING:
    from agent.rotation.journal import Journal
    from agent.rotation.keys import Key
    from agent.rotation.parts import World

_WAYS = (
    "somebody else has written it; --abort leaves what is there and retires the new key; "
    "to go on, write the new DSN back (or the old one, before the new one was written) "
    "and use --resume"
)
_OFF = "the new key is not active at the server: activate it, or use --abort"
_BY_NEW_KEY = frozenset({"converged", "drained", "quiet"})
"""The phases that nobody enters whose new key has been deactivated."""
RENEW_SECONDS = 60.0
"""So often the time begins anew while the server accepts a retired key."""


def step(journal: Journal, world: World, now: float) -> Journal | Waiting:
    """Do what is due, and return the journal to save, or why the phase goes on."""
    if journal.held:
        return Waiting(f"a person has to decide: {journal.held}")
    do = go_back if journal.is_aborting else _STEPS[journal.phase]
    try:
        came = do(journal, world, now)
        is_next = not isinstance(came, Waiting) and came.phase in _BY_NEW_KEY
        if not is_next or _is_over(journal, now) or new_key(journal, world).is_active:
            return came
        return journal.hold(now, _OFF)
    except PersonNeeded as error:
        return Waiting(f"{error.what}: {error.hint}")


def _create(journal: Journal, world: World, now: float) -> Journal | Waiting:
    if _old_key(journal, world) is None:
        return journal.hold(
            now,
            "the server has no key with the old DSN: check RESENTRY_SENTRY_PROJECT",
        )
    found = world.keys.named(journal.key_name)
    key = found[0] if found else world.keys.make(journal.key_name)
    if key.fingerprint == journal.old:
        raise PersonNeeded(
            "the new DSN is the old one",
            "end this command, and give another DSN with --resume --new-dsn FILE",
        )
    text = f"the new key is {journal.key_name}, its DSN has the fingerprint {key.fingerprint}"
    return journal.enter("created", now, text, new=key.fingerprint)


def _accept(journal: Journal, world: World, now: float) -> Journal | Waiting:
    verdict = world.verdict(new_key(journal, world).dsn)
    if verdict == "rejected":
        return journal.hold(now, "the server does not accept the new key")
    if verdict == "unknown":
        return Waiting("the server has not yet accepted the new key for long enough")
    return journal.enter("accepted", now, "the server accepts the new key")


def _write(journal: Journal, world: World, now: float) -> Journal | Waiting:
    held = world.secret.read()
    mark = fingerprint(held.dsn)
    if mark == journal.old and journal.version != held.version:
        # The version to go back to is in the journal before there is a way back to go.
        text = f"version {held.version} of the secret holds the old DSN"
        return journal.enter("accepted", now, text, version=held.version)
    if mark == journal.old:
        key = new_key(journal, world)
        if not key.is_active:
            return journal.hold(now, _OFF)
        world.secret.write(key.dsn, held.version)
    elif mark != journal.new:
        return journal.hold(
            now, f"the secret holds a DSN that is not of this rotation: {_WAYS}"
        )
    return journal.enter("written", now, "the secret holds the new DSN")


def _converge(journal: Journal, world: World, now: float) -> Journal | Waiting:
    fleet = _fleet(journal, world)
    late = unconverged(fleet, journal.new, frozenset(journal.forced))
    if late and not _is_over(journal, now):
        reason = (
            f"the new DSN does not run everywhere: {named((*late, *fleet.troubles))}"
        )
        if not {NOBODY, NOBODY_FOLLOWS, *fleet.silent}.issuperset(late):
            reason += (
                "; agents read within their RESENTRY_POLL_SECONDS, and resentry-agent "
                "status in a pod says why it does not"
            )
        return _lost(journal, world, now) or Waiting(reason)
    text = _despite("the new DSN runs", late)
    return journal.enter("converged", now, text, left_out=tuple(late))


def _drain(journal: Journal, world: World, now: float) -> Journal | Waiting:
    left = _who_may_send(journal, world)
    if left and not _is_over(journal, now):
        reason = f"the old DSN may still be used: {named(left)}"
        return _lost(journal, world, now) or Waiting(reason)
    text = _despite("nobody holds the old DSN", left)
    return journal.enter("drained", now, text, left_out=tuple(left))


def _quieten(journal: Journal, world: World, now: float) -> Journal | Waiting:
    if _is_over(journal, now):
        return journal.enter("quiet", now, "the deadline is over")
    if left := _who_may_send(journal, world):
        return _lost(journal, world, now) or _again(journal, now, left)
    quiet = now - journal.since
    if quiet >= journal.quiet_seconds:  # until then the server need not be asked
        told = _quiet_for(journal, world, now)
        if told is None:
            return Waiting(
                "the server no longer says when something came by the old key: wait, or "
                "use resentry-agent rotate --resume --quiet with the time of your "
                "longest job"
            )
        quiet = min(quiet, told)
    if quiet < journal.quiet_seconds:
        until = time_text(now + journal.quiet_seconds - quiet, "seconds")
        return Waiting(f"nothing may come by the old key until {until}")
    return journal.enter("quiet", now, "nothing comes by the old key")


def _retire(journal: Journal, world: World, now: float) -> Journal | Waiting:
    if not _is_over(journal, now):
        if left := _who_may_send(journal, world):
            return _lost(journal, world, now) or _again(journal, now, left)
        told = _quiet_for(journal, world, now)
        if told is None or told < journal.quiet_seconds:
            return journal.enter(
                "drained", now, "something may have come by the old key"
            )
    refused, _ = refusals(_fleet(journal, world), frozenset(journal.forced))
    if lost := _lost(journal, world, now):
        return lost
    if not new_key(journal, world).is_active:
        return journal.hold(now, _OFF)
    for key in world.keys.all():
        # Of two holders that made a key at once, one could not save its own.
        is_extra = key.name == journal.key_name and key.fingerprint != journal.new
        if is_extra or key.fingerprint == journal.old:
            drop(key, world)
    return journal.enter("retired", now, "the old key is retired", refused_by=refused)


def _finish(journal: Journal, world: World, now: float) -> Journal | Waiting:
    dsn = old_dsn(journal, world)
    refused = world.is_refused(dsn) if dsn else None
    waited = now - journal.since
    if refused is False:
        if waited >= RENEW_SECONDS:  # not at each look: that would be a version each
            return replace(journal, since=now)
        return Waiting(
            "the server has not yet refused the old key on each try: servers "
            "cache, or somebody has activated the key again"
        )
    if not _is_over(journal, now) and (risen := _risen(journal, world, now)):
        return risen
    if waited < journal.refused_seconds:
        until = time_text(journal.since + journal.refused_seconds, "seconds")
        return Waiting(f"the old key must be refused until {until}")
    text = "refuses the old key" if refused else "has no key with the old DSN"
    return journal.enter("done", now, f"the server {text}")


def _risen(journal: Journal, world: World, now: float) -> Journal | Waiting | None:
    """Return `None` if no process had an envelope refused since the key was retired."""
    refused, mute = refusals(_fleet(journal, world), frozenset(journal.forced))
    if mute:
        return Waiting(f"nobody knows what servers answer to {named(mute)}")
    before = journal.refused_by
    rises = {
        name: count - before.get(name, 0)
        for name, count in refused.items()
        if count > before.get(name, 0)
    }
    if not rises:
        return None
    if now - journal.since >= RENEW_SECONDS:
        return replace(journal, since=now, refused_by=refused)
    return Waiting(
        f"servers have refused {sum(rises.values())} envelopes since then, of "
        f"{named(rises)}: they may still send by the old key; resentry-agent status in "
        "the pod says more; --abort activates the key again"
    )


def _is_over(journal: Journal, now: float) -> bool:
    """Whether the old key has leaked, and its time is over."""
    return journal.deadline is not None and now >= journal.deadline


def _despite(text: str, left: list[str]) -> str:
    return f"{text}, but not in {named(left)}: the deadline is over" if left else text


def _again(journal: Journal, now: float, left: list[str]) -> Journal:
    return journal.enter("converged", now, f"again with the old DSN: {named(left)}")


def _lost(journal: Journal, world: World, now: float) -> Journal | None:
    """Hold the rotation if the secret no longer holds the new DSN.

    That of a leaked key is not held: the old DSN is replaced once more, and a DSN of
    somebody else is as good as the new one.
    """
    mark = fingerprint(world.secret.read().dsn)
    if mark == journal.new:
        return None
    if journal.deadline is None or not mark:
        return journal.hold(now, f"the secret no longer holds the new DSN: {_WAYS}")
    if mark == journal.old:
        text = "somebody has put the old DSN back, and its key has leaked"
        return journal.enter("accepted", now, text)
    return None


def _fleet(journal: Journal, world: World) -> Fleet:
    try:
        return world.fleet()
    except AgentError as error:
        if journal.deadline is None:
            raise
        # No failure may hold the rotation of a leaked key beyond its deadline.
        return Fleet((), (f"any pod: {error.what}",))


def _who_may_send(journal: Journal, world: World) -> list[str]:
    fleet, forced = _fleet(journal, world), frozenset(journal.forced)
    late = unconverged(fleet, journal.new, forced)
    return sorted({*late, *holders(fleet, journal.old, forced)})


def _quiet_for(journal: Journal, world: World, now: float) -> float | None:
    """Return how long nothing came by the old key; `None` if that has to be said."""
    key = _old_key(journal, world)
    if key is None:
        return float("inf")  # nothing comes by a key that is gone
    known = world.keys.quiet_for(key, now)
    return float("inf") if known is None and not journal.needs_quiet else known


def _old_key(journal: Journal, world: World) -> Key | None:
    return key_of(journal.old, world)


_STEPS = {
    "planned": _create,
    "created": _accept,
    "accepted": _write,
    "written": _converge,
    "converged": _drain,
    "drained": _quieten,
    "quiet": _retire,
    "retired": _finish,
}
