"""The status for people: where the chain breaks, who holds what, and since when."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from agent.cli.status_lines import FIRST, status_lines
from agent.domain.outcome import Outcome
from agent.domain.passes import Moment, Passes
from agent.domain.rollout import LiveTarget, assess
from agent.domain.timeline import Event
from agent.domain.value import replace
from agent.domain.view import Known, Problem, View
from agent.errors import CandidateRefused, SourceDown
from agent.locks import hold
from agent.observe.document import whole
from lab.process import eventually
from resentry.answers import Answer
from resentry.contract import (
    Boost,
    Ceiling,
    Holder,
    Receipt,
    Snapshot,
    encode_receipt,
    fingerprint,
    time_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.publish.volume import Volume

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"
MINE, OLDER = fingerprint(DSN), "b" * 12
NOW = time.time()
CURRENT = Snapshot(
    {"SENTRY_DSN": DSN, "SENTRY_TRACES_SAMPLE_RATE": 0.1},
    roles={"celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.01}},
    boosts=(Boost("b1", 1.0, time_text(NOW + 900), match="POST /checkout"),),
    ceilings=(Ceiling(0.05, role="api"),),
    revision="a" * 12,
    sequence=7,
    published_at=time_text(NOW - 300),
    provenance={
        "SENTRY_DSN": {
            "source": "vault",
            "path": "secret/data/lms",
            "version": 7,
            "created_time": time_text(NOW - 7300),
        },
        "SENTRY_TRACES_SAMPLE_RATE": {"source": "vault", "path": "secret/data/rates"},
    },
)


@pytest.fixture
def show(
    receipt: Callable[..., Receipt], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """The status after a pass, beside these receipts."""
    monkeypatch.setattr(time, "time", lambda: NOW)

    def make(
        *receipts: dict[str, Any], outcome: Outcome | None = None, **more: Any
    ) -> str:
        runs = {
            "revision": "a" * 12,
            "sequence": 7,
            "dsn": MINE,
            "library": "0.1.0",
            "values": {"SENTRY_TRACES_SAMPLE_RATE": 0.1},
            "origins": {"SENTRY_TRACES_SAMPLE_RATE": "snapshot"},
        }
        targets = [
            LiveTarget(receipt(id=f"{pid:016}", pid=pid, **{**runs, **given}), 0)
            for pid, given in enumerate(receipts, 1)
        ]
        rollout = assess(targets, CURRENT, late=False)
        passes = Passes(0.0).after(
            outcome or Outcome.unchanged(CURRENT, ()), Moment(NOW - 12, 1.0), 0.1
        )
        view = View(Known(CURRENT), passes, 0.0, rollout, next_pass_at=NOW + 41)
        result = whole(replace(view, **more)).result
        assert result is not None
        return "\n".join(status_lines(result, ""))

    return make


def test_a_healthy_chain_tells_ages_origins_and_rates(show: Callable[..., str]) -> None:
    """Each time has its age beside it."""
    text = show({}, {"role": "celery"})
    assert FIRST not in text
    assert "(12 s ago), next at" in text
    assert "(in 41 s)" in text
    assert "(5 minutes ago)" in text
    row = next(line for line in text.splitlines() if "SENTRY_DSN=" in line)
    assert "(secret/data/lms version 7 of " in row
    assert row.endswith("(2 hours ago))")
    assert "SENTRY_TRACES_SAMPLE_RATE=0.1  (secret/data/rates)" in text
    assert "role api (1 process): errors off, traces 0.1, profiles off" in text
    assert "traces from the snapshot" in text
    assert text.count("boost b1  traces 1 for POST /checkout") == 3  # and of each role
    assert text.count("ceiling -  traces at most 0.05 for everything in api") == 2
    assert DSN not in text


@pytest.mark.parametrize(
    ("outcome", "stage"),
    [
        (Outcome.kept(SourceDown("Vault is sealed", "unseal it"), CURRENT), "source"),
        (Outcome.kept(CandidateRefused(["a rate of 7"], "f" * 12), CURRENT), "values"),
    ],
)
def test_the_first_broken_link_is_marked(
    show: Callable[..., str], outcome: Outcome, stage: str
) -> None:
    """With what to do next."""
    lines = show({}, outcome=outcome).splitlines()
    (broken,) = [number for number, line in enumerate(lines) if line.endswith(FIRST)]
    assert lines[broken].split()[:2] == ["!!", stage]
    assert lines[broken + 1].strip().startswith("next: ")


def test_who_still_holds_an_older_dsn_is_named(show: Callable[..., str]) -> None:
    """By its fingerprint, whether the process sends by it or holds it."""
    text = show({"holders": (Holder("otlp", OLDER),)}, {"dsn": OLDER})
    assert f"{OLDER}: held by otlp in api pid 1, api pid 2" in text
    assert f"{MINE}, 1 process: " in text


def test_what_was_lost_or_refused_is_counted(show: Callable[..., str]) -> None:
    """Over all live processes; what did not happen is not shown."""
    answer = Answer(MINE, "limited", 429, time_text(NOW - 60), accepted=5, limited=2)
    text = show(
        {"tally": {"dropped": 3, "parked": 0}, "answers": (answer,)},
        {"tally": {"dropped": 1}},
    )
    assert "5 accepted by Sentry, 2 rate limited, 4 dropped\n" in f"{text}\n"


def test_a_library_that_is_too_far_from_the_agent_is_named(
    show: Callable[..., str],
) -> None:
    """More than one minor version."""
    text = show({"library": "0.9.0"}, {})
    assert text.count("too far apart") == 1


# The command


@pytest.fixture
def confirmed(volume: Volume, receipt: Callable[..., Receipt]) -> Volume:
    """A volume whose one process has confirmed."""
    volume.publish(replace(CURRENT, boosts=()))
    proof = receipt(revision="a" * 12, sequence=8)
    folder = f"{volume.directory}/receipts"
    for suffix, body in ((".json", encode_receipt(proof)), (".lock", b"")):
        with open(f"{folder}/{proof.id}{suffix}", "wb") as file:
            file.write(body)
    return volume


@pytest.mark.process
def test_a_copied_volume_tells_what_was(
    command: Any, confirmed: Volume, tmp_path: Path
) -> None:
    """Its processes may be gone: that is not known, so it is no yes (exit code 3)."""
    folder = f"{confirmed.directory}/receipts"
    (name,) = [name for name in os.listdir(folder) if name.endswith(".lock")]
    with open(f"{folder}/{name}", "r+b") as lock:
        assert hold(lock.fileno())
        assert command("status").returncode == 0
        copy = tmp_path / "copy"
        shutil.copytree(confirmed.directory, copy, symlinks=True)
    ran = command("status", "--from-volume", copy)
    assert ran.returncode == 3
    assert "1 target: 1 drained" in ran.stdout
    assert f"unknown: {copy} was read as it stands" in ran.stdout
    ran = command("status", "--from-volume", tmp_path / "nowhere")
    assert ran.returncode == 2


@pytest.mark.process
@pytest.mark.usefixtures("confirmed")
def test_a_wrong_setting_hides_no_status(command: Any) -> None:
    """It is named first, and the exit code is that of wrong settings."""
    wrong = ("--poll-seconds", "often")
    ran = command("status", *wrong)
    assert ran.returncode == 78
    assert ran.stdout.startswith("resentry-agent: --poll-seconds: ")
    assert "aaaaaaaaaaaa" in ran.stdout
    document = json.loads(command("status", "--json", *wrong).stdout)
    assert document["error"]["code"] == "SettingsError"
    assert document["result"]["current"]["revision"] == "a" * 12


@pytest.mark.process
def test_colours_are_for_a_terminal_alone(confirmed: Volume) -> None:
    """NO_COLOR takes them away there, too."""
    for environ, is_coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        main, child = os.openpty()
        subprocess.run(
            [sys.executable, "-m", "agent", "status"],
            env={
                "PATH": os.environ["PATH"],
                "RESENTRY_DIR": confirmed.directory,
                **environ,
            },
            stdout=child,
            check=False,
        )
        os.close(child)
        assert (b"\x1b[" in _read(main)) is is_coloured


def _read(terminal: int) -> bytes:
    parts = []
    try:
        while part := os.read(terminal, 65536):
            parts.append(part)
    except OSError:  # the end
        pass
    os.close(terminal)
    return b"".join(parts)


@pytest.mark.process
def test_watch_goes_on_until_it_is_interrupted(
    confirmed: Volume, command: Any, tmp_path: Path
) -> None:
    """Each look is whole, and no escape is written into a file."""
    file = tmp_path / "shown"
    with file.open("wb") as shown:
        watching = subprocess.Popen(
            [sys.executable, "-m", "agent", "status", "--watch"],
            env={"PATH": os.environ["PATH"], "RESENTRY_DIR": confirmed.directory},
            stdout=shown,
            stderr=subprocess.DEVNULL,
        )
    try:
        looks = lambda: file.read_text().count(" drain ")  # noqa: E731
        eventually(lambda: looks() >= 2, what="a second look")
    finally:
        watching.send_signal(signal.SIGINT)
    assert watching.wait(20) == 130
    assert "\x1b" not in file.read_text()
    assert command("status", "--watch", "--json").returncode == 2


def test_a_boost_is_no_origin_of_a_setting(show: Callable[..., str]) -> None:
    """The operator gave the boost, and the source gave the settings."""
    operator = {"RESENTRY_BOOSTS": {"source": "operator"}}
    current = replace(CURRENT, provenance={**CURRENT.provenance, **operator})
    shown = show(known=Known(current))
    (values,) = [line for line in shown.splitlines() if " values " in line]
    assert values.endswith(" and a boost")
    assert "operator" not in values


def test_a_refusal_that_was_mended_says_so(show: Callable[..., str]) -> None:
    """By the event that ended it."""
    refused = Event(kind="refused", at=time_text(NOW - 60), sentence="a rate of 7")
    assert "mended" not in show(timeline=(refused,))
    better = Event(kind="recovered", at=time_text(NOW - 30), sentence="well")
    assert f"a rate of 7; mended at {better.at}" in show(timeline=(refused, better))


def test_an_own_init_has_one_next_step(
    show: Callable[..., str], receipt: Callable[..., Receipt]
) -> None:
    """To read its log and restart it does not help."""
    own = LiveTarget(receipt(sequence=6, foreign=True), 0)
    text = show(rollout=assess([own], CURRENT, late=True))
    assert "restart the process" not in text
    assert "next: remove sentry_sdk.init" in text


def test_the_tuning_file_is_shown_with_what_is_in_force(
    show: Callable[..., str],
) -> None:
    """Also while its content of now is refused; the problem stands at the top."""
    tuning = {
        "path": "/etc/tuning",
        "state": "in force",
        "watch": "inotify",
        "keys": ["RESENTRY_RULES"],
        "notes": ["other keys ignored: 1"],
        "since": time_text(NOW - 60),
    }
    assert "tuning file" not in show({})
    text = show({}, tuning=tuning)
    assert "tuning file /etc/tuning: in force since" in text
    assert "(60 s ago): RESENTRY_RULES\n" in text
    assert "other keys ignored: 1" in text
    problem = Problem("RESENTRY_TUNING_PATH", "not in force: SENTRY_DSN", "correct it")
    text = show({}, tuning={**tuning, "state": "refused"}, problems=(problem,))
    assert "!!   problem   not in force: SENTRY_DSN" in text
    assert "refused since" in text
    assert ": in force of it: RESENTRY_RULES\n" in text
