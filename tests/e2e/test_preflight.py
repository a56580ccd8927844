"""`check` before anything runs, and the policy that it prints."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from lab.process import eventually
from lab.system import System
from lab.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.sink import Sink

pytestmark = pytest.mark.vault


@pytest.fixture
def audited(sink: Sink) -> Iterator[System]:
    with System(Vault(audit=True)) as system:
        system.write(SENTRY_DSN=sink.dsn(1))
        yield system


def refusals(vault: Vault) -> list[str]:
    """The paths of requests that Vault has refused, from its audit log."""
    entries = map(json.loads, vault._audit_log.read_text().splitlines())
    return [one["request"]["path"] for one in entries if one.get("error")]


def granted(system: System, policy: str) -> str:
    """A token that may do what the policy says and nothing else."""
    client = system.vault.client
    client.sys.create_or_update_policy("exact", policy)
    made = client.auth.token.create(
        policies=["exact"], no_default_policy=True, ttl="20s", renewable=True
    )
    return str(made["auth"]["client_token"])


@pytest.mark.parametrize("path", ["secret/data/lms", "secret/lms"])
def test_the_printed_policy_is_enough(audited: System, path: str) -> None:
    """With exactly it, check and run do all they do, and Vault refuses nothing."""
    audited.environ["RESENTRY_VAULT_PATHS"] = path
    code, policy = audited.run("resentry-agent", "check", "--policy")
    assert code == 0, policy
    audited.environ["RESENTRY_VAULT_TOKEN"] = granted(audited, policy)

    code, printed = audited.run("resentry-agent", "check")
    assert code == 0, printed
    assert "the token may read each path" in printed
    audited.start_agent()

    renewed = ("update", "auth/token/renew-self")
    eventually(lambda: renewed in audited.vault.requests(), 60, what="a renewal")
    assert audited.status()["source"]["outcome"] in ("published", "unchanged")
    assert refusals(audited.vault) == []


def test_the_policy_of_many_paths_does_not_wait_for_each(system: System) -> None:
    """A Vault that hangs is waited for once, and the paths stand as written."""
    paths = [f"secret/data/{name}" for name in "abc"]
    system.vault.pause()
    began = time.monotonic()
    code, policy = system.run(
        *("resentry-agent", "check", "--policy"),
        RESENTRY_VAULT_PATHS=",".join(paths),
        RESENTRY_PASS_SECONDS="1",
    )
    system.vault.resume()
    assert time.monotonic() - began < 5
    assert code == 0
    assert all(f'path "{path}"' in policy for path in paths)


@pytest.mark.parametrize(
    "unneeded", ["secret/metadata/lms", "secret/data/other", "auth/token/create"]
)
def test_the_printed_policy_grants_nothing_more(audited: System, unneeded: str) -> None:
    """Neither a neighbour nor the secret's metadata may be read with it."""
    _, policy = audited.run("resentry-agent", "check", "--policy")
    client = audited.vault.client_with(granted(audited, policy))

    answer = client.adapter.post(
        "/v1/sys/capabilities-self", json={"paths": [unneeded, "secret/data/lms"]}
    )

    found = answer["data"]
    assert found[unneeded] == ["deny"]
    assert found["secret/data/lms"] == ["read"]


def test_the_policy_of_a_login_gives_its_token_back(audited: System) -> None:
    """An AppRole with exactly the printed policy works, its token revoked at the end."""
    client = audited.vault.client
    client.sys.enable_auth_method("approle")
    role = "auth/approle/role/lms"
    client.write_data(role, data={"token_policies": "exact", "token_ttl": "60s"})
    client.write_data(role, data={"token_no_default_policy": True})
    audited.environ |= {
        "RESENTRY_VAULT_AUTH": "approle",
        "RESENTRY_VAULT_ROLE_ID": client.read(f"{role}/role-id")["data"]["role_id"],
        "RESENTRY_VAULT_SECRET_ID": client.write_data(f"{role}/secret-id")["data"][
            "secret_id"
        ],
    }
    code, policy = audited.run("resentry-agent", "check", "--policy")
    assert code == 0, policy
    client.sys.create_or_update_policy("exact", policy)
    before = len(refusals(audited.vault))  # none had a policy yet

    code, printed = audited.run("resentry-agent", "once")

    assert code == 0, printed
    assert ("update", "auth/token/revoke-self") in audited.vault.requests()
    assert refusals(audited.vault)[before:] == []


def step(system: System, name: str, **environ: str) -> dict[str, Any]:
    """One row of what check prints."""
    _, printed = system.run("resentry-agent", "check", "--json", **environ)
    rows: list[dict[str, Any]] = json.loads(printed)["result"]["steps"]
    return next(row for row in rows if row["step"] == name)


def test_a_token_without_rights_is_told_which(system: System, sink: Sink) -> None:
    """Not only that it is refused, but on which path, and how to find the policy."""
    system.write(SENTRY_DSN=sink.dsn(1))
    token = system.vault.policy_token(
        'path "secret/data/other" {capabilities=["read"]}'
    )

    row = step(system, "rights", RESENTRY_VAULT_TOKEN=token)

    assert row["result"] == "problem"
    assert row["detail"] == "the token may not read secret/data/lms"
    assert "check --policy" in row["hint"]


def test_two_kinds_of_source_are_one_too_many(system: System, tmp_path: Path) -> None:
    """The message names both settings; nothing else is tried."""
    row = step(system, "settings", RESENTRY_SOURCE_PATH=str(tmp_path))

    assert row["result"] == "problem"
    assert "RESENTRY_SOURCE_PATH" in row["detail"]
    assert "the agent reads one source" in row["hint"]


def test_a_target_that_cannot_read_is_named(audited: System) -> None:
    """Its role, its own words, and what to look at."""
    code, printed = audited.run("resentry-agent", "once")
    assert code == 0, printed
    (audited.directory / "settings.json").resolve().write_text("{")
    audited.start_api(workers=1)
    eventually(lambda: list((audited.directory / "receipts").glob("*.json")), what="it")

    row = step(audited, "targets")

    assert row["result"] == "problem"
    assert row["detail"].startswith(
        "processes that cannot apply the snapshot: api pid "
    )
    assert "RESENTRY_GROUP" in row["hint"]
