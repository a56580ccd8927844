"""Real servers and real processes, new for every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.sink import Sink
from lab.system import System

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def system() -> Iterator[System]:
    with System() as system:
        yield system
