"""The keys of a server without an API for them: a person does what the API would do.

Nothing is skipped: the rotation waits, says what to do, and looks whether it was done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.rotation.errors import PersonNeeded
from agent.rotation.keys import Key
from resentry.contract import fingerprint
from resentry.values import show_dsn

if TYPE_CHECKING:
    from collections.abc import Callable


class GivenKeys:
    """The old and the new DSN, as a person and the secret gave them.

    Args:
        dsns: returns the DSNs that the secret holds, and has held in this rotation.
        new: the DSN that a person made; empty if it was not given.
        wanted: returns the fingerprint of the new DSN; empty if there is none yet.
        is_refused: whether the server refuses a DSN, after several answers.
        is_denied: whether its next answer does.

    """

    def __init__(
        self,
        dsns: Callable[[], list[str]],
        new: str,
        wanted: Callable[[], str],
        is_refused: Callable[[str], bool],
        is_denied: Callable[[str], bool],
    ) -> None:
        self._dsns = dsns
        self._new = new
        self._wanted = wanted
        self._is_refused = is_refused
        self._is_denied = is_denied

    def _known(self) -> dict[str, str]:
        return {fingerprint(dsn): dsn for dsn in (*self._dsns(), self._new) if dsn}

    def all(self) -> list[Key]:
        """Return the keys that are known. Raises `PersonNeeded` if the new one is not."""
        known, wanted = self._known(), self._wanted()
        if wanted and wanted not in known:
            raise PersonNeeded(
                f"the new DSN {wanted} is not in Vault, and was not given",
                "end this command, and give the DSN with --resume --new-dsn FILE",
            )
        return [
            Key(mark, "", dsn, is_active=not self._is_refused(dsn))
            for mark, dsn in known.items()
        ]

    def is_alive(self, mark: str) -> bool:
        """Return whether the server still accepts a DSN, by its next answer.

        A DSN that Vault no longer holds cannot be asked about: it was refused when its
        rotation was done.
        """
        dsn = self._known().get(mark)
        return dsn is not None and not self._is_denied(dsn)

    def named(self, name: str) -> list[Key]:
        """Return the new key, whatever it is called at the server."""
        del name
        return [key for key in self.all() if key.dsn == self._new]

    def make(self, name: str) -> Key:
        """Ask for a new DSN."""
        raise PersonNeeded(
            "this server has no API that makes keys",
            f"make a key at the server, for example with the name {name}, and give its "
            "DSN with --new-dsn FILE",
        )

    def switch(self, key_id: str, *, is_active: bool) -> Key:
        """Ask for the switch, until the server does as if it was made."""
        (key,) = (key for key in self.all() if key.id == key_id)
        if key.is_active is not is_active:
            verb = "enable" if is_active else "disable or delete"
            raise PersonNeeded(
                f"this server has no API that switches keys: {verb} {show_dsn(key.dsn)}",
                "do so on the page of the project's client keys; the rotation goes on "
                "when the server answers accordingly",
            )
        return key

    def delete(self, key_id: str) -> None:
        """Do nothing: a key that the server refuses needs no deletion."""

    def quiet_for(self, key: Key, now: float) -> float | None:
        """Return `None`: nobody can say when something came by a key."""
        del key, now
        return None
