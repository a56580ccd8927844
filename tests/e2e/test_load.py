"""How much an agent asks of Vault, counted in the server's own audit log."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from lab.logins import Logins
from lab.process import eventually
from lab.system import System
from lab.vault import ProductionVault

if TYPE_CHECKING:
    from collections.abc import Iterator

# A token of four seconds has to be renewed in time.
pytestmark = [pytest.mark.vault, pytest.mark.alone]


PASSES = 7
SETTINGS = {
    "secret/data/lms": {"SENTRY_DSN": "http://k@127.0.0.1/1"},
    "secret/data/rates": {"SENTRY_TRACES_SAMPLE_RATE": "0.1"},
    "secret/data/SENTRY_RELEASE": {"value": "7"},
}
POLICY = 'path "secret/data/*" { capabilities = ["read"] }'
LOG_IN = "update", "auth/approle/login"
LOOK_UP = "read", "auth/token/lookup-self"
RENEW = "update", "auth/token/renew-self"
REVOKE = "update", "auth/token/revoke-self"


@pytest.fixture
def system() -> Iterator[System]:
    """A Vault that counts requests; its root token is not the agent's."""
    with System(ProductionVault(), RESENTRY_DSN_CHECK="off") as system:
        del system.environ["RESENTRY_VAULT_TOKEN"]
        for path, fields in SETTINGS.items():
            system.vault.write(path.removeprefix("secret/data/"), fields)
        yield system


@pytest.mark.parametrize("secrets", [1, 3])
@pytest.mark.parametrize("auth", ["token", "approle"])
def test_a_poll_is_one_request_per_secret(
    system: System, auth: str, secrets: int
) -> None:
    """Renewals apart: the login and where each secret is are asked for once."""
    paths = list(SETTINGS)[:secrets]
    if auth == "token":
        environ = {"RESENTRY_VAULT_TOKEN": system.vault.policy_token(POLICY, "4s")}
    else:
        logins = Logins(system.vault, system.folder)
        system.vault.client.sys.create_or_update_policy("load", POLICY)
        environ = logins.approle(token_ttl="4s", token_policies="load")
    before = len(system.vault.requests())

    agent = system.start_agent(
        **environ,
        RESENTRY_VAULT_PATHS=",".join(paths),
        RESENTRY_LOG_LEVEL="debug",
    )
    # Just after a pass: the end cuts none.
    eventually(lambda: agent.log_text().count('"outcome"') >= PASSES, 30, "its passes")
    agent.stop()

    asked = Counter(system.vault.requests()[before:])
    passes = agent.log_text().count('"outcome"')
    renewals = asked.pop(RENEW, 0)
    settled = secrets > 1  # a change in one of several counts once two reads agree
    once = [LOOK_UP] if auth == "token" else [LOG_IN, REVOKE]
    once += [("read", f"sys/internal/ui/mounts/{path}") for path in paths]
    reads = {("read", path): passes + settled for path in paths}
    assert asked == {**dict.fromkeys(once, 1), **reads}
    assert 1 <= renewals <= passes / 2
