"""Opening the source that the settings ask for."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


def test_no_guess_at_encodings_is_loaded() -> None:
    """The figure beside `_spare_guessing`: with requests whole, each pod pays more."""
    assert anonymous_kib("plain") - anonymous_kib("spared") > LEAST_KIB
