"""The types and the descriptions that settings are made of."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, le=86400)]


def says(text: str) -> Meta:
    """Describe a setting, for `--help` and docs/settings.md."""
    return Meta(description=text)


class Secret:
    """A value that is shown as nothing but its presence."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "(set)" if self._value else "(none)"
