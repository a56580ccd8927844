"""A server's audit log as it grows: what was asked, when, and the server's own time."""

from __future__ import annotations

import json
import os
import signal
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.process import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from lab.vault import Vault


class Call(NamedTuple):
    """One request that was answered."""

    operation: str
    path: str
    at: float
    """When it came, in seconds since the epoch."""
    seconds: float
    """How long the server took."""
    error: str
    token: str
    """The same for the same token: a keyed hash of its accessor."""


class Audit:
    """Reads what is new in the log of a server that counts requests."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._path = vault.folder / "audit.log"
        self._read = 0
        self._asked: dict[str, float] = {}

    def calls(self) -> list[Call]:
        """Return the requests that were answered since the last look."""
        return self._look(self._path)

    def rotate(self) -> list[Call]:
        """Have the server begin a new log; return what was new in the old one."""
        old = self._path.with_suffix(".old")
        os.rename(self._path, old)
        self._vault.process.signal(signal.SIGHUP)
        eventually(self._path.exists, what="a new audit log")
        found = self._look(old)
        old.unlink()
        self._read = 0
        return found

    def _look(self, path: Path) -> list[Call]:
        with path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        made = map(self._call, map(json.loads, whole.splitlines()))
        return [call for call in made if call is not None]

    def _call(self, entry: dict[str, Any]) -> Call | None:
        """Return the request that this entry is the answer to, if it is one."""
        request = entry["request"]
        at = datetime.fromisoformat(entry["time"]).timestamp()
        if entry["type"] == "request":
            self._asked[request["id"]] = at
            return None
        began = self._asked.pop(request["id"], at)
        error = entry.get("error", "")
        token = entry.get("auth", {}).get("accessor", "")
        return Call(
            request["operation"], request["path"], began, at - began, error, token
        )
