"""Something else mounts Sentry's settings: no Vault is there, and none is named."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import requests

from agent.cli.gather import gather
from agent.settings import load
from lab.mount import Mount
from lab.process import Process, eventually, free_port, listens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.sink import Sink

pytestmark = pytest.mark.process


PROGRAM = Path(__file__).parent / "programs" / "messages.py"


class Sidecar:
    """A volume, and the agent that publishes there what stands at `source`.

    It polls once an hour: what comes earlier has been seen by its watch.
    """

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.port = free_port()
        self.environ = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RESENTRY_DIR": str(folder / "volume"),
            "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{self.port}",
            "RESENTRY_POLL_SECONDS": "3600",
            "RESENTRY_SOURCE_PATH": str(self.source),
        }
        self.agent = Process(
            ["resentry-agent", "run"],
            env=self.environ,
            ready=lambda: listens(self.port),
        )

    def run(self, *command: str, **environ: str) -> tuple[int, str]:
        """Run a command to its end; return its exit code and all it printed."""
        with Process(command, env=self.environ | environ) as process:
            eventually(lambda: not process.alive, 30, f"the end of {command}")
            return process.returncode or 0, process.log_text()

    def status(self) -> dict[str, Any]:
        """Return the result of `resentry-agent status --json`."""
        found = gather(load({}, self.environ).settings)
        return dict(msgspec.to_builtins(found))

    def await_sequence(self, sequence: int) -> dict[str, Any]:
        """Wait for that snapshot, and return its settings."""
        return eventually(
            lambda: (
                (current := self.status()["current"])
                and current["sequence"] == sequence
                and current["settings"]
            ),
            what=f"sequence {sequence}",
        )

    def await_said(self, text: str) -> None:
        """Wait until the last pass ended with such a sentence."""
        eventually(lambda: text in self.status()["source"]["sentence"], what=text)


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    sidecar = Sidecar(tmp_path)
    yield sidecar
    sidecar.agent.__exit__()


def test_a_mounted_secret_reaches_the_application(sidecar: Sidecar, sink: Sink) -> None:
    """A new DSN in the Secret is what the application sends to, with no poll."""
    mount = Mount(sidecar.source)
    mount.write(SENTRY_DSN=sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="0.5\n")
    sidecar.agent.start()
    settings = sidecar.await_sequence(1)
    assert settings["SENTRY_TRACES_SAMPLE_RATE"] == 0.5
    with Process([sys.executable, PROGRAM], env=sidecar.environ):
        eventually(lambda: sink.count("event", 1), what="an event in project 1")

        for project in (2, 3):
            mount.write(SENTRY_DSN=sink.dsn(project))
            sidecar.await_sequence(project)
            eventually(
                lambda project=project: sink.count("event", project),
                what=f"an event in project {project}",
            )

    assert sidecar.status()["source"]["where"] == {
        "kind": "files",
        "path": str(sidecar.source),
        "watch": "inotify",
    }
    assert sink.dsn(1).partition("@")[0] not in sidecar.agent.log_text()


def test_a_tuning_file_and_the_source_hold_up_neither(
    sidecar: Sidecar, sink: Sink, tmp_path: Path
) -> None:
    """Each change is seen without a poll. A file with a DSN is named, and changes nothing."""
    source, tuning = Mount(sidecar.source), Mount(tmp_path / "tuning")
    sidecar.agent.env["RESENTRY_TUNING_PATH"] = str(tuning.directory)
    source.write(SENTRY_DSN=sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="0.5")
    tuning.write(SENTRY_TRACES_SAMPLE_RATE="0.1")

    def shown() -> tuple[str, float]:
        current = sidecar.status()["current"]
        settings = current["settings"] if current else {"SENTRY_DSN": ""}
        project = settings["SENTRY_DSN"].partition(" ")[0].rpartition("/")[2]
        return project, settings.get("SENTRY_TRACES_SAMPLE_RATE")

    def metrics() -> str:
        return requests.get(f"http://127.0.0.1:{sidecar.port}/metrics", timeout=10).text

    problem = 'resentry_problem{setting="RESENTRY_TUNING_PATH"} 1.0'
    sidecar.agent.start()
    eventually(lambda: shown() == ("1", 0.1), what="the file on top of the source")
    tuning.write(SENTRY_TRACES_SAMPLE_RATE="0.2")
    eventually(lambda: shown() == ("1", 0.2), what="a change of the file")
    assert problem not in metrics()

    tuning.write(SENTRY_TRACES_SAMPLE_RATE="0.3", SENTRY_DSN=sink.dsn(9))
    eventually(lambda: problem in metrics(), what="the problem")
    (said,) = eventually(lambda: sidecar.status()["problems"], what="the same told")
    assert "SENTRY_DSN must not stand in a tuning file" in said["what"]
    source.write(SENTRY_DSN=sink.dsn(2), SENTRY_TRACES_SAMPLE_RATE="0.5")
    eventually(lambda: shown() == ("2", 0.2), what="a new DSN beside the bad file")

    # Both are gone, and the agent starts anew: what was good stays.
    sidecar.agent.stop()
    os.rename(sidecar.source, tmp_path / "gone")
    sidecar.agent.start()
    sidecar.await_said("cannot read")
    assert shown() == ("2", 0.2)
    tuning.write(SENTRY_TRACES_SAMPLE_RATE="0.4")
    eventually(lambda: shown() == ("2", 0.4), what="a change without the source")
    line = "the tuning file has changed"
    eventually(lambda: line in sidecar.agent.log_text(), what="the line of the log")
    assert sink.dsn(9).partition("@")[0] not in sidecar.agent.log_text()


def test_a_bad_value_is_refused_until_it_is_corrected(
    sidecar: Sidecar, sink: Sink
) -> None:
    """The last good snapshot stays, and the correction needs no poll either."""
    mount = Mount(sidecar.source)
    mount.write(SENTRY_DSN=sink.dsn(1))
    sidecar.agent.start()
    sidecar.await_sequence(1)

    mount.write(SENTRY_DSN=sink.dsn(1), SENTRY_SAMPLE_RATE="7")
    sidecar.await_said("SENTRY_SAMPLE_RATE must be a number from 0 to 1")
    mount.write(SENTRY_DNS=sink.dsn(1))
    sidecar.await_said("SENTRY_DNS is not a known key (did you mean SENTRY_DSN?)")
    assert sidecar.status()["current"]["sequence"] == 1

    mount.write(SENTRY_DSN=sink.dsn(1), SENTRY_SAMPLE_RATE="0.7")
    assert sidecar.await_sequence(2)["SENTRY_SAMPLE_RATE"] == 0.7


def test_a_file_that_comes_late_and_is_replaced(sidecar: Sidecar, sink: Sink) -> None:
    """It is published when it appears, and again after each rename, JSON or dotenv."""
    sidecar.agent.start()
    sidecar.await_said("No such file or directory")
    new = sidecar.source.with_name("new")
    for number, text in enumerate(
        (
            f"export SENTRY_DSN='{sink.dsn(1)}'\nSENTRY_SAMPLE_RATE=0.1\n",
            f'{{"SENTRY_DSN": "{sink.dsn(1)}", "SENTRY_SAMPLE_RATE": 0.2}}',
            f"SENTRY_DSN={sink.dsn(1)}\nSENTRY_SAMPLE_RATE=0.3\n",
        ),
        start=1,
    ):
        new.write_text(text)
        new.rename(sidecar.source)
        settings = sidecar.await_sequence(number)
        assert settings["SENTRY_SAMPLE_RATE"] == number / 10


def test_check_and_once(sidecar: Sidecar, sink: Sink) -> None:
    """Both read what is mounted, and neither asks for Vault's settings."""
    Mount(sidecar.source).write(SENTRY_DSN=sink.dsn(1))

    code, printed = sidecar.run("resentry-agent", "check")
    assert code == 0, printed
    assert str(sidecar.source) in printed

    code, printed = sidecar.run("resentry-agent", "once")
    assert code == 0, printed
    assert sidecar.status()["current"]["sequence"] == 1


@pytest.mark.parametrize("other", ["RESENTRY_VAULT_ADDR", "RESENTRY_VAULT_PATHS"])
def test_one_kind_of_source_at_a_time(sidecar: Sidecar, other: str) -> None:
    """A path beside Vault's settings is an error that names both."""
    code, printed = sidecar.run("resentry-agent", "once", **{other: "https://vault"})

    assert code == 78
    assert "RESENTRY_SOURCE_PATH is set, and so is RESENTRY_VAULT_ADDR" in printed


def test_a_mounted_source_does_not_load_the_vault_client(
    sidecar: Sidecar, sink: Sink
) -> None:
    """The agent that needs no hvac does not pay for it."""
    Mount(sidecar.source).write(SENTRY_DSN=sink.dsn(1))

    code, printed = sidecar.run(
        *(sys.executable, "-X", "importtime", "-m", "agent", "once"), PYTHONPATH=""
    )

    assert code == 0, printed
    assert "hvac" not in printed
    assert "agent.source.files" in printed
