"""docs/contract.md, "The receipts" and "The signal", and the exit codes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import errors
from agent.confirm.receipts import Receipts
from agent.domain.rollout import LiveTarget, assess
from agent.domain.value import replace
from agent.notify.signal import Signals
from lab.process import Process, eventually
from resentry.contract import Receipt, Snapshot, signal_number

Make = Callable[..., Receipt]

FIELDS = {
    "schema",
    "id",
    "role",
    "pid",
    "pidns",
    "start_time",
    "parent",
    "revision",
    "sequence",
    "phase",
    "since",
    "swap_ms",
    "refused",
    "error",
    "signal",
    "tid",
    "watch",
    "tally",
    "origins",
    "dsn",
    "holders",
    "ignored",
    "answers",
    "problems",
    "values",
    "foreign",
    "sdk",
    "library",
    "dropped",
    "budgets",
}

_REGISTERED = """
import signal, sys
from lab.signalled import hear
from resentry.contract import Receipt
from resentry.receipt_file import Identity, ReceiptFile
number, me = signal.SIGRTMIN + 6, Identity()
tid = hear(number, lambda: print("heard", flush=True))
given = Receipt(id=me.id, role="api", pid=me.pid, pidns=me.pidns,
                start_time=me.start_time, signal=number, tid=tid)
file = ReceiptFile(sys.argv[1], me)
file.give(given)
print("ready", flush=True)
signal.signal(number, lambda *_: print("the main thread noticed", flush=True))
while True:
    signal.pause()
    print("the main thread noticed", flush=True)
"""


@pytest.mark.process
def test_a_process_gives_one_receipt_and_one_lock(receipts: Path) -> None:
    """Both are named after the target's random id: sixteen hexadecimal digits."""
    names = sorted(path.name for path in receipts.iterdir())
    assert len(names) == 2
    target = names[0].removesuffix(".json")
    assert names == [f"{target}.json", f"{target}.lock"]
    assert len(target) == 16
    assert set(target) <= set("0123456789abcdef")


@pytest.mark.process
def test_a_receipt_has_the_documented_fields(
    receipts: Path, app: Any, published: Snapshot
) -> None:
    """Who, what runs there since when, and where each value came from."""
    (path,) = receipts.glob("*.json")
    found = json.loads(path.read_bytes())
    assert found.keys() >= FIELDS
    assert (found["schema"], found["role"], found["pid"]) == (1, "celery", app.pid)
    assert (found["revision"], found["sequence"]) == (published.revision, 1)
    assert (found["phase"], found["error"], found["refused"]) == ("drained", None, None)
    assert found["pidns"] == os.stat("/proc/self/ns/pid").st_ino
    assert found["start_time"] > 0
    assert found["signal"] == signal.SIGRTMIN + 6
    assert found["origins"]["SENTRY_TRACES_SAMPLE_RATE"] == "role"
    assert found["origins"]["SENTRY_DSN"] == "snapshot"
    assert found["values"].keys() == found["origins"].keys() - {"SENTRY_DSN"}
    assert (found["foreign"], found["problems"], found["answers"]) == (False, [], [])


@pytest.mark.process
def test_a_receipt_holds_no_secret(receipts: Path) -> None:
    """Neither DSN nor key stands in it."""
    (path,) = receipts.glob("*.json")
    assert "c0ffee" not in path.read_text()


@pytest.mark.process
def test_a_target_whose_lock_is_free_is_dead(receipts: Path, app: Any) -> None:
    """It is not counted, and the agent removes its files."""
    reader = Receipts(str(receipts), tidy=True)
    assert [app.pid] == [target.receipt.pid for target in reader.read()]
    app.kill()
    app.wait()
    assert reader.read() == []
    assert list(receipts.iterdir()) == []


@pytest.mark.process
def test_a_newcomer_removes_what_the_dead_left(
    receipts: Path, app: Any, start_app: Callable[..., Any]
) -> None:
    """Of its own user, so that the directory does not grow without an agent."""
    app.kill()
    app.wait()
    dead = set(os.listdir(receipts))
    start_app()
    eventually(
        lambda: len(found := set(os.listdir(receipts))) == 2 and not found & dead
    )


def test_no_receipt_at_all_is_waiting(published: Snapshot) -> None:
    """Silence is never taken for a confirmation, however late it is."""
    for late in (False, True):
        assert assess([], published, late=late).state == "waiting"


@pytest.mark.parametrize(
    ("revision", "sequence", "expected"),
    [("same", 1, "drained"), ("same", 2, "waiting"), ("0" * 12, 1, "waiting")],
)
def test_confirmed_is_exactly_this_revision_and_sequence(
    published: Snapshot,
    receipt: Make,
    revision: str,
    sequence: int,
    expected: str,
) -> None:
    """An old content that comes back has to be confirmed anew."""
    named = published.revision if revision == "same" else revision
    target = LiveTarget(receipt(revision=named, sequence=sequence), 0)
    assert expected == assess([target], published, late=False).state


def test_one_target_that_is_behind_keeps_all_from_being_confirmed(
    published: Snapshot, receipt: Make
) -> None:
    """Every live target has to give its receipt."""
    runs = receipt(revision=published.revision, sequence=published.sequence)
    targets = [LiveTarget(runs, 0), LiveTarget(receipt(), 0)]
    assert assess(targets, published, late=False).state == "waiting"


def test_a_target_that_could_not_apply_it_is_refused(
    published: Snapshot, receipt: Make
) -> None:
    """It names the snapshot and why, and keeps what it ran."""
    refused = (published.revision, published.sequence)
    target = LiveTarget(receipt(refused=refused, error="why"), 0)
    assert assess([target], published, late=False).state == "refused"


def test_the_signal_is_sigrtmin_6_unless_set() -> None:
    """Another real-time signal can be chosen, or none."""
    assert signal_number("") == signal.SIGRTMIN + 6
    assert signal_number("SIGRTMIN+9") == signal.SIGRTMIN + 9
    assert signal_number("off") is None
    for other in ("SIGHUP", "SIGUSR1", "SIGTERM", "40"):
        with pytest.raises(ValueError, match="SIGRTMIN"):
            signal_number(other)


@pytest.fixture
def listener(directory: Path) -> Iterator[Process]:
    """A target that registered a thread for the signal."""
    command = [sys.executable, "-c", _REGISTERED, str(directory / "receipts")]
    with Process(command) as process:
        eventually(lambda: "ready" in process.log_text())
        yield process


@pytest.mark.process
@pytest.mark.usefixtures("published")
def test_the_signal_reaches_a_thread_that_registered(
    listener: Process, directory: Path
) -> None:
    """Its receipt names signal and thread; nothing else in the process notices."""
    targets = Receipts(f"{directory}/receipts").read()
    assert list(Signals().notify(targets).values()) == ["sent"]
    eventually(lambda: "heard" in listener.log_text())
    assert listener.alive
    assert "noticed" not in listener.log_text()


@pytest.mark.process
@pytest.mark.parametrize(
    "changed",
    [
        {"signal": None},
        {"tid": None},
        {"signal": signal.SIGTERM},
        {"start_time": 1},
        {"pidns": 1},
        {"tid": 0},
    ],
    ids=[
        "not registered",
        "no thread",
        "not real-time",
        "another process",
        "another namespace",
        "does not block it",
    ],
)
@pytest.mark.usefixtures("published")
def test_the_signal_is_sent_to_nobody_else(
    listener: Process, directory: Path, changed: dict[str, Any]
) -> None:
    """Whatever differs from what is registered, nothing is sent."""
    (target,) = Receipts(f"{directory}/receipts").read()
    if changed.get("tid") == 0:
        changed = {"tid": listener.pid}  # the main thread, which does not block it
    other = replace(target, receipt=target.receipt._replace(**changed))
    assert "sent" not in Signals().notify([other]).values()
    assert listener.alive
    assert listener.log_text() == "ready\n"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("CandidateRefused", 65),
        ("SourceMissing", 66),
        ("SourceDown", 69),
        ("AgentError", 70),
        ("RollbackHeld", 71),
        ("SourceStale", 72),
        ("CandidateWaits", 73),
        ("PublishError", 74),
        ("VolumeBusy", 75),
        ("SourceDenied", 77),
        ("SettingsError", 78),
    ],
)
def test_the_exit_code_of_each_error_never_changes(name: str, code: int) -> None:
    """Scripts rely on them."""
    assert code == getattr(errors, name).exit_code


@pytest.mark.process
@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["status"], 1),
        (["--help"], 0),
        (["no-such-command"], 2),
        (["once"], 78),
    ],
    ids=["the answer is no", "done", "usage", "settings"],
)
def test_the_exit_code_says_what_happened(
    tmp_path: Path, args: list[str], expected: int
) -> None:
    """0 done or yes, 1 the answer is no, 2 usage, else the error's class."""
    ran = subprocess.run(
        [sys.executable, "-m", "agent", *args],
        env={"PATH": os.environ["PATH"], "RESENTRY_DIR": str(tmp_path / "volume")},
        capture_output=True,
        check=False,
    )
    assert expected == ran.returncode
