"""Opens the kind of source that the settings ask for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent import lean
from agent.errors import SettingsError

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.source import Source


def open_source(settings: Settings, user_agent: str) -> Source:
    """Return the source, or raise `SettingsError`. Nothing is read yet."""
    if not settings.source_path:
        for library in ("urllib3", "requests", "hvac", "hvac.adapters"):
            lean.load(library)
        from agent.source.vault import VaultSource  # noqa: PLC0415 - 21 MB with hvac

        return VaultSource(settings, user_agent)
    if settings.vault_addr or settings.vault_paths:
        raise SettingsError(
            "RESENTRY_SOURCE_PATH is set, and so is RESENTRY_VAULT_ADDR or "
            "RESENTRY_VAULT_PATHS",
            "unset RESENTRY_SOURCE_PATH, or both others: the agent reads one source",
        )
    source, volume = map(os.path.realpath, (settings.source_path, settings.dir))
    if volume in (source, *parents(source)):
        raise SettingsError(
            "RESENTRY_SOURCE_PATH is on the volume of RESENTRY_DIR: the agent would read "
            "what it writes",
            "set RESENTRY_DIR to the volume that applications mount, and to nothing else",
        )
    from agent.source.files import FileSource  # noqa: PLC0415 - as above

    return FileSource(settings)


def parents(path: str) -> list[str]:
    """Return the directories that a path is in, but not the root."""
    parents = []
    while len(path := os.path.dirname(path)) > 1:
        parents.append(path)
    return parents
