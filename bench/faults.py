"""What goes wrong between an agent and its Vault, in an order left to a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lab.proxy import Faults, Proxy
from lab.system import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from lab.system import System

QUOTA = "sys/quotas/rate-limit/soak"


class Fault(NamedTuple):
    """One thing that goes wrong: how it comes, and how it goes."""

    name: str
    come: Callable[[], object]
    go: Callable[[], object]


def in_turns(faults: list[Fault], chance: Random) -> Iterator[Fault]:
    """Yield all of them, and all of them again, each time in another order."""
    while True:
        yield from chance.sample(faults, len(faults))


def of(system: System, proxy: Proxy, rewrite: Callable[[], object]) -> list[Fault]:
    """Return all faults of a Vault behind a proxy.

    `rewrite` writes once more what the secret should hold.
    """
    vault = system.vault

    def spoilt(name: str, **faults: Any) -> Fault:
        def come() -> None:
            proxy.faults = Faults(**faults)
            if faults.get("refuse"):
                proxy.drop_connections()

        return Fault(name, come, proxy.clear)

    def limit() -> None:
        headers = {"enable_rate_limit_response_headers": True}
        vault.client.write_data("sys/quotas/config", data=headers)
        quota = {"path": "secret/", "rate": 1, "interval": "1s", "block_interval": "1s"}
        vault.client.write_data(QUOTA, data=quota)

    def revoke() -> None:
        """Revoke every token but root's."""
        tokens = vault.client.auth.token
        root = vault.client.lookup_token()["data"]["accessor"]
        for accessor in tokens.list_accessors()["data"]["keys"]:
            if accessor != root:
                tokens.revoke_accessor(accessor)

    def undelete() -> None:
        kv = vault.client.secrets.kv.v2
        newest = kv.read_secret_metadata(SECRET)["data"]["current_version"]
        kv.undelete_secret_versions(SECRET, [newest])

    return [
        spoilt("refused", refuse=True),
        spoilt("hung", hang=True),
        spoilt("slow", latency=0.4),
        spoilt("too slow", latency=5),
        spoilt("a byte at a time", drip=0.05),
        spoilt("cut off", cut=100),
        spoilt("garbage", garbage=b"x"),
        Fault("reset", proxy.drop_connections, lambda: None),
        Fault("paused", vault.pause, vault.resume),
        Fault("restarted", vault.kill, vault.start),
        Fault("sealed (503)", vault.seal, vault.unseal),
        Fault("limited (429)", limit, lambda: vault.client.delete(QUOTA)),
        Fault("token revoked", revoke, lambda: None),
        Fault("secret deleted (404)", lambda: vault.delete(SECRET), undelete),
        Fault("bad value", lambda: system.write(SENTRY_SAMPLE_RATE=7), rewrite),
    ]
