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
    """Mark with `vault` what names such a class, in a fixture or a helper too."""
    for item in items:
        found = item._fixtureinfo.name2fixturedefs
        fixtures = [
            one.func for name in item.fixturenames for one in found.get(name, [])
        ]
        if _starts_a_server([item.function, *fixtures]):
            item.add_marker("vault")


def _starts_a_server(functions: list[types.FunctionType]) -> bool:
    for function in functions:
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            module = getattr(value, "__module__", None)
            if isinstance(value, type) and module in _SERVERS:
                return True
            helper = isinstance(value, types.FunctionType)
            if helper and module == function.__module__ and value not in functions:
                functions.append(value)
    return False


def _names(code: types.CodeType) -> set[str]:
    nested = [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
    return set(code.co_names).union(*map(_names, nested))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "volume"


@pytest.fixture
def volume(directory: Path) -> Iterator[Volume]:
    opened = Volume(str(directory), f"{directory}/receipts")
    opened.open()
    yield opened
    opened.close()
