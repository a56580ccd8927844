"""A Vault that answers with an older version: a lagging standby, a restored backup."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import requests

from lab.process import eventually
from lab.proxy import Faults, Proxy
from lab.system import SECRET, System

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.vault, pytest.mark.slow]

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee0{}@sentry.example.org/{}"


@pytest.fixture
def system() -> Iterator[System]:
    with System(RESENTRY_DSN_CHECK="off", RESENTRY_VAULT_KV_VERSION="2") as system:
        yield system


@pytest.fixture
def proxy(system: System) -> Iterator[Proxy]:
    """Stands between the agent and Vault."""
    with Proxy(system.vault.address) as proxy:
        system.environ["RESENTRY_VAULT_ADDR"] = proxy.url
        yield proxy


def older(system: System, version: int) -> Faults:
    """What a server answers that has not come further than that version."""
    answer = requests.get(
        f"{system.vault.address}/v1/secret/data/{SECRET}?version={version}",
        headers={"X-Vault-Token": system.vault.token},
        timeout=5,
    )
    return Faults(status=200, body=answer.content)


def source(system: System) -> dict[str, Any]:
    found: dict[str, Any] = system.status()["source"]
    return found


def project(system: System) -> int:
    """The project of the published DSN; 0 if nothing is published."""
    try:
        published = json.loads((system.directory / "settings.json").read_bytes())
    except FileNotFoundError:
        return 0
    return int(published["settings"]["SENTRY_DSN"].rpartition("/")[2])


def reach(system: System, number: int) -> None:
    eventually(lambda: project(system) == number, what=f"project {number}")


def is_stale(system: System) -> dict[str, Any] | None:
    now = source(system)
    return now if now["error"] == "SourceStale" and now["failures"] > 2 else None


def metric(system: System, name: str) -> float:
    lines = system.get("/metrics").text.splitlines()
    (line,) = (line for line in lines if line.startswith(name))
    return float(line.rpartition(" ")[2])


def test_a_stale_read_changes_nothing_and_is_told(system: System, proxy: Proxy) -> None:
    """Nor does it after a restart; status, log and metric tell since when."""
    system.write(SENTRY_DSN=DSN.format(1, 1))
    system.write(SENTRY_DSN=DSN.format(2, 2))
    agent = system.start_agent()
    reach(system, 2)
    sequence = system.status()["current"]["sequence"]

    proxy.faults = older(system, 1)
    now = eventually(lambda: is_stale(system), what="stale reads")
    assert "version 1 of 20" in now["sentence"]
    assert "version 2 of 20" in now["sentence"]
    assert now["since"]
    assert now["where"]["stale_since"]
    since = 'resentry_failing_since_timestamp_seconds{error="SourceStale"}'
    assert metric(system, since) > 0
    assert metric(system, "resentry_vault_stale_since_timestamp_seconds") > 0
    assert metric(system, "resentry_vault_stale_reads") > 0

    def told() -> list[str]:
        lines = map(json.loads, agent.log_text().splitlines())
        return [line["level"] for line in lines if line.get("error") == "SourceStale"]

    assert eventually(told, what="the line of the log") == ["error"]

    agent.stop()
    system.start_agent()
    eventually(lambda: is_stale(system), what="stale reads of the next agent")
    assert project(system) == 2
    assert system.status()["current"]["sequence"] == sequence

    proxy.clear()
    eventually(lambda: not source(system)["failures"], what="the end")
    assert system.status()["current"]["sequence"] == sequence


def test_a_stale_read_does_not_end_a_rollback(system: System, proxy: Proxy) -> None:
    """The bad value of the source is not published by the read after it either."""
    for number in (1, 2):
        system.write(SENTRY_DSN=DSN.format(number, number))
        if number == 1:
            system.start_agent()
        reach(system, number)
    code, printed = system.run("resentry-agent", "rollback")
    assert code == 0, printed
    reach(system, 1)

    proxy.faults = older(system, 1)
    eventually(lambda: is_stale(system), what="stale reads")
    proxy.clear()
    eventually(lambda: not source(system)["failures"], what="the end")

    assert project(system) == 1
    assert source(system)["outcome"] == "held"


def test_a_restored_vault_is_accepted_by_a_word(system: System, proxy: Proxy) -> None:
    """`refresh --accept-older` publishes what it holds, and the log says so."""
    system.write(SENTRY_DSN=DSN.format(1, 1))
    system.write(SENTRY_DSN=DSN.format(2, 2))
    agent = system.start_agent()
    reach(system, 2)
    proxy.faults = older(system, 1)
    code, printed = system.run("resentry-agent", "refresh")
    assert code == 72, printed
    assert "--accept-older" in printed

    code, printed = system.run("resentry-agent", "refresh", "--accept-older")

    assert code == 0, printed
    assert project(system) == 1
    accepted = "accepted: Vault gives an older"
    eventually(lambda: accepted in agent.log_text(), what="the line of the log")
    code, printed = system.run("resentry-agent", "refresh")
    assert code == 0, printed
    proxy.clear()
    reach(system, 2)


def test_a_single_pass_knows_what_was_read_before(system: System, proxy: Proxy) -> None:
    """As a job without a daemon: `once` refuses it, a word accepts it."""
    system.write(SENTRY_DSN=DSN.format(1, 1))
    system.write(SENTRY_DSN=DSN.format(2, 2))
    code, printed = system.run("resentry-agent", "once")
    assert code == 0, printed
    proxy.faults = older(system, 1)
    code, printed = system.run("resentry-agent", "once")
    assert code == 72, printed
    assert "gives an older secret/data/lms" in printed
    assert project(system) == 2
    code, printed = system.run("resentry-agent", "once", "--accept-older")
    assert code == 0, printed
    assert "accepted: Vault gives an older" in printed
    assert project(system) == 1


def test_a_secret_that_was_written_anew_is_published(system: System) -> None:
    """Vault counts its versions from 1 again."""
    system.write(SENTRY_DSN=DSN.format(1, 1))
    system.write(SENTRY_DSN=DSN.format(2, 2))
    system.start_agent()
    reach(system, 2)
    system.vault.forget(SECRET)
    system.write(SENTRY_DSN=DSN.format(3, 3))
    reach(system, 3)
