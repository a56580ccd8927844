"""What a rotation reads and writes in Vault: its journal, and the DSN of one secret.

Both are KV version 2, written by check-and-set: what somebody else wrote meanwhile stays.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, ClassVar

from agent.domain.bounded_json import loads
from agent.errors import (
    AgentError,
    SettingsError,
    SourceDenied,
    SourceDown,
    SourceMissing,
)
from agent.rotation import journal as journals
from agent.rotation.journal import JournalUnreadable
from agent.rotation.parts import Held, SecretChanged
from resentry import formats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.rotation.journal import Journal
    from agent.source.vault import VaultSource

_DSN, _ROLES, _JOURNAL = "SENTRY_DSN", "RESENTRY_ROLES", "journal"


class Versioned:
    """One secret of KV version 2.

    Args:
        source: knows Vault, and holds the token.
        path: as in RESENTRY_VAULT_PATHS, without a pinned version.

    """

    named_by: ClassVar[str]
    """What names the path, for errors that would blame RESENTRY_VAULT_PATHS."""

    def __init__(self, source: VaultSource, path: str) -> None:
        source.log_in()
        self._source = source
        with self._blamed():
            place = source.locate(path)
        self.key, self.path = place.key, place.path
        if place.version != 2 or place.pin is not None:
            raise SettingsError(
                f"{place.path} is not KV version 2, or the path pins a version",
                "a rotation needs versions and check-and-set: use a mount of KV version "
                "2 and a path without ?version=",
            )

    @contextlib.contextmanager
    def _blamed(self) -> Iterator[None]:
        try:
            yield
        except AgentError as error:
            for part in ("what", "hint"):
                text = getattr(error, part).replace(
                    "RESENTRY_VAULT_PATHS", self.named_by
                )
                setattr(error, part, text)
            raise

    def get(self, version: int | None = None) -> tuple[dict[str, Any], int]:
        """Return the keys and the number of a version; ({}, 0) if there was never one.

        A newest version that is deleted has a number, and no keys.
        """
        params = {"version": str(version)} if version else None
        self._source.log_in()  # a rotation outlives a token
        try:
            data = self._source.api.get(self.path, params).get("data")
        except SourceMissing:
            if version is not None:
                raise
            return {}, self._newest()
        try:
            held, number = data["data"], int(data["metadata"]["version"])  # type: ignore[index]
        except (KeyError, TypeError, ValueError):
            raise SourceDown(
                f"Vault's answer for {self.path} is not a KV secret"
            ) from None
        return dict(held or {}), number

    def put(self, held: dict[str, Any], after: int) -> int:
        """Write the next version, if `after` is the newest; return its number."""
        body = {"options": {"cas": after}, "data": held}
        try:
            data = self._source.api.post(self.path, body).get("data") or {}
        except SourceDenied:
            # The status is the same for a lost race and for a request that is wrong.
            if self.get()[1] != after:
                raise SecretChanged(
                    f"somebody else has written {self.path} at the same time",
                    "nothing is to be done: the rotation reads it again",
                ) from None
            raise
        return formats.whole(str(data.get("version")))

    def _newest(self) -> int:
        try:
            return formats.whole(str(self._metadata().get("current_version")))
        except SourceMissing:
            return 0

    def _metadata(self) -> dict[str, Any]:
        mount, _, name = self.path.partition("/data/")
        return dict(self._source.api.get(f"{mount}/metadata/{name}").get("data") or {})

    def kept(self) -> int:
        """Return how many versions Vault keeps; 0 if nobody has said, or it is not told."""
        try:
            return formats.whole(str(self._metadata().get("max_versions") or 0))
        except (SourceMissing, SourceDenied):
            return 0

    def lifetime(self) -> str:
        """Return after how long Vault deletes a version by itself; empty if never.

        Also empty if nothing stands there yet, or the token may not read the metadata.
        """
        try:
            after = str(self._metadata().get("delete_version_after") or "0s")
        except (SourceMissing, SourceDenied):
            return ""
        return "" if after == "0s" else after


class DsnSecret(Versioned):
    """The secret that holds the DSN: of all roles, or of one `role`."""

    named_by = "--secret or RESENTRY_VAULT_PATHS"

    def __init__(self, source: VaultSource, path: str, role: str = "") -> None:
        super().__init__(source, path)
        if self.key not in {None, _DSN}:
            raise SettingsError(
                f"{self.path} holds no DSN", f"name the secret of {_DSN}"
            )
        self._role = role

    def read(self, version: int | None = None) -> Held:
        """Return the DSN of a version; of the newest one without a number."""
        held, number = self.get(version)
        values = held
        if self._role:
            values = self.roles(held).get(self._role) or {}
        elif self.key and len(held) == 1:
            return Held(str(next(iter(held.values()))), number)
        return Held(str(values.get(_DSN) or ""), number)

    def write(self, dsn: str, after: int) -> int:
        """Replace this DSN alone, by check-and-set; return the new version."""
        held, number = self.get()
        if number != after:
            raise SecretChanged(f"{self.path} has changed")
        if self._role:
            roles = self.roles(held)
            roles[self._role] = {**roles[self._role], _DSN: dsn}
            is_text = isinstance(held[_ROLES], str)
            held[_ROLES] = json.dumps(roles) if is_text else roles
        elif self.key and len(held) == 1:
            held = dict.fromkeys(held, dsn)
        else:
            held[_DSN] = dsn
        return self.put(held, after)

    def roles(self, held: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
        """Return the roles of the secret, each with its own settings."""
        given = (self.get()[0] if held is None else held).get(_ROLES) or {}
        try:
            roles = loads(given.encode()) if isinstance(given, str) else given
            return {str(name): dict(values) for name, values in roles.items()}
        except (ValueError, TypeError, AttributeError):
            raise SettingsError(
                f"{_ROLES} in {self.path} is not an object of roles",
                "correct it first: a rotation leaves the other keys as they are",
            ) from None


class JournalFile(Versioned):
    """The journal and lock of the rotations of one secret."""

    named_by = "RESENTRY_ROTATION_PATH"

    def load(self) -> tuple[Journal | None, int]:
        """Return the journal of the newest rotation, and the number of its version.

        Raises `JournalUnreadable` if the newest version is deleted: its rotation may not
        have ended. Also if the secret holds anything else: that must not be overwritten.
        """
        held, number = self.get()
        if not held and number:
            raise JournalUnreadable(
                f"version {number} of the journal {self.path} is deleted, or has no content",
                f"restore it (vault kv undelete -versions={number}), or remove the secret "
                "with all its versions (vault kv metadata delete) if no rotation is under way",
            )
        if not number:
            return None, 0
        if set(held) != {_JOURNAL}:
            raise JournalUnreadable(
                f"{self.path} holds something else than a journal of rotations",
                "set RESENTRY_ROTATION_PATH to a path at which nothing stands yet",
            )
        return journals.decode(str(held[_JOURNAL])), number

    def save(self, journal: Journal, after: int) -> int:
        """Write the journal, if nobody else did since version `after`."""
        return self.put({_JOURNAL: journals.encode(journal)}, after)
