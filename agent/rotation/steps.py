"""The steps of a rotation. Each can be repeated: by who did it before, or by another.

    planned → created → accepted → written → converged → drained → quiet → retired → done

A step reads what the servers hold, does what is missing, and returns the journal of the
next phase. The caller saves the journal. Killed between the two, the next holder finds what
was done: a key by its name, the DSN by its fingerprint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from msgspec.structs import replace

from agent.errors import AgentError
from agent.rotation.errors import PersonNeeded
from agent.rotation.journal import named
from agent.rotation.rules import holders, unconverged
from agent.sentry_api.errors import SentryApiDown
from resentry.contract import fingerprint, time_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.rotation.journal import Journal
    from agent.rotation.keys import Key
    from agent.rotation.rules import Fleet

RENEW_SECONDS = 60.0
"""So often the time begins anew while the server accepts a retired key."""
Verdict = Literal["accepted", "rejected", "unknown"]


class Held(NamedTuple):
    """The DSN that one version of the secret holds."""

    dsn: str
    version: int


class SecretChanged(AgentError):
    """The secret has another version than the rotation has read."""

    exit_code = 74
    retry_soon = True


class KeyServer(Protocol):
    """The client keys of the project; `agent.rotation.keys.Keys` is one."""

    def all(self) -> list[Key]:
        """Return every key."""

    def named(self, name: str) -> list[Key]:
        """Return the keys of this name, the oldest first."""

    def make(self, name: str) -> Key:
        """Make a key."""

    def switch(self, key_id: str, *, is_active: bool) -> Key:
        """Activate or deactivate a key."""

    def delete(self, key_id: str) -> None:
        """Delete a key."""

    def quiet_for(self, key: Key, now: float) -> float | None:
        """Return how long nothing came by a key; `None` if nobody can say."""


class Secret(Protocol):
    """The secret whose DSN is replaced."""

    def read(self, version: int | None = None) -> Held:
        """Return the DSN of a version; of the newest one without a number."""

    def write(self, dsn: str, after: int) -> int:
        """Replace the DSN alone, by check-and-set; return the new version.

        Raises `SecretChanged` if the newest version is not `after`.
        """


class World(Protocol):
    """All that a rotation reads and changes."""

    @property
    def keys(self) -> KeyServer:
        """The server that makes the keys."""

    @property
    def secret(self) -> Secret:
        """The secret at the source."""

    @property
    def fleet(self) -> Callable[[], Fleet]:
        """Return every process that is known now."""

    def verdict(self, dsn: str) -> Verdict:
        """Return what the server says to an envelope by this DSN."""

    def is_refused(self, dsn: str) -> bool | None:
        """Return whether the server refuses a DSN now; `None` if it is not to be asked."""


class Waiting(NamedTuple):
    """The phase goes on: for this reason."""

    reason: str


def step(journal: Journal, world: World, now: float) -> Journal | Waiting:
    """Do what is due, and return the journal to save, or why the phase goes on."""
    if journal.held:
        return Waiting(f"a person has to decide: {journal.held}")
    do = _abort if journal.is_aborting else _STEPS[journal.phase]
    try:
        return do(journal, world, now)
    except PersonNeeded as error:
        return Waiting(f"{error.what}: {error.hint}")


def _create(journal: Journal, world: World, now: float) -> Journal | Waiting:
    found = world.keys.named(journal.key_name)
    key = found[0] if found else world.keys.make(journal.key_name)
    for extra in found[1:]:  # an answer was lost, and somebody made another one
        world.keys.switch(extra.id, is_active=False)
    return journal.enter(
        "created", now, f"the new key is {journal.key_name}", new=key.fingerprint
    )


def _accept(journal: Journal, world: World, now: float) -> Journal | Waiting:
    verdict = world.verdict(_new_key(journal, world).dsn)
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
        world.secret.write(_new_key(journal, world).dsn, held.version)
    elif mark != journal.new:
        return journal.hold(now, "the secret holds a DSN that is not of this rotation")
    return journal.enter("written", now, "the secret holds the new DSN")


def _converge(journal: Journal, world: World, now: float) -> Journal | Waiting:
    late = unconverged(world.fleet(), journal.new, frozenset(journal.forced))
    if late and not _is_over(journal, now):
        return Waiting(
            f"the new DSN does not run everywhere: {named(late)}; agents read within "
            "their RESENTRY_POLL_SECONDS, or at once with resentry-agent refresh"
        )
    return journal.enter("converged", now, _despite("the new DSN runs", late))


def _drain(journal: Journal, world: World, now: float) -> Journal | Waiting:
    left = _who_may_send(journal, world)
    if left and not _is_over(journal, now):
        return Waiting(f"the old DSN may still be used: {named(left)}")
    return journal.enter("drained", now, _despite("nobody holds the old DSN", left))


def _quieten(journal: Journal, world: World, now: float) -> Journal | Waiting:
    left = _who_may_send(journal, world)
    if left and not _is_over(journal, now):
        return journal.enter("converged", now, f"again with the old DSN: {named(left)}")
    quiet = now - journal.since
    if quiet >= journal.quiet_seconds:  # until then the server need not be asked
        quiet = min(quiet, _quiet_for(journal, world, now))
    if quiet < journal.quiet_seconds and not _is_over(journal, now):
        until = time_text(now + journal.quiet_seconds - quiet, "seconds")
        return Waiting(f"nothing may come by the old key until {until}")
    return journal.enter("quiet", now, "nothing comes by the old key")


def _retire(journal: Journal, world: World, now: float) -> Journal | Waiting:
    left = _who_may_send(journal, world)
    if left and not _is_over(journal, now):
        return journal.enter("converged", now, f"again with the old DSN: {named(left)}")
    if fingerprint(world.secret.read().dsn) != journal.new:
        return journal.hold(now, "the secret no longer holds the new DSN")
    if not _new_key(journal, world).is_active:
        return journal.hold(now, "the new key is not active at the server")
    key = _old_key(journal, world)
    if key is not None and world.keys.switch(key.id, is_active=False).is_active:
        world.keys.delete(key.id)  # GlitchTip ignores the switch
    return journal.enter("retired", now, "the old key is retired")


def _finish(journal: Journal, world: World, now: float) -> Journal | Waiting:
    key = _old_key(journal, world)
    refused = world.is_refused(key.dsn) if key is not None else None
    waited = now - journal.since
    if refused is False:
        if waited >= RENEW_SECONDS:  # not at each look: that would be a version each
            return replace(journal, since=now)
        return Waiting("the server still accepts the old key: servers cache")
    if waited < journal.refused_seconds:
        until = time_text(journal.since + journal.refused_seconds, "seconds")
        return Waiting(f"the old key must be refused until {until}")
    text = "refuses the old key" if refused else "is not asked about a deleted key"
    return journal.enter("done", now, f"the server {text}")


def _abort(journal: Journal, world: World, now: float) -> Journal | Waiting:
    """Put the old DSN back if it was replaced; then drop the new key."""
    old = _old_key(journal, world)
    if old is not None and not old.is_active:
        world.keys.switch(old.id, is_active=True)
    if journal.version:
        held = world.secret.read()
        mark = fingerprint(held.dsn)
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
    for key in world.keys.named(journal.key_name):
        if world.keys.switch(key.id, is_active=False).is_active:
            world.keys.delete(key.id)
    return journal.enter("aborted", now, "the old DSN stays, the new key is retired")


def _is_over(journal: Journal, now: float) -> bool:
    """Whether the old key has leaked, and its time is over."""
    return journal.deadline is not None and now >= journal.deadline


def _despite(text: str, left: list[str]) -> str:
    return f"{text}, but not in {named(left)}: the deadline is over" if left else text


def _who_may_send(journal: Journal, world: World) -> list[str]:
    fleet, forced = world.fleet(), frozenset(journal.forced)
    late = unconverged(fleet, journal.new, forced)
    return sorted({*late, *holders(fleet, journal.old, forced)})


def _quiet_for(journal: Journal, world: World, now: float) -> float:
    key = _old_key(journal, world)
    known = world.keys.quiet_for(key, now) if key is not None else None
    return float("inf") if known is None else known


def _new_key(journal: Journal, world: World) -> Key:
    key = _key_of(journal.new, world)
    if key is None:
        raise SentryApiDown(f"the server has no key {journal.key_name} any more")
    return key


def _old_key(journal: Journal, world: World) -> Key | None:
    return _key_of(journal.old, world)


def _key_of(mark: str, world: World) -> Key | None:
    return next((key for key in world.keys.all() if key.fingerprint == mark), None)


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
