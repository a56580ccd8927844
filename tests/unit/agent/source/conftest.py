"""What the tests of the source share: a server that answers as told, and its source."""

from collections.abc import Callable, Iterator

import pytest

from agent.settings import Settings
from agent.source.vault import VaultSource
from lab.proxy import Proxy


@pytest.fixture
def server() -> Iterator[Proxy]:
    """A server that answers as its `faults` say."""
    with Proxy("127.0.0.1:9") as proxy:
        yield proxy


@pytest.fixture
def source(settings: Callable[..., Settings], server: Proxy) -> VaultSource:
    """A source that asks that server for its secret alone."""
    given = {"vault_auth": "none", "vault_kv_version": "2"}
    return VaultSource(settings(vault_addr=server.url, **given), "tests")
