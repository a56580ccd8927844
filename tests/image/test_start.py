"""A start in the image, as `make bench-image` measures it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.image import ROWS, starts
from lab.images import obstacle
from lab.vault import ProductionVault

if TYPE_CHECKING:
    from lab.runc import Image

if why := obstacle("runc"):
    pytest.skip(
        f"the image can be neither built nor run: {why}", allow_module_level=True
    )

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("image"),
]


def test_both_start_with_a_tenth_of_a_processor(image: Image) -> None:
    """The agent over TLS and its peer, each as nobody and below its limit."""
    # The path of a control socket must be short: `tmp_path` is too long.
    with tempfile.TemporaryDirectory() as folder, ProductionVault() as vault:
        found = starts(image, vault, Path(folder), rounds=1)
    assert found["agent"].keys() == ROWS.keys()
    for rows in found.values():
        # The first 10 ms of each 100 ms need no waiting.
        assert rows["start_ms"][0] > 5 * rows["start_cpu_ms"][0], rows
