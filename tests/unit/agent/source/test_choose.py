"""Opening the source that the settings ask for."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent.errors import SettingsError
from agent.settings import Settings
from agent.source.choose import open_source

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

PROGRAM = """
import sys

from agent.settings import load
from agent.source import choose

if sys.argv[1] == "plain":
    choose._spare_guessing = lambda: None
vault = {"RESENTRY_VAULT_ADDR": "http://127.0.0.1:9", "RESENTRY_VAULT_PATHS": "secret/lms"}
choose.open_source(load({}, vault | {"RESENTRY_VAULT_AUTH": "none"}).settings, "test")
assert bool(sys.modules.get("charset_normalizer")) == (sys.argv[1] == "plain")
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("RssAnon")))
"""
LEAST_KIB = 1024


def anonymous_kib(way: str) -> int:
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, way], capture_output=True, text=True, check=True
    )
    return int(said.stdout)


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


def test_no_guess_at_encodings_is_loaded() -> None:
    """The figure beside `_spare_guessing`: with requests whole, each pod pays more."""
    assert anonymous_kib("plain") - anonymous_kib("spared") > LEAST_KIB
