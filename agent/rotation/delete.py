"""Deletes the key that a rotation has retired: days later, and by another right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.rotation.keeper import RotationBusy, RotationMissing
from resentry.contract import time_text

if TYPE_CHECKING:
    from agent.rotation.journal import Journal
    from agent.rotation.parts import KeyServer
    from agent.rotation.vault import JournalFile


def delete_retired(
    file: JournalFile,
    owner: tuple[str, str],
    keys: KeyServer,
    after: float,
    now: float,
) -> Journal:
    """Delete the old key of the last rotation, and return its journal.

    Its last entry says what was done. `owner` is the secret's path, and the role or "".
    Raises `RotationMissing` if no rotation is done, and `RotationBusy` if it is done for
    less than `after` seconds or its key is active again. A key that is gone is no error.
    """
    journal, version = file.load()
    if journal is not None and (journal.secret, journal.role) != owner:
        of_role = f" and the role {journal.role}" if journal.role else ""
        raise RotationMissing(
            f"the journal is of rotations of {journal.secret}{of_role}, not of "
            f"{' and the role '.join(filter(None, owner))}",
            "use the --secret, the --role and the RESENTRY_ROTATION_PATH of the rotation",
        )
    if journal is None or journal.phase != "done":
        state = f"rotation {journal.rotation} is {journal.phase}" if journal else "none"
        raise RotationMissing(
            f"no rotation of this secret is done: {state}",
            "resentry-agent rotate --watch shows how far it is",
        )
    if now < journal.since + after:
        until = time_text(journal.since + after, "seconds")
        raise RotationBusy(
            f"rotation {journal.rotation} is done only since "
            f"{time_text(journal.since, 'seconds')}",
            f"wait until {until}, or give a shorter --after",
        )
    retired = [key for key in keys.all() if key.fingerprint == journal.old]
    for key in retired:
        if key.is_active:
            raise RotationBusy(
                f"the key {journal.old} is active again",
                "find out who activated it; deactivate it first",
            )
        keys.delete(key.id)
    text = (
        "the old key is deleted"
        if retired
        else "the server has no key with the old DSN"
    )
    journal = journal.note(now, text)
    file.save(journal, version)
    return journal
