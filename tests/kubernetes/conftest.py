"""What needs kubectl asks for it; what builds programs is marked `cluster`."""

import pytest

from lab import kustomize


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster: builds servers from Go modules, once")


@pytest.fixture(scope="session")
def kubectl() -> None:
    if why := kustomize.missing():
        pytest.skip(why)
