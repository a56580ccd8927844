"""`status` and its kin tell what is so now: on a full volume, of an agent that hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lab.process import Process, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.process

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee0{}@sentry.example.org/42"
AGENT = [sys.executable, "-m", "agent"]


class Site:
    """An agent beside a mounted source, on a volume of 256 KiB."""

    def __init__(self, folder: Path) -> None:
        self.source, self.volume = folder / "source", folder / "volume"
        self.environ = {
            "PATH": os.environ["PATH"],
            "RESENTRY_DIR": str(self.volume),
            "RESENTRY_SOURCE_PATH": str(self.source),
            "RESENTRY_POLL_SECONDS": "1",
            "RESENTRY_HTTP_LISTEN": "off",
            "RESENTRY_DSN_CHECK": "off",
        }

    def ask(self, *args: str) -> tuple[int, dict[str, Any]]:
        """Run a command, and return its exit code and its result."""
        ran = subprocess.run(
            [*AGENT, *args, "--json"],
            env=self.environ,
            capture_output=True,
            check=False,
        )
        return ran.returncode, json.loads(ran.stdout)["result"]

    def status(self) -> dict[str, Any]:
        return self.ask("status")[1]

    def text(self) -> str:
        ran = subprocess.run(
            [*AGENT, "status"], env=self.environ, capture_output=True, check=False
        )
        return ran.stdout.decode()

    def findings(self) -> set[str]:
        findings = self.ask("doctor")[1]["findings"]
        return {f["id"] for f in findings if f["verdict"] == "problem"}

    def step(self, name: str) -> dict[str, str]:
        (step,) = [s for s in self.ask("check")[1]["steps"] if s["step"] == name]
        return dict(step)

    def saved(self) -> dict[str, Any]:
        """What the state file holds."""
        return dict(json.loads((self.volume / "agent/state.json").read_bytes()))

    def fill(self) -> None:
        """Leave no room on the volume."""
        with (self.volume / "filler").open("wb", buffering=0) as filler:
            while True:
                try:
                    filler.write(bytes(4096))
                except OSError:
                    return


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The site, with a volume that can be filled."""
    made = Site(tmp_path)
    made.volume.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(made.volume)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    try:
        yield made
    finally:
        subprocess.run(["umount", "-l", made.volume], check=True)


def test_what_is_shown_is_of_now_or_says_of_when(site: Site) -> None:
    """The agent is asked. Without an answer the volume tells, and of which moment.

    So a full volume tells no old story, and a stopped agent does not look healthy.
    """
    site.source.write_text(f"SENTRY_DSN={DSN.format(1)}\n")
    with Process([*AGENT, "run"], env=site.environ) as agent:
        eventually(lambda: site.status()["source"]["outcome"], what="the first pass")
        site.source.write_text(f"SENTRY_DSN={DSN.format(2)}\n")
        eventually(
            lambda: site.status()["current"]["sequence"] == 2, what="the next snapshot"
        )
        site.ask("rollback")
        held = site.status()
        assert held["origin"]["by"] == "agent"
        assert held["held"] == held["current"]["revision"]
        assert f"a rollback holds revision {held['held']}" in site.text()
        site.ask("rollback", "--resume")
        assert site.status()["held"] is None

        # The volume is full, and the source is gone
        site.fill()
        site.source.unlink()
        now = eventually(
            lambda: status if (status := site.status())["problems"] else None,
            what="the problem",
        )
        eventually(
            lambda: site.status()["source"]["error"] == "SourceMissing",
            what="the newest pass",
        )
        assert site.saved()["error"] == ""
        (problem,) = now["problems"]
        assert (problem["setting"], now["origin"]["by"]) == ("RESENTRY_DIR", "agent")
        assert "No space left" in problem["what"]
        assert "No space left" in site.step("volume")["detail"]
        assert {"RSN505", "RSN506"} <= site.findings()

        # The agent is stopped
        agent.signal(signal.SIGSTOP)
        shown = site.status()
        assert (shown["agent"], shown["origin"]["by"]) == ("not responding", "volume")
        assert shown["origin"]["at"] == site.saved()["written_at"]
        assert "no answer at the control socket" in site.text()
        assert "not respond" in site.step("listen")["detail"]
        assert "RSN508" in site.findings()
        late = site.ask("wait", "--timeout", "0")[1]["lacking"]
        assert "not respond" in late[-1]
        control = site.volume / "agent/control.sock"
        control.rename(site.volume / "agent/moved")
        assert site.status()["agent"] == "not responding"
        assert "RSN508" in site.findings()
        (site.volume / "agent/moved").rename(control)
        agent.signal(signal.SIGCONT)
        assert site.status()["agent"] == "running"

        # There is room again
        (site.volume / "filler").unlink()
        eventually(lambda: not site.status()["problems"], what="the end of the problem")

    # The agent is dead
    dead = site.status()
    assert (dead["agent"], dead["origin"]["by"]) == ("not running", "volume")
    assert f"what an agent wrote at {dead['origin']['at']} (" in site.text()
