"""Which kind of source the settings ask for: one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import SettingsError

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.source import Source


def open_source(settings: Settings, user_agent: str) -> Source:
    """Return the source, or raise `SettingsError`. Nothing is asked yet."""
    if not settings.source_path:
        from agent.source.vault import VaultSource  # noqa: PLC0415 - 21 MB with hvac

        return VaultSource(settings, user_agent)
    if settings.vault_addr or settings.vault_paths:
        raise SettingsError(
            "RESENTRY_SOURCE_PATH and RESENTRY_VAULT_ADDR or _PATHS are both set",
            "one kind of source at a time: unset the other",
        )
    from agent.source.files import FileSource  # noqa: PLC0415 - as above

    return FileSource(settings)
