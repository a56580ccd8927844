"""A made world for the steps of a rotation: a server, a secret, processes and a clock."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from agent.rotation.keys import Key
from agent.rotation.parts import Held, SecretChanged
from agent.rotation.rules import Fleet, Process
from lab.sink import key_of
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.rotation.parts import Verdict


class Killed(BaseException):
    """The process of the rotation ends here."""


def dsn(number: int) -> str:
    return f"https://{key_of(42, number)}@sentry.example.org/42"


class World:
    """Everything that a rotation reads and changes; each call can be its last.

    A process follows the secret one look at the fleet later, and lets the DSN go that it
    had before one look after that.
    """

    def __init__(self, processes: int = 3) -> None:
        self.now = 1_700_000_000.0
        self.dies_at: int | None = None
        """The call, before or after which the rotation ends; counted from 0."""
        self.calls = 0
        self.server = [Key(key_of(42, 1), "Default", dsn(1), is_active=True)]
        self.versions = [dsn(1)]
        self.runs = {f"api pid {n}": dsn(1) for n in range(processes)}
        self.before: dict[str, str] = {}
        self.silent: tuple[str, ...] = ()
        self.unproven: set[str] = set()
        self.refused: dict[str, int | None] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.quiet: float | None = None
        self.ignores_switch = False
        self.retired_while_held: list[str] = []
        self.on_fleet: Callable[[], None] = lambda: None
        self.on_all: Callable[[], None] = lambda: None
        self.on_named: Callable[[], None] = lambda: None
        self._numbers = itertools.count(2)

    @property
    def keys(self) -> World:
        return self

    @property
    def secret(self) -> World:
        return self

    def may_die(self) -> None:
        """Two chances to die at each call: before it and after it."""
        self.calls += 1
        if self.calls - 1 == self.dies_at:
            raise Killed

    # The server of the keys

    def all(self) -> list[Key]:
        found = self.server[::-1]
        self.on_all()
        return found

    def named(self, name: str) -> list[Key]:
        found = [key for key in self.server if key.name == name]
        self.on_named()
        return found

    def is_alive(self, mark: str) -> bool:
        return any(key.is_active for key in self.server if key.fingerprint == mark)

    def make(self, name: str) -> Key:
        self.may_die()
        number = next(self._numbers)
        key = Key(key_of(42, number), name, dsn(number), is_active=True)
        self.server.append(key)
        self.may_die()
        return key

    def switch(self, key_id: str, *, is_active: bool) -> Key:
        self.may_die()
        self._note_holders(key_id, is_active=is_active)
        at = [key.id for key in self.server].index(key_id)
        if not self.ignores_switch:
            self.server[at] = self.server[at]._replace(is_active=is_active)
        self.may_die()
        return self.server[at]

    def delete(self, key_id: str) -> None:
        self.may_die()
        self._note_holders(key_id, is_active=False)
        self.server = [key for key in self.server if key.id != key_id]
        self.may_die()

    def _note_holders(self, key_id: str, *, is_active: bool) -> None:
        for name in () if is_active else self.runs:
            if any(
                key_id in each for each in (self.runs[name], self.before.get(name, ""))
            ):
                self.retired_while_held.append(name)

    # The secret

    def read(self, version: int | None = None) -> Held:
        number = version or len(self.versions)
        return Held(self.versions[number - 1], number)

    def write(self, text: str, after: int) -> int:
        self.may_die()
        if after != len(self.versions):
            raise SecretChanged("the secret has changed")
        self.versions.append(text)
        self.may_die()
        return after + 1

    # The processes

    def fleet(self) -> Fleet:
        self.on_fleet()
        processes = tuple(
            Process(
                name,
                fingerprint(self.runs[name]),
                frozenset(
                    map(
                        fingerprint, {self.runs[name], self.before.get(name, "")} - {""}
                    )
                ),
                name not in self.unproven,
                refused=self.refused.get(name, 0),
            )
            for name in self.runs
        )
        for name in self.runs:
            if (
                self.before.pop(name, None) is None
                and self.runs[name] != self.versions[-1]
            ):
                self.before[name] = self.runs[name]
                self.runs[name] = self.versions[-1]
        return Fleet(processes, self.silent)

    def verdict(self, text: str) -> Verdict:
        named = self.verdicts.get(text)
        is_active = any(key.is_active for key in self.server if key.dsn == text)
        return named or ("accepted" if is_active else "rejected")

    def is_refused(self, text: str) -> bool | None:
        return None if self.ignores_switch else self.verdict(text) == "rejected"

    def quiet_for(self, key: Key, now: float) -> float | None:
        del key, now
        return self.quiet
