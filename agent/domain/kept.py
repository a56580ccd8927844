"""Reads a snapshot that the agent has kept for itself."""

from __future__ import annotations

from resentry.contract import ContractError, Snapshot, decode_snapshot
from resentry.values import misread


def decode_kept(body: bytes) -> Snapshot:
    """Return the snapshot, or raise `ContractError`.

    Unlike a process, the agent takes no single value that is bad: a kept snapshot may be
    published again, without a source that is read and judged.
    """
    snapshot = decode_snapshot(body)
    if any(map(misread, (snapshot.settings, *snapshot.roles.values()))):
        raise ContractError("the kept snapshot has a bad value")
    return snapshot
