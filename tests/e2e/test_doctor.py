"""`doctor` on running parts: nothing while all is well, then each breakage by its id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.mount import Mount
from lab.process import Process, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.sink import Sink

pytestmark = pytest.mark.process

APPLICATION = Path(__file__).parent / "programs" / "reporting.py"


class Site:
    """An agent beside a mounted source, and an application that sends each second."""

    def __init__(self, folder: Path, sink: Sink) -> None:
        self.sink = sink
        self.mount = Mount(folder / "source")
        self.volume = folder / "volume"
        self.environ = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RESENTRY_DIR": str(self.volume),
            "RESENTRY_SOURCE_PATH": str(folder / "source"),
            "RESENTRY_POLL_SECONDS": "1",
            "RESENTRY_CONFIRM_SECONDS": "2",
            "RESENTRY_HTTP_LISTEN": "off",
            "RESENTRY_DSN_CHECK": "off",
            "RESENTRY_ENVIRONMENT": "staging",
            "RESENTRY_ALLOWED_DSNS": f"staging={sink.address.rpartition('/')[2]}",
            "ENVIRONMENT": "staging",
            "VERSION": "1.0.0",
        }
        self.agent: Process | None = None
        self.app: Process | None = None

    def write(self, **values: object) -> None:
        given = {"SENTRY_DSN": self.sink.dsn(1), "SENTRY_TRACES_SAMPLE_RATE": "0.1"}
        self.mount.write(**{**given, **values})

    def doctor(self, *args: str, **environ: str) -> tuple[int, dict[str, Any]]:
        """Examine, and return the exit code and the problems by id."""
        ran = subprocess.run(
            ["resentry-agent", "doctor", "--json", *args],
            env=self.environ | environ,
            capture_output=True,
            text=True,
            check=False,
        )
        findings = json.loads(ran.stdout)["result"]["findings"]
        return ran.returncode, {
            f["id"]: f for f in findings if f["verdict"] == "problem"
        }

    def await_only(self, *ids: str, **environ: str) -> dict[str, Any]:
        """Wait until these are the problems, apart from what follows from them."""

        def look() -> dict[str, Any] | None:
            _, seen = self.doctor(**environ)
            roots = {id_ for id_, f in seen.items() if f["follows_from"] is None}
            return seen if roots == set(ids) else None

        if not ids:
            eventually(lambda: look() is not None, 30, "no problem")
            return {}
        return eventually(look, 30, f"the problems {ids}")


@pytest.fixture
def site(tmp_path: Path, sink: Sink) -> Iterator[Site]:
    site = Site(tmp_path, sink)
    site.write()
    agent = Process(["resentry-agent", "run"], env=site.environ)
    app = Process([sys.executable, str(APPLICATION)], env=site.environ)
    with agent as site.agent, app as site.app:
        eventually(lambda: list(site.volume.glob("receipts/*.json")), 30, "a receipt")
        yield site


def test_a_set_up_that_is_well_has_no_finding(site: Site) -> None:
    """Exit code 0, whatever counts as bad."""
    site.await_only()
    assert site.doctor("--fail-on", "info") == (0, {})


@pytest.mark.parametrize(
    ("status", "id_", "is_error"),
    [(500, "RSN704", False), (403, "RSN701", True), (429, "RSN702", False)],
)
def test_what_sentry_answers_is_seen(
    site: Site, status: int, id_: str, *, is_error: bool
) -> None:
    """A server in trouble, a disabled key, a full quota: each by its own id."""
    site.await_only()
    site.sink.answer(1, status)
    finding = site.await_only(id_)[id_]
    assert f"status {status} to 1 process;" in finding["detail"]
    assert "pid" in finding["evidence"][0]
    assert site.doctor()[0] == int(is_error)
    assert site.doctor("--fail-on", "warning")[0] == 1


def test_the_source_and_what_it_holds_are_seen(site: Site) -> None:
    """A file that is gone; a value that is wrong; errors that are off."""
    site.write(SENTRY_SAMPLE_RATE="2")
    assert "SENTRY_SAMPLE_RATE" in site.await_only("RSN302")["RSN302"]["detail"]
    site.write(SENTRY_SAMPLE_RATE="0")
    assert "role api" in site.await_only("RSN801")["RSN801"]["subject"]
    assert site.doctor()[0] == 1


def test_an_agent_that_is_gone_is_seen(site: Site) -> None:
    """The applications go on, and that is all that is wrong."""
    assert site.agent is not None
    site.agent.stop()
    assert site.await_only("RSN502")["RSN502"]["subject"] == str(site.volume)
    code, seen = site.doctor("--area", "sentry")
    assert (code, seen) == (0, {})


def test_a_process_that_stands_still_is_overdue(site: Site) -> None:
    """It is named, with what it runs."""
    assert site.app is not None
    site.app.pause()
    site.write(SENTRY_RELEASE="2.0.0")
    seen = site.await_only("RSN602", "RSN303")
    assert f"pid {site.app.pid}" in seen["RSN602"]["subject"]
    site.app.resume()


def test_settings_that_are_wrong_are_a_finding(site: Site) -> None:
    """What runs goes on, and everything else is examined all the same."""
    seen = site.await_only("RSN101", RESENTRY_POLL_SECONDS="often")
    assert seen["RSN101"]["subject"] == "RESENTRY_POLL_SECONDS"


def test_nothing_ever_ran_here(tmp_path: Path, sink: Sink) -> None:
    """Nothing is made by an examination; what cannot be known is exit code 3 or 1."""
    site = Site(tmp_path, sink)
    code, seen = site.doctor()
    assert code == 1
    assert {"RSN301", "RSN501"} & seen.keys()
    assert not site.volume.exists()
