"""What needs kubectl asks for it."""

import pytest

from lab import kustomize


@pytest.fixture(scope="session")
def kubectl() -> None:
    if why := kustomize.missing():
        pytest.skip(why)
