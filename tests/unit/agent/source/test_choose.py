"""Opening the source that the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import SettingsError
from agent.settings import Settings
from agent.source.choose import open_source

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("source", "volume"),
    [("a", "a"), ("a/sentry.env", "a"), ("a/b/c", "a"), ("link", "a")],
)
def test_a_source_on_the_volume_is_refused(
    tmp_path: Path, source: str, volume: str
) -> None:
    """The agent would read what it writes, and remove what another writer has made."""
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    settings = Settings(source_path=f"{tmp_path}/{source}", dir=f"{tmp_path}/{volume}")
    with pytest.raises(SettingsError, match="would read what it writes"):
        open_source(settings, "test")
    beside = Settings(source_path=f"{tmp_path}/ab", dir=f"{tmp_path}/a")
    open_source(beside, "test").close()
