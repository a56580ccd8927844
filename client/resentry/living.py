"""Keeps track of living objects by weak references, without keeping them alive."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

T = TypeVar("T")


class Living(Generic[T]):
    """A set of living objects by identity: their own `==` is not used.

    Has no lock: any thread may add at any time, even while another thread forks.
    """

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[T]] = {}

    def add(self, item: T) -> None:
        """Add the object. Raises TypeError if it has no weak references."""
        references, number = self._references, id(item)
        # The callback runs before another object can get the same number.
        references[number] = weakref.ref(item, lambda _: references.pop(number, None))

    def __len__(self) -> int:
        return len(self._references)

    def all(self) -> list[T]:
        """Return the objects that live now, the oldest first."""
        # The copy is one step. Iterating over the original breaks if another thread adds.
        items = (reference() for reference in self._references.copy().values())
        return [item for item in items if item is not None]
