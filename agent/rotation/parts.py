"""What a rotation reads and changes: keys, a secret, processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from agent.errors import AgentError, SourceMissing
from agent.sentry_api.errors import SentryApiDown
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.rotation.journal import Journal
    from agent.rotation.keys import Key
    from agent.rotation.rules import Fleet

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

    def is_alive(self, mark: str) -> bool:
        """Return whether the server accepts what is sent by the DSN of this fingerprint."""

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


def key_of(mark: str, world: World) -> Key | None:
    """Return the key whose DSN has this fingerprint."""
    return next((key for key in world.keys.all() if key.fingerprint == mark), None)


def new_key(journal: Journal, world: World) -> Key:
    """Return the new key, or raise `SentryApiDown`: its project is not asked now."""
    key = key_of(journal.new, world)
    if key is None:
        raise SentryApiDown(f"the server has no key {journal.key_name} any more")
    return key


def old_dsn(journal: Journal, world: World) -> str:
    """Return the old DSN, also if its key is gone; empty if nobody has it any more."""
    if key := key_of(journal.old, world):
        return key.dsn
    new_key(journal, world)  # else these are the keys of another project
    try:
        dsn = world.secret.read(journal.version).dsn
    except SourceMissing:
        return ""
    return dsn if fingerprint(dsn) == journal.old else ""


def drop(key: Key, world: World) -> None:
    """Deactivate a key. GlitchTip ignores that, so there it is deleted."""
    if world.keys.switch(key.id, is_active=False).is_active:
        world.keys.delete(key.id)
