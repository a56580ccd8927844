"""The lab's Valkey is a broker that Celery's own client talks to."""

import pytest
import redis

from lab.valkey import Valkey

pytestmark = pytest.mark.process


def test_valkey_holds_what_it_is_given() -> None:
    """A value written through `url` is read back."""
    with Valkey() as valkey, redis.Redis.from_url(valkey.url) as client:
        client.set("a", "1")
        assert client.get("a") == b"1"
