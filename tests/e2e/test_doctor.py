"""`doctor` on running parts: nothing while all is well, then each breakage by its id."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from breakages import BREAKAGES
from set_up import Busy, Quiet, Site

from agent.doctor.examine import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.vault, pytest.mark.xdist_group("doctor")]

SITES = dict[type[Site], Site]


@pytest.fixture(scope="module")
def sites() -> Iterator[SITES]:
    with tempfile.TemporaryDirectory(prefix="doctor-") as name:
        os.chmod(name, 0o755)  # so that other users are not kept out by it
        folder = Path(name)
        with Busy(folder / "busy") as busy, Quiet(folder / "quiet") as quiet:
            yield {Busy: busy, Quiet: quiet}


def test_each_rule_has_a_breakage_of_its_own() -> None:
    """A new rule needs one."""
    assert BREAKAGES.keys() == RULES.keys()


@pytest.mark.parametrize("id_", sorted(BREAKAGES))
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
    site.await_only()


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
        (("--area", "clock"), unreadable, 0),
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
