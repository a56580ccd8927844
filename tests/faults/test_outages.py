"""Whatever Vault does, for as long as it does: docs/outages.md as tests, row by row."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import requests
import trustme
from prometheus_client.parser import text_string_to_metric_families

from lab.paths import DOCS
from lab.process import eventually
from lab.proxy import Faults, Proxy
from lab.sink import Sink
from lab.system import SECRET, System
from lab.vault import ProductionVault, Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.vault


POLL_SECONDS = 1.0
"""Also the cap of the back-off, whose steps are thus from 0.75 to 1 s."""
PASS_SECONDS = 1.2
TRIES = 3
"""So often the agent fails before a fault is taken away."""
RESOLVE = Path(__file__).parent / "programs" / "resolve.py"
READ = 'path "secret/data/lms" { capabilities = ["read"] }'
GOOD = ("published", "unchanged")
DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/1"
PASSES, CPU = "resentry_passes_total", ("process_cpu_seconds_total",)
QUOTA = "sys/quotas/rate-limit/outage"


class Site:
    """A Vault, perhaps behind a proxy, and one agent that reads it."""

    def __init__(self, system: System, proxy: Proxy | None = None) -> None:
        self.system = system
        self.vault = system.vault
        self.token_file = system.folder / "token"
        self.ca = system.folder / "ca.pem"
        self.names = system.folder / "names"
        self._proxy = proxy

    @property
    def proxy(self) -> Proxy:
        """What stands before Vault, in a site that has it."""
        assert self._proxy
        return self._proxy

    def start(self, *command: str, **environ: str) -> None:
        """Start the agent, and have it publish."""
        self.token_file.write_text(self.vault.policy_token(READ))
        self.system.write(SENTRY_DSN=DSN)
        self.agent = self.system.spawn(
            *(command or ("resentry-agent",)),
            "run",
            environ={
                "RESENTRY_VAULT_TOKEN": "",
                "RESENTRY_VAULT_TOKEN_FILE": str(self.token_file),
                "RESENTRY_PASS_SECONDS": f"{PASS_SECONDS:g}",
                "RESENTRY_DSN_CHECK": "off",
                **environ,
            },
        )
        eventually(lambda: self.source()["outcome"] == "unchanged", what="two passes")
        # Another thread writes the log: its line may come a moment later.
        eventually(lambda: self.said()[1:], what="the lines of both passes")

    def source(self) -> dict[str, Any]:
        """What `status` says of the source."""
        found: dict[str, Any] = self.system.status()["source"]
        return found

    def published(self) -> tuple[Any, ...]:
        """What applications see, and that it is still the very same directory."""
        current = self.system.status()["current"]
        link = os.readlink(self.system.directory / "..data")
        return current["revision"], current["sequence"], link

    def said(self) -> list[tuple[str, str, str]]:
        """Every pass that the agent has told of: level, outcome, sentence."""
        lines = map(json.loads, self.agent.log_text().splitlines())
        return [
            (line["level"], line["outcome"], line["event"])
            for line in lines
            if "outcome" in line
        ]

    def await_recovery(self, told: int, within: float = 30) -> list[Any]:
        """Wait until status and log say that it is over; return the log's good passes.

        The log had so many lines before. The next test counts on from the last one.
        """
        eventually(lambda: not self.source()["failures"], within, "the recovery")
        return eventually(
            lambda: [line for line in self.said()[told:] if line[1] in GOOD],
            what="the line of the good pass",
        )

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Every sample of `/metrics`, by its name and labels."""
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(
                self.system.get("/metrics").text
            )
            for sample in family.samples
        }

    def bad_passes(self) -> float:
        """How many passes have failed or refused so far."""
        found = self.metrics()
        kinds = ("failed", "refused")
        return sum(found["resentry_passes_total", kind] for kind in kinds)


def plain(stack: ExitStack) -> Site:
    """A development server behind a proxy that can do everything to its answers."""
    system = stack.enter_context(System())
    site = Site(system, stack.enter_context(Proxy(system.vault.address)))
    site.start(RESENTRY_VAULT_ADDR=site.proxy.url)
    return site


def production(stack: ExitStack) -> Site:
    """A server with TLS, storage and a seal; nothing stands between."""
    site = Site(stack.enter_context(System(ProductionVault())))
    assert site.vault.ca
    shutil.copy(site.vault.ca, site.ca)
    site.start(RESENTRY_VAULT_CA=str(site.ca))
    return site


def named(stack: ExitStack) -> Site:
    """A development server behind a proxy whose name may cease to resolve."""
    system = stack.enter_context(System())
    site = Site(system, stack.enter_context(Proxy(system.vault.address)))
    site.names.touch()
    address = f"http://vault.test:{site.proxy.port}"
    site.start(
        sys.executable, str(RESOLVE), str(site.names), RESENTRY_VAULT_ADDR=address
    )
    return site


SITES = {"plain": plain, "production": production, "named": named}


@pytest.fixture(scope="module")
def site_of() -> Iterator[Callable[[str], Site]]:
    """Return a site by name: always the same, whose agent outlives all of its rows."""
    with ExitStack() as stack:
        yield functools.cache(lambda name: SITES[name](stack))


class Row(NamedTuple):
    """A fault: what it is, what the agent says of it, how it comes and how it goes."""

    name: str
    error: str
    says: str
    come: Callable[[Site], object]
    go: Callable[[Site], object]


def spoilt(name: str, error: str, says: str, **faults: Any) -> Row:
    """A fault that the proxy makes."""

    def come(site: Site) -> None:
        site.proxy.faults = Faults(**faults)
        if faults.get("refuse"):
            site.proxy.drop_connections()

    return Row(name, error, says, come, lambda site: site.proxy.clear())


def limit(site: Site, block_interval: str = "1h") -> None:
    """Have Vault refuse every read for so long, by a quota that is exceeded at once."""
    quota = {"path": "secret/", "rate": 1, "interval": "1s"}
    quota["block_interval"] = block_interval
    site.vault.client.write_data(QUOTA, data=quota)
    url = f"{site.vault.address}/v1/secret/data/{SECRET}"
    headers = {"X-Vault-Token": site.vault.token}
    eventually(
        lambda: requests.get(url, headers=headers, timeout=5).status_code == 429,
        what="the quota's end",
    )


def kill_amid_an_answer(site: Site) -> None:
    """End Vault while a request waits for its answer."""
    site.vault.pause()
    eventually(lambda: unread_at(site.vault.port), what="a request that waits")
    site.vault.kill()


def unread_at(port: int) -> bool:
    """Whether a server has received what it has not read, on any connection."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return any(
        row[1].endswith(f":{port:04X}") and row[3] == "01" and row[4][9:] != "0" * 8
        for row in rows[1:]
    )


def revoke(site: Site) -> None:
    """Revoke the agent's token."""
    site.vault.client.revoke_token(site.token_file.read_text())


def forget_name(site: Site) -> None:
    """Have Vault's name resolve no more; a connection that is open would live on."""
    site.names.unlink()
    site.proxy.drop_connections()


def distrust(site: Site) -> None:
    """Have the agent trust an authority that Vault's certificate is not of."""
    trustme.CA().cert_pem.write_to_path(site.ca)


DOWN, DENIED, MISSING = "SourceDown", "SourceDenied", "SourceMissing"
HTML = {"status": 200, "body": b"<html>Sign in</html>"}
ENDLESS = {
    "status": 200,
    "body": b"x" * 65536,
    "endless": True,
    "headers": {"Content-Length": f"{10**12}"},
}
LATE = "in the time that a pass may take"

ROWS: dict[str, list[Row]] = {
    "plain": [
        Row(
            "paused", DOWN, LATE, lambda s: s.vault.pause(), lambda s: s.vault.resume()
        ),
        spoilt("slower than the deadline", DOWN, LATE, latency=5),
        spoilt("a byte at a time", DOWN, LATE, drip=0.2),
        spoilt("cut off, packets vanish", DOWN, LATE, hang=True),
        spoilt(
            "cut off, connections are refused", DOWN, "does not answer", refuse=True
        ),
        spoilt("cut off amid an answer", DOWN, "does not answer", cut=300),
        spoilt("a web page with status 200", DOWN, "is not Vault's", **HTML),
        spoilt("half a JSON object", DOWN, "is not Vault's", garbage=b'{"data": {"da'),
        spoilt("binary", DOWN, "is not Vault's", garbage=bytes(range(256)) * 64),
        spoilt("an answer without end", "CandidateRefused", "larger than", **ENDLESS),
        spoilt("status 500", DOWN, "with status 500", status=500),
        Row(
            "limited by a quota",
            DOWN,
            "limits the rate",
            limit,
            lambda s: s.vault.client.delete(QUOTA),
        ),
        Row(
            "token revoked",
            DENIED,
            "does not know the token",
            revoke,
            lambda s: s.token_file.write_text(s.vault.policy_token(READ)),
        ),
        Row(
            "secret deleted",
            MISSING,
            "is deleted",
            lambda s: s.vault.delete(SECRET),
            lambda s: s.system.write(SENTRY_DSN=DSN),
        ),
    ],
    "production": [
        Row(
            "stopped",
            DOWN,
            "does not answer",
            lambda s: s.vault.stop(),
            lambda s: s.vault.start(),
        ),
        Row(
            "killed amid an answer",
            DOWN,
            "does not answer",
            kill_amid_an_answer,
            lambda s: s.vault.start(),
        ),
        Row(
            "sealed",
            DOWN,
            "is sealed",
            lambda s: s.vault.seal(),
            lambda s: s.vault.unseal(),
        ),
        Row(
            "TLS broken",
            DOWN,
            "TLS with",
            distrust,
            lambda s: shutil.copy(s.vault.ca, s.ca),
        ),
    ],
    "named": [
        Row(
            "name does not resolve",
            DOWN,
            "does not answer",
            forget_name,
            lambda s: s.names.touch(),
        ),
    ],
}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param(name, row, id=row.name.replace(" ", "-"))
        for name, rows in ROWS.items()
        for row in rows
    ],
)
def test_nothing_changes_but_what_is_said_of_it(
    site_of: Callable[[str], Site], name: str, row: Row
) -> None:
    """The agent stays up, keeps the snapshot, tries at a pace, says it once, recovers."""
    site = site_of(name)
    pid, published, told = site.agent.pid, site.published(), len(site.said())
    before, began, wall = site.metrics(), time.monotonic(), time.time()

    row.come(site)
    eventually(
        lambda: (
            (found := site.source())["failures"] >= TRIES
            and row.says in found["sentence"]
        ),
        30,
        f"{TRIES} failures that say {row.says!r}",
    )
    source, after, lasted = site.source(), site.metrics(), time.monotonic() - began

    # It is there, as it was.
    assert site.agent.alive
    assert site.agent.pid == pid
    assert site.published() == published
    assert site.system.get("/livez").status_code == 200
    assert site.system.get("/startupz").status_code == 200
    # It says since when and why, in three places.
    assert source["outcome"] == ("refused" if "Refused" in row.error else "failed")
    assert source["error"] == row.error
    since = datetime.fromisoformat(source["since"]).timestamp()
    assert wall - 0.01 <= since <= time.time() - (TRIES - 1) * 0.75 * POLL_SECONDS
    assert after["resentry_failing_since_timestamp_seconds", row.error] == (
        pytest.approx(since, abs=0.01)
    )
    assert after["resentry_consecutive_failures",] >= TRIES
    lines = eventually(
        lambda: (found := site.said()[told:]) and row.says in found[-1][2] and found,
        what="the line of the failure",
    )
    assert len(lines) == len(set(lines)) <= 2, "once per reason, not once per try"
    assert {level for level, _, _ in lines} == {"error"}
    # It does not hurry, and costs next to nothing.
    tries = sum(after[key] - before[key] for key in after if key[0] == PASSES)
    assert tries <= lasted / (0.75 * POLL_SECONDS) + 2
    assert after[CPU] - before[CPU] < lasted / 2

    told = len(site.said())  # first: the pass under way may be good at once
    row.go(site)
    tried = site.bad_passes()
    (good,) = site.await_recovery(told)

    # One pass may have been under way; the next one, a back-off step later, is good.
    assert site.bad_passes() - tried <= 1
    assert site.published() == published
    assert good[:2] == ("info", "unchanged")
    was = (
        "candidates had been refused" if "Refused" in row.error else "passes had failed"
    )
    assert f"{was} since {source['since'][:-5]}" in good[2]
    found = site.metrics()
    assert not [key for key in found if key[0].startswith("resentry_failing_since")]
    assert site.system.get("/readyz").status_code == 200


def test_the_page_has_every_row() -> None:
    """docs/outages.md names the same faults, errors and words."""
    page = DOCS / "outages.md"
    cells = [
        tuple(cell.strip(" `") for cell in line.split("|")[1:4])
        for line in page.read_text().splitlines()
        if line.startswith("|")
    ]
    rows = [row for rows in ROWS.values() for row in rows]
    assert sorted(cells[2:]) == sorted((row.name, row.error, row.says) for row in rows)


def test_reasons_that_alternate_are_each_told_once(
    site_of: Callable[[str], Site],
) -> None:
    """A proxy that answers 500 and 502 in turns for a night makes two lines."""
    site = site_of("plain")
    published, told = site.published(), len(site.said())
    since = set()
    for status in (500, 502) * 3:
        site.proxy.faults = Faults(status=status, body=b"<html>")
        source = eventually(
            lambda status=status: (
                found
                if f"status {status}" in (found := site.source())["sentence"]
                else None
            ),
            what=f"a try that meets {status}",
        )
        since.add(source["since"])

    where = "Vault answers secret/data/lms with status"
    assert len(since) == 1
    site.proxy.clear()
    site.await_recovery(told)
    bad = [said for _, kind, said in site.said()[told:] if kind not in GOOD]
    assert [said.partition(";")[0] for said in bad] == [f"{where} 500", f"{where} 502"]
    assert site.published() == published


def test_an_answer_that_is_slow_but_in_time_is_an_answer(
    site_of: Callable[[str], Site],
) -> None:
    """Nothing fails, nothing is said, and passes do not pile up."""
    site = site_of("plain")
    told, before = len(site.said()), site.metrics()
    site.proxy.faults = Faults(latency=PASS_SECONDS / 2)
    good = eventually(
        lambda: (
            found
            if (found := site.metrics())[PASSES, "unchanged"]
            >= before[PASSES, "unchanged"] + TRIES
            else None
        ),
        what="passes that take long",
    )
    site.proxy.clear()
    assert site.said()[told:] == []
    assert good[PASSES, "failed"] == before[PASSES, "failed"]


def test_a_quota_that_says_how_long_is_asked_again_then(
    site_of: Callable[[str], Site],
) -> None:
    """Retry-After counts, although a back-off step would be shorter."""
    site, client = site_of("plain"), site_of("plain").vault.client
    client.write_data(
        "sys/quotas/config", data={"enable_rate_limit_response_headers": True}
    )
    told, before = len(site.said()), site.bad_passes()
    limit(site, block_interval="6s")
    eventually(lambda: site.source()["failures"], what="the refusal")
    assert "limits the rate" in site.source()["sentence"]

    site.await_recovery(told, 20)
    client.delete(QUOTA)

    # Six seconds are six steps of the back-off.
    assert site.bad_passes() - before <= 3
    assert site.system.get("/livez").status_code == 200


def test_the_end_of_an_outage_is_no_burst(site_of: Callable[[str], Site]) -> None:
    """What was missed is not made up for, though operators asked for it many times."""
    site = site_of("plain")
    told = len(site.said())
    site.proxy.faults = Faults(hang=True)
    eventually(lambda: site.source()["failures"] >= TRIES, 20, "failures")
    for _ in range(50):
        site.agent.signal(signal.SIGHUP)
    site.proxy.clear()
    site.await_recovery(told)

    asked, began = len(site.proxy.requests), time.monotonic()
    good = site.metrics()[PASSES, "unchanged"]
    eventually(
        lambda: site.metrics()[PASSES, "unchanged"] >= good + 5, what="five more passes"
    )
    lasted = time.monotonic() - began
    assert len(site.proxy.requests) - asked <= lasted / 0.8 + 1


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


def test_a_restart_in_an_outage_starts_from_the_volume(sink: Sink) -> None:
    """It is started, not ready, says since when it lasts, and recovers by itself."""
    with System(ProductionVault()) as system:
        system.write(SENTRY_DSN=sink.dsn(1))
        agent = system.start_agent()
        eventually(lambda: system.status()["current"], what="the first snapshot")
        system.vault.stop()
        before = eventually(
            lambda: found if (found := system.status())["source"]["failures"] else None,
            what="the outage",
        )
        state = system.directory / "agent" / "state.json"
        eventually(
            lambda: json.loads(state.read_text())["failures"], what="the agent's note"
        )
        agent.kill()

        system.start_agent()
        after = eventually(
            lambda: (
                found
                if (found := system.get("/status").json()["result"])["source"][
                    "failures"
                ]
                else None
            ),
            what="a failure of the second agent",
        )

        assert after["current"] == before["current"]
        for key in ("since", "error", "last_success_at"):
            assert after["source"][key] == before["source"][key]
        codes = {path: system.get(path) for path in ("/startupz", "/readyz", "/livez")}
        assert [code.status_code for code in codes.values()] == [200, 503, 200]
        assert "a snapshot is published" in codes["/startupz"].text
        assert "an earlier agent has published" in codes["/readyz"].text

        system.vault.start()
        eventually(lambda: system.get("/readyz").status_code == 200, what="readiness")
        system.write(SENTRY_DSN=sink.dsn(2))
        eventually(
            lambda: system.status()["current"]["sequence"] == 2, what="sequence 2"
        )


def test_a_cold_start_without_vault_and_volume_leaves_the_environment(
    sink: Sink,
) -> None:
    """Nothing is published, the wait is bounded, and applications report meanwhile."""
    with System(Vault()) as system:
        system.vault.kill()
        began = time.monotonic()
        agent = system.start_agent(RESENTRY_STARTUP_SECONDS="4")
        waiting = system.get("/startupz")
        assert waiting.status_code == 503, waiting.text
        assert "waiting for the first snapshot" in waiting.text

        started = eventually(
            lambda: (
                found if (found := system.get("/startupz")).status_code == 200 else None
            ),
            what="the end of the wait",
        )
        assert time.monotonic() - began >= 3
        assert "environment variables" in started.text
        system.start_api(workers=1, SENTRY_DSN=sink.dsn(1))
        requests.get(f"http://127.0.0.1:{system.api_port}/courses/1", timeout=10)
        eventually(lambda: sink.count("event", 1) == 1, what="the error in project 1")
        assert agent.alive
        assert system.get("/livez").status_code == 200
        assert system.get("/readyz").text == "nothing is published yet\n"
        assert system.status()["current"] is None
        assert not os.path.lexists(system.directory / "..data")

        system.vault.start()
        system.write(SENTRY_DSN=sink.dsn(2))
        system.converge(1, 1)
        requests.get(f"http://127.0.0.1:{system.api_port}/courses/1", timeout=10)
        eventually(lambda: sink.count("event", 2) == 1, what="the error in project 2")
