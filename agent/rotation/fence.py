"""Lets a step change keys and the secret only while this process has the lock.

A step can take long, and a process can be stopped in its midst: a laptop that sleeps. By
then somebody else may have taken the lock, and gone another way. Vault refuses the journal
of this process then, by check-and-set. It refuses the secret only if that has a new version,
so whoever goes back writes one (`back.py`). Sentry's API has no such thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.rotation.journal import LEASE_SECONDS
from agent.rotation.parts import SecretChanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.rotation.journal import Journal
    from agent.rotation.keys import Key
    from agent.rotation.parts import Held, KeyServer, Secret, Verdict, World
    from agent.rotation.rules import Fleet
    from agent.rotation.vault import JournalFile


class Lock:
    """The lock during one step. `version` is that of the journal as it stands in Vault.

    Args:
        file: the journal.
        journal: what the step began with.
        version: its version.
        holder: the name of this process in the lock.
        clock: seconds since the epoch.

    """

    def __init__(
        self,
        file: JournalFile,
        journal: Journal,
        version: int,
        holder: str,
        clock: Callable[[], float],
    ) -> None:
        self.version = version
        self._file, self._journal = file, journal
        self._holder, self._clock = holder, clock

    def must_hold(self) -> None:
        """Hold the lock for another half of its time, or raise `SecretChanged`.

        Clocks differ: also a lock that seems to be ours may have been taken.
        """
        now = self._clock()
        if self._journal.until - now < LEASE_SECONDS / 2:
            self._journal = self._journal.take(self._holder, now)
            self.version = self._file.save(self._journal, self.version)
        elif self._file.load()[1] != self.version:
            raise SecretChanged(
                "somebody else carries this rotation on",
                "resentry-agent rotate --watch shows how it goes",
            )


class FencedKeys:
    """A `KeyServer` that calls `must_hold` before each change."""

    def __init__(self, keys: KeyServer, must_hold: Callable[[], None]) -> None:
        self._keys = keys
        self._must_hold = must_hold
        self.all = keys.all
        self.named = keys.named
        self.is_alive = keys.is_alive
        self.quiet_for = keys.quiet_for

    def make(self, name: str) -> Key:
        """Make a key."""
        self._must_hold()
        return self._keys.make(name)

    def switch(self, key_id: str, *, is_active: bool) -> Key:
        """Activate or deactivate a key."""
        self._must_hold()
        return self._keys.switch(key_id, is_active=is_active)

    def delete(self, key_id: str) -> None:
        """Delete a key."""
        self._must_hold()
        self._keys.delete(key_id)


class FencedSecret:
    """A `Secret` that calls `must_hold` before each write."""

    def __init__(self, secret: Secret, must_hold: Callable[[], None]) -> None:
        self._secret = secret
        self._must_hold = must_hold

    def read(self, version: int | None = None) -> Held:
        """Return the DSN of a version."""
        return self._secret.read(version)

    def write(self, dsn: str, after: int) -> int:
        """Replace the DSN."""
        self._must_hold()
        return self._secret.write(dsn, after)


class FencedWorld:
    """A `World` whose keys and secret are fenced."""

    def __init__(self, world: World, must_hold: Callable[[], None]) -> None:
        self.keys: KeyServer = FencedKeys(world.keys, must_hold)
        self.secret: Secret = FencedSecret(world.secret, must_hold)
        self.fleet: Callable[[], Fleet] = world.fleet
        self.verdict: Callable[[str], Verdict] = world.verdict
        self.is_refused: Callable[[str], bool | None] = world.is_refused
