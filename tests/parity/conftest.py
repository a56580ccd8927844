"""The programs run in the environment of the process models."""

from __future__ import annotations

import pytest
from ways import PYTHON


@pytest.fixture(autouse=True, scope="session")
def _environment() -> None:
    """Say how to build the environment where it is missing."""
    if not (PYTHON.parents[1] / ".ready").exists():
        pytest.fail("the environment of the programs is not installed: make parity")
