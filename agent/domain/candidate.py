"""What a source holds, not yet validated."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Candidate:
    """The raw values by key, and for each where it stands at the source."""

    values: Mapping[str, Any]
    provenance: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What an operator should know of the source, though the candidate is good."""

    @property
    def fingerprint(self) -> str:
        """A name for the content, to tell whether a refused candidate has changed."""
        canonical = json.dumps(dict(self.values), sort_keys=True, default=str)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]
