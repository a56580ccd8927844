"""A candidate: the values at the source, before the guard rails have judged them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from agent.domain.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.newest import Mark


class Candidate(Value, frozen=True):
    """The raw values by key, and the origin of each at the source."""

    values: Mapping[str, Any]
    provenance: Mapping[str, Mapping[str, Any]] = {}
    notes: tuple[str, ...] = ()
    """Remarks on the source for an operator. They do not make the candidate bad."""
    newest: Mapping[str, Mark] = {}
    """The newest version of each secret that was ever read, this read included."""

    @property
    def fingerprint(self) -> str:
        """A hash of the content, which shows whether a refused candidate has changed."""
        try:
            canonical = json.dumps(dict(self.values), sort_keys=True, default=str)
        except RecursionError:  # a key of others is nested too deeply
            canonical = json.dumps(sorted(self.values))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]
