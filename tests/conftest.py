"""What unit and contract tests share: an opened volume."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.publish.volume import Volume


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "volume"


@pytest.fixture
def volume(directory: Path) -> Iterator[Volume]:
    opened = Volume(str(directory), f"{directory}/receipts")
    opened.open()
    yield opened
    opened.close()
