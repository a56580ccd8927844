"""Objects by weak reference: known while they live, and kept alive by nobody here."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

T = TypeVar("T")


class Living(Generic[T]):
    """A set of living objects, each one for itself: their own `==` is not asked.

    No lock: any thread may add at any time, also while another one forks.
    """

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[T]] = {}

    def add(self, one: T) -> None:
        """Know the object from now on. Raises TypeError where that can't be done."""
        references, number = self._references, id(one)
        # The callback runs before the number can become another object's.
        references[number] = weakref.ref(one, lambda _: references.pop(number, None))

    def __len__(self) -> int:
        return len(self._references)

    def all(self) -> list[T]:
        """Return those that live now, the oldest first."""
        # The copy is one step: an iteration would break where another thread adds.
        found = (reference() for reference in self._references.copy().values())
        return [one for one in found if one is not None]
