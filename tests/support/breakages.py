"""One breakage on running parts for each rule of `doctor`.

A breakage is a generator: it breaks something, yields how to look, and mends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import tempfile
import time
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
from mounts import mount_memory, unmount
from msgspec.structs import replace
from set_up import READ, Busy, Quiet, Site

from agent.rotation.journal import Journal
from agent.rotation.journal import encode as encode_journal
from lab.process import Process, eventually
from lab.proxy import Faults, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Look = dict[str, Any]


class Breakage(NamedTuple):
    """What breaks a set-up so that a rule sees it."""

    of: type[Site]
    make: Callable[[Any], Iterator[Look | Site | None]]
    beside: tuple[str, ...]
    """Other rules that see something of it, too."""
    needs_root: bool = False

    @contextlib.contextmanager
    def on(self, site: Site) -> Iterator[Look | Site | None]:
        """Break the site until the end of the context, and mend it whatever happens."""
        steps = self.make(site)
        try:
            yield next(steps)
        finally:
            next(steps, None)


BREAKAGES: dict[str, Breakage] = {}


def breaks(
    id_: str, *beside: str, of: type[Site] = Busy, needs_root: bool = False
) -> Callable[[Callable[[Any], Iterator[Any]]], None]:
    """Note a breakage of a rule. `beside` are other rules that see something of it, too."""

    def note(make: Callable[[Any], Iterator[Any]]) -> None:
        BREAKAGES[id_] = Breakage(of, make, beside, needs_root)

    return note


# Settings: the command reads them as an agent does that starts now


def _settings(
    id_: str, of: type[Site] = Busy, *, offline: bool = False, **environ: str
) -> None:
    def give(_: Site) -> Iterator[Look]:
        yield {"offline": offline, **environ}

    breaks(id_, of=of)(give)


_settings("RSN101", RESENTRY_POLL_SECONDS="often")
_settings("RSN102", RESENTRY_POL_SECONDS="5")
_settings("RSN103", Quiet, RESENTRY_ENVIRONMENT="", ENVIRONMENT="")
_settings("RSN205", RESENTRY_VAULT_INSECURE_SKIP_TLS_VERIFY="true")
_settings("RSN206", RESENTRY_VAULT_TOKEN="root")  # of a development server
_settings("RSN401", offline=True, RESENTRY_RATE_CAPS="staging=0.05")
_settings("RSN402", Quiet, RESENTRY_ALLOWED_DSNS="")
_settings("RSN403", Quiet, RESENTRY_ALLOWED_DSNS="staging=sentry.example.org")
_settings("RSN606", Quiet, RESENTRY_MIN_TARGETS="api=3")


# The source


@breaks("RSN201")
def sealed(site: Busy) -> Iterator[None]:
    site.vault.seal()
    yield
    site.vault.unseal()


@breaks("RSN202")
def may_not_read(site: Busy) -> Iterator[None]:
    policies = site.vault.client.sys
    policies.create_or_update_policy("lab-1", READ.replace("read", "deny"))
    yield
    policies.create_or_update_policy("lab-1", READ)


@breaks("RSN203")
def cut_off(site: Busy) -> Iterator[Look]:
    site.proxy.faults = Faults(hang=True)
    yield {"RESENTRY_VAULT_ADDR": site.vault.address}
    site.proxy.clear()


@breaks("RSN204")
def lags(site: Busy) -> Iterator[Look]:
    older = requests.get(
        f"{site.vault.address}/v1/secret/data/lms?version=1",
        headers={"X-Vault-Token": site.vault.token},
        timeout=5,
    ).content
    site.write()
    with (
        Proxy(site.vault.address) as proxy,
        another(site, RESENTRY_VAULT_ADDR=proxy.url) as other,
        other.app("silent"),
    ):
        eventually((other.volume / "settings.json").exists)
        proxy.faults = Faults(status=200, body=older)
        yield other


@breaks("RSN207")
def token_ends(site: Busy) -> Iterator[Site]:
    made = site.vault.client.auth.token.create(
        policies=["lab-1"], ttl="1h", renewable=False
    )
    token = made["auth"]["client_token"]
    with another(site, RESENTRY_VAULT_TOKEN=token) as other, other.app("silent"):
        yield other


# A rotation


def _rotation(site: Busy, **more: Any) -> Look:
    """Write the journal of a rotation that is under way, and let doctor read it."""
    journal = Journal(
        rotation="20260131-120000-c0de",
        secret="secret/data/lms",
        old="0" * 12,
        quiet_seconds=60,
        phase="converged",
        since=time.time(),
    )
    text = encode_journal(replace(journal, **more))
    site.vault.write("rotations/lms", journal=text)
    paths = ("data", "metadata")
    rules = [
        f'path "secret/{each}/rotations/lms" {{ capabilities = ["read"] }}'
        for each in paths
    ]
    return {
        "RESENTRY_ROTATION_PATH": "secret/data/rotations/lms",
        "RESENTRY_VAULT_TOKEN": site.vault.policy_token("\n".join([READ, *rules])),
    }


@breaks("RSN251")
def held_rotation(site: Busy) -> Iterator[Look]:
    yield _rotation(site, held="the server does not accept the new key")
    site.vault.delete("rotations/lms")


@breaks("RSN252")
def left_rotation(site: Busy) -> Iterator[Look]:
    yield _rotation(site, holder="job-1 pid 7", until=time.time() - 1)
    site.vault.delete("rotations/lms")


@breaks("RSN301")
def deleted(site: Busy) -> Iterator[None]:
    site.vault.delete("lms")
    yield
    site.write()


@breaks("RSN302")
def bad_value(site: Busy) -> Iterator[None]:
    site.write(SENTRY_SAMPLE_RATE="2")
    yield
    site.write()


@breaks("RSN303")
def other_key(site: Busy) -> Iterator[None]:
    site.write(OWNER="somebody")
    yield
    site.write()


@breaks("RSN304", of=Quiet)
def no_dsn(site: Quiet) -> Iterator[Site]:
    with another(site) as other, other.app("silent"):
        yield other


# Guard rails and privacy


@breaks("RSN851")
def pii(site: Busy) -> Iterator[None]:
    site.write(SENTRY_SEND_PII="true")
    yield
    site.write()


@breaks("RSN852", of=Quiet)
def in_the_clear(site: Quiet) -> Iterator[Site]:
    given = {
        "RESENTRY_ENVIRONMENT": "staging",
        "ENVIRONMENT": "staging",
        "RESENTRY_ALLOWED_DSNS": "staging=sentry.example.org",
    }
    dsn = "http://key@sentry.example.org/42"
    with another(site, dsn=dsn, **given) as other, other.app("silent"):
        yield other


# The agent and the volume


@contextlib.contextmanager
def another(site: Site, *, dsn: str = "", **environ: str) -> Iterator[Site]:
    """Start another agent like that one, with a volume of its own."""
    folder = site.folder / f"other-{os.urandom(4).hex()}"
    own = {
        "RESENTRY_DIR": str(folder / "volume"),
        "RESENTRY_RECEIPTS": str(folder / "receipts"),
    }
    if isinstance(site, Quiet):
        own["RESENTRY_SOURCE_PATH"] = str(folder / "source")
        (folder / "source").mkdir(parents=True)
        (folder / "source" / "SENTRY_TRACES_SAMPLE_RATE").write_text("0.1")
        if dsn:
            (folder / "source" / "SENTRY_DSN").write_text(dsn)
    other = Site(folder, **{**site.environ, **own, **environ})
    with other.stack:
        other.start_agent()
        yield other


@breaks("RSN501")
def waits_for_a_verdict(site: Busy) -> Iterator[Site]:
    site.sink.answer(7, "hang")
    site.vault.write("lms7", {"SENTRY_DSN": site.sink.dsn(7)})
    policy = READ.replace("lms", "lms7")
    given = {
        "RESENTRY_DSN_CHECK": "enforce",
        "RESENTRY_VAULT_TOKEN": site.vault.policy_token(policy),
        "RESENTRY_VAULT_PATHS": "secret/data/lms7",
    }
    with another(site, **given) as other:
        yield other


@breaks("RSN502")
def no_agent(site: Busy) -> Iterator[None]:
    site.agent.stop()
    yield
    site.start_agent()


@breaks("RSN503", needs_root=True)
def by_subpath(site: Busy) -> Iterator[None]:
    with site.app("subPath"):
        yield


@breaks("RSN504", of=Quiet)
def no_group(site: Quiet) -> Iterator[None]:
    site.volume.chmod(0o700)
    yield
    site.volume.chmod(0o750)


@breaks("RSN505")
def in_the_way(site: Busy) -> Iterator[None]:
    link = site.volume / "SENTRY_PROFILES_SAMPLE_RATE"
    link.write_text("somebody else's")
    site.write(SENTRY_PROFILES_SAMPLE_RATE="0.1")
    yield
    link.unlink()
    site.write()


@breaks("RSN506", needs_root=True, of=Quiet)
def nearly_full(site: Quiet) -> Iterator[Site]:
    folder = site.folder / "small"
    folder.mkdir()
    mount_memory(str(folder), "300k")
    try:
        given = {"RESENTRY_DIR": str(folder / "v"), "RESENTRY_RECEIPTS": ""}
        key = "https://key@sentry.example.org/42"
        with another(site, dsn=key, **given) as other, other.app("silent"):
            other.await_only()
            room = os.statvfs(folder)
            (folder / "fill").write_bytes(
                bytes(room.f_bavail * room.f_frsize - 12 * 1024)
            )
            yield other
    finally:
        unmount(str(folder))


@breaks("RSN507")
def receiver_fails(site: Busy) -> Iterator[None]:
    site.receiver.how = 500
    site.write(SENTRY_PROFILES_SAMPLE_RATE="0.1")
    yield
    site.receiver.how = 200
    site.write()


@breaks("RSN508")
def agent_stands_still(site: Busy) -> Iterator[None]:
    site.agent.pause()
    yield
    site.agent.resume()


@breaks("RSN509")
def two_agents(site: Busy) -> Iterator[None]:
    with Process(["resentry-agent", "run"], env=site.environ):
        yield


# Processes


@breaks("RSN601")
def nobody(site: Busy) -> Iterator[None]:
    site.main.stop()
    yield
    site.start_app()


@breaks("RSN602")
def stopped(site: Busy) -> Iterator[None]:
    site.main.pause()
    site.write(SENTRY_PROFILES_SAMPLE_RATE="0.1")
    yield
    site.main.resume()
    site.write()


@breaks("RSN603")
def refuses(site: Busy) -> Iterator[None]:
    with site.app("silent", ENVIRONMENT="production", SENTRY_SEND_PII="true"):
        yield


def _part(
    id_: str, oddity: str, *, needs_root: bool = False, role: str = "api", **env: str
) -> None:
    """Note a breakage that is one odd process of the application."""

    def run(site: Busy) -> Iterator[None]:
        with site.app(oddity, role, **env):
            yield

    breaks(id_, needs_root=needs_root)(run)


_part("RSN604", "no receipt")
_part("RSN605", "another user", needs_root=True)
_part("RSN609", "own init")
_part("RSN610", "own DSN")
_part("RSN613", "late")
_part("RSN611", "greenlets")
_part("RSN612", "a fault")
_part("RSN807", "silent", SENTRY_PROFILES_SAMPLE_RATE="0.3")
_part("RSN951", "old SDK")
_part("RSN955", "SDK that can hang")
_part("RSN952", "old library")
_part("RSN953", "does not know")
_part("RSN954", "silent", role="celery", VERSION="2.0.0")


def seen_twice(site: Site) -> int:
    """Return how often the agent has seen two processes run what is published."""
    return site.agent.log_text().count("2 targets: 2 drained")


@breaks("RSN614")
def crashes(site: Busy) -> Iterator[Site]:
    """However they end: the first two are killed, the third exits."""
    with another(site) as other, other.app("silent"):
        other.await_only()
        for end in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
            before = seen_twice(other)
            with other.app("short-lived") as process:
                # A process that is gone before the agent has read of it has no role.
                eventually(lambda b=before: seen_twice(other) > b, what="a second one")
                process.signal(end)
            eventually(lambda: receipt_of(other, process) is None)
        yield other


@breaks("RSN607")
def role_without_process(site: Busy) -> Iterator[None]:
    site.write(RESENTRY_ERRORS='[{"exception": "E", "rate": 0, "role": "apo"}]')
    yield
    site.write()


@breaks("RSN608")
def holds_an_older(site: Busy) -> Iterator[None]:
    with site.app("second client") as process:
        eventually(lambda: receipt_of(site, process))
        site.write(SENTRY_DSN=site.sink.dsn(2))
        yield
    site.write()


def receipt_of(site: Site, process: Process) -> dict[str, Any] | None:
    for path in Path(site.settings().receipts_dir).glob("*.json"):
        receipt: dict[str, Any] = json.loads(path.read_bytes())
        if receipt["pid"] == process.pid:
            return receipt
    return None


# Sentry


def _answers(id_: str, status: int) -> None:
    def answer(site: Busy) -> Iterator[None]:
        site.sink.answer(1, status, headers={"Retry-After": "1"})
        yield
        site.sink.answer(1, "ok")

    breaks(id_)(answer)


_answers("RSN702", 429)
_answers("RSN704", 500)


@breaks("RSN701")
def revoked(site: Busy) -> Iterator[None]:
    site.sink.answer(1, 403)
    yield
    site.sink.answer(1, "ok")
    restart(site)  # which has parked envelopes


def restart(site: Busy) -> None:
    site.main.stop()
    site.start_app()


@breaks("RSN703")
def unreached(site: Busy) -> Iterator[None]:
    port = site.sink.address.rpartition(":")[2]
    site.write(SENTRY_DSN=site.sink.dsn(1).replace(f":{port}/", ":9/"))
    yield
    site.write()


@breaks("RSN705", "RSN706")
def overflows(site: Busy) -> Iterator[None]:
    with site.app("flood") as process:
        site.sink.answer(1, 403)
        eventually(lambda: tally(site, process).get("dropped"), what="a lost event")
        site.sink.answer(1, "ok")
        restart(site)
        eventually(lambda: answer(site, process) == "accepted")
        yield


@breaks("RSN706")
def waits_for_the_next(site: Busy) -> Iterator[None]:
    site.sink.answer(1, 403)
    eventually(lambda: tally(site, site.main).get("parked"), what="a kept event")
    site.sink.answer(1, "ok")
    yield
    restart(site)


def tally(site: Site, process: Process) -> dict[str, int]:
    receipt = receipt_of(site, process) or {}
    return dict(receipt.get("tally", {}))


def answer(site: Site, process: Process) -> str:
    receipt = receipt_of(site, process) or {}
    return str(receipt["answers"][-1]["kind"]) if receipt.get("answers") else ""


@breaks("RSN707")
def sent_long_ago(site: Busy) -> Iterator[Site]:
    with another(site) as other, other.app("slow clock"):
        yield other


# Rates


def _published(id_: str, **values: str) -> None:
    def write(site: Busy) -> Iterator[None]:
        site.write(**values)
        yield
        site.write()

    breaks(id_)(write)


_published("RSN801", SENTRY_SAMPLE_RATE="0")
_published("RSN802", SENTRY_TRACES_SAMPLE_RATE="0")


@breaks("RSN803", of=Quiet)
def high(site: Quiet) -> Iterator[None]:
    site.write(SENTRY_TRACES_SAMPLE_RATE="1")
    yield
    site.write()


@breaks("RSN804")
def boosted(site: Busy) -> Iterator[None]:
    site.ask(command="boost", traces=1.0, seconds=7200.0)
    yield
    boosts = json.loads((site.volume / "settings.json").read_bytes())["boosts"]
    site.ask(command="end", id=boosts[0]["id"])


@breaks("RSN805")
def celery_off(site: Busy) -> Iterator[None]:
    site.write(SENTRY_ENABLE_FOR_CELERY="false")
    with site.app("silent", "celery"):
        yield
    site.write()


def await_published(site: Site, text: str) -> None:
    path = site.volume / "settings.json"
    eventually(lambda: path.exists() and text in path.read_text(), what=text)


@breaks("RSN806")
def rolled_back(site: Busy) -> Iterator[None]:
    for rate in ("0.21", "0.22"):
        site.write(SENTRY_PROFILES_SAMPLE_RATE=rate)
        await_published(site, rate)
    site.ask(command="rollback", revision=None)
    yield
    site.ask(command="resume")
    site.write()


@breaks("RSN808")
def matches_nothing(site: Busy) -> Iterator[None]:
    site.write(RESENTRY_RULES='[{"match": "GET /typo", "traces": 1}]')
    yield
    site.write()


@breaks("RSN809")
def bounds_nothing(site: Busy) -> Iterator[None]:
    site.write(RESENTRY_CEILINGS='[{"match": "GET /typo", "traces": 0.5}]')
    yield
    site.write()


@breaks("RSN810")
def matches_no_error(site: Busy) -> Iterator[None]:
    site.write(RESENTRY_ERRORS='[{"exception": "app.Typo", "rate": 0}]')
    await_published(site, "app.Typo")
    with site.app("many errors"):
        yield
    site.write()


@breaks("RSN811")
def throttled(site: Busy) -> Iterator[None]:
    site.ask(command="throttle", traces=0.5, seconds=7200.0)
    yield
    ceilings = json.loads((site.volume / "settings.json").read_bytes())["ceilings"]
    site.ask(command="end", id=ceilings[0]["id"])


@contextlib.contextmanager
def tuned(site: Quiet, **files: str) -> Iterator[Site]:
    """Start another agent with a tuning file."""
    folder = Path(tempfile.mkdtemp(dir=site.folder))
    for name, text in files.items():
        (folder / name).write_text(text)
    dsn = "https://key@sentry.example.org/42"
    given = {"RESENTRY_TUNING_PATH": str(folder)}
    with another(site, dsn=dsn, **given) as other, other.app("silent"):
        yield other


@breaks("RSN812", of=Quiet)
def tuning_with_a_dsn(site: Quiet) -> Iterator[Site]:
    with tuned(site, SENTRY_DSN="https://key@sentry.example.org/7") as other:
        yield other


@breaks("RSN813", of=Quiet)
def tuning_below_a_role(site: Quiet) -> Iterator[Site]:
    with tuned(site, SENTRY_SAMPLE_RATE="0.5") as other:
        roles = json.dumps({"api": {"SENTRY_SAMPLE_RATE": 0.25}})
        Path(other.environ["RESENTRY_SOURCE_PATH"], "RESENTRY_ROLES").write_text(roles)
        await_published(other, "0.25")
        yield other


@breaks("RSN956")
def knows_no_budget(site: Busy) -> Iterator[None]:
    site.write(RESENTRY_BUDGETS='[{"transactions": 1000000}]')
    with site.app("knows no ceilings"):
        yield
    site.write()


# Clock and versions


class Early(Proxy):
    """The time in each answer is five minutes ago."""

    async def _deliver(self, writer: Any, answer: bytes, faults: Faults) -> bool:
        earlier = formatdate(time.time() - 300, usegmt=True).encode()
        answer = re.sub(rb"(?im)^Date: [^\r]+", b"Date: " + earlier, answer)
        return await super()._deliver(writer, answer, faults)


@breaks("RSN901")
def clock_is_off(site: Busy) -> Iterator[Look]:
    with Early(site.vault.address) as proxy:
        yield {"RESENTRY_VAULT_ADDR": proxy.url}
