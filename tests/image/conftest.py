"""The images unpacked, and containers of them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from lab.images import agent_image, example_image, tools_image
from lab.runc import Container, Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    yield from _unpacked(agent_image(), tmp_path_factory)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    yield from _unpacked(tools_image(), tmp_path_factory)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    yield from _unpacked(example_image(), tmp_path_factory)


def _unpacked(archive: Path, factory: pytest.TempPathFactory) -> Iterator[Image]:
    root = factory.mktemp("root")
    yield Image.unpack(archive, root)
    # pytest keeps the folders of three runs: too much here.
    shutil.rmtree(root)


@pytest.fixture
def container(image: Image, tmp_path: Path) -> Iterator[Container]:
    made = Container(image, tmp_path)
    yield made
    made.remove()


@pytest.fixture
def tools_container(tools: Image, tmp_path: Path) -> Iterator[Container]:
    folder = tmp_path / "tools"
    folder.mkdir()
    made = Container(tools, folder)
    yield made
    made.remove()


@pytest.fixture
def example_container(example: Image, tmp_path: Path) -> Iterator[Container]:
    made = Container(example, tmp_path)
    yield made
    made.remove()
