"""Values of several fields, which are never changed, and replaced as a whole.

A dataclass or a `NamedTuple` would do. But Python compiles the methods of each at each start
of the agent, which is a tenth of what an application waits for.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from msgspec import Struct, structs

T = TypeVar("T")


class Value(Struct, frozen=True):
    """The base of these values. A class says `frozen=True` again, for type checkers."""


def replace(value: T, **changes: Any) -> T:
    """Return the value with other fields. It may also be a dataclass, as a snapshot is."""
    if isinstance(value, Struct):
        return structs.replace(value, **changes)
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]
