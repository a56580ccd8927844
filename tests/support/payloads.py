"""A sink that keeps what arrives."""

import json
from typing import Any

from lab.ledger import parse_envelope
from lab.sink import Behaviour, Sink


class KeepingSink(Sink):
    """Keeps each item's payload, by project."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[tuple[int, str, Any]] = []
        self.first: list[int] = []
        """The status codes that answer the next requests; after them, as ever."""

    def _behaviour_of(self, project: int, key: str) -> Behaviour:
        if self.first:
            return Behaviour(self.first.pop(0))
        return super()._behaviour_of(project, key)

    def book(self, project: int, key: str, body: bytes) -> str:
        for item in parse_envelope(body)[1]:
            self._kept.append((project, item.kind, json.loads(item.payload)))
        return super().book(project, key, body)

    def payloads(self, kind: str, project: int) -> list[Any]:
        """Return the items of that kind in the order of their arrival."""
        return [
            item for to, of, item in list(self._kept) if (to, of) == (project, kind)
        ]
