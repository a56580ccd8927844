"""What unit and contract tests share: an opened volume; and which tests need a Vault."""

import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.publish.volume import Volume

# The modules whose classes start a server.
_SERVERS = {"lab.vault", "lab.system"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vault: starts a server; see `make test-vault`")


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark with `vault` each test of a module that has such a class, or of its fixture."""
    for item in items:
        found = item._fixtureinfo.name2fixturedefs
        used = [one.func for name in item.fixturenames for one in found.get(name, [])]
        named = [one.__globals__.get(name) for one in used for name in _names(one)]
        if any(map(_is_server, [*vars(item.module).values(), *named])):
            item.add_marker("vault")


def _is_server(value: object) -> bool:
    return isinstance(value, type) and value.__module__ in _SERVERS


def _names(function: types.FunctionType) -> tuple[str, ...]:
    return function.__code__.co_names


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "volume"


@pytest.fixture
def volume(directory: Path) -> Iterator[Volume]:
    opened = Volume(str(directory), f"{directory}/receipts")
    opened.open()
    yield opened
    opened.close()
