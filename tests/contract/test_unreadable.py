"""docs/contract.md: who lives and gives no receipt that can be read is a target."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.process import Process, eventually
from resentry.contract import (
    RECEIPT_LIMIT_BYTES,
    Holder,
    Receipt,
    Snapshot,
    encode_receipt,
)

ID = "0123456789abcdef"
OLDER = "1a2b3c4d5e6f"
"""The fingerprint of a DSN from before."""
LATER_FIELDS = ("tid", "dsn", "holders", "ignored")
"""What the receipts of library 0.1.0 do not have."""

_SILENT = """
import fcntl, signal, sys
lock = open(sys.argv[1], "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("held", flush=True)
signal.pause()
"""

UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def can_unshare() -> bool:
    try:
        done = subprocess.run([*UNSHARE, "true"], check=False, capture_output=True)
    except FileNotFoundError:
        return False
    return done.returncode == 0


Make = Callable[..., Receipt]
Ask = Callable[..., tuple[int, dict[str, Any]]]
Show = Callable[..., str]
Beside = Callable[[bytes | None], Process]


def run(
    directory: Path, *args: str, before: Sequence[str] = (), **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, "-m", "agent", *args],
        env={
            "PATH": os.environ["PATH"],
            "RESENTRY_DIR": str(directory),
            "RESENTRY_CONFIRM_SECONDS": "600",  # nothing is overdue here
            **environ,
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def ask(directory: Path) -> Ask:
    """Run `resentry-agent` with `--json`; return its exit code and the result.

    The result of `wait` stands together with its status.
    """

    def ask(*args: str) -> tuple[int, dict[str, Any]]:
        ran = run(directory, *args, "--json")
        result = json.loads(ran.stdout)["result"]
        return ran.returncode, {**result, **result.get("status", {})}

    return ask


@pytest.fixture
def show(directory: Path) -> Show:
    """Run `resentry-agent`; return what it prints for people."""
    return lambda *args: run(directory, *args).stdout


@pytest.fixture
def beside(receipts: Path, ask: Ask) -> Iterator[Beside]:
    """Start, beside a good target, a process that holds a lock, with this receipt."""
    assert ask("wait", "--drained", "--timeout", "20")[0] == 0
    with ExitStack() as stack:

        def start(body: bytes | None) -> Process:
            if body is not None:
                (receipts / f"{ID}.json").write_bytes(body)
            command = [sys.executable, "-c", _SILENT, str(receipts / f"{ID}.lock")]
            process = stack.enter_context(Process(command))
            eventually(lambda: "held" in process.log_text())
            return process

        yield start


@pytest.fixture
def body(receipt: Make, published: Snapshot) -> Callable[..., bytes]:
    """Make the receipt of a process that runs the published snapshot, and is drained."""

    def make(without: tuple[str, ...] = (), **changed: Any) -> bytes:
        given = receipt(id=ID, revision=published.revision, sequence=published.sequence)
        document = json.loads(encode_receipt(given)) | changed
        return json.dumps(
            {name: value for name, value in document.items() if name not in without}
        ).encode()

    return make


@pytest.mark.process
@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("none", "has not written a receipt"),
        ("100 KiB", "larger than 65,536 bytes"),
        ("schema 2", "has schema 2"),
        ("another id", "differs from its file name"),
        ("half", "not JSON"),
    ],
)
def test_a_live_process_without_a_readable_receipt_waits_and_is_named(
    beside: Beside,
    ask: Ask,
    show: Show,
    body: Callable[..., bytes],
    kind: str,
    problem: str,
) -> None:
    """One good target beside it does not make the whole confirmed, nor drained."""
    bodies = {
        "none": None,
        "100 KiB": body(tally={"x" * 100 * 1024: 1}),
        "schema 2": body(schema=2),
        "another id": body(id="f" * 16),
        "half": body()[:100],
    }
    process = beside(bodies[kind])

    code, found = ask("wait", "--drained", "--timeout", "0")
    (lacking,) = found["lacking"]
    assert (code, bool(found["lacking"])) == (1, True)
    assert lacking.startswith(f"unknown pid {process.pid}: waiting, ")
    assert problem in lacking
    assert ask("wait", "--timeout", "0")[0] == 1

    code, found = ask("status")
    rollout = found["rollout"]
    assert (code, rollout["state"]) == (1, "waiting")
    assert rollout["sentence"] == "2 targets: 1 drained, 1 waiting"
    (row,) = (each for each in rollout["targets"] if each["id"] == ID)
    assert (row["pid"], row["state"], row["revision"]) == (process.pid, "waiting", None)
    assert problem in row["error"]
    assert f"     process   unknown pid {process.pid}  waiting: {row['error']}" in (
        show("status").splitlines()
    )

    process.kill()
    assert ask("wait", "--drained", "--timeout", "20")[0] == 0


@pytest.mark.process
def test_check_names_who_gives_no_readable_receipt(
    beside: Beside, directory: Path, tmp_path: Path
) -> None:
    """And does not advise what helps another problem."""
    process = beside(None)
    (tmp_path / "source").mkdir()
    environ = {"RESENTRY_SOURCE_PATH": str(tmp_path / "source")}
    ran = run(directory, "check", "--json", **environ)
    (row,) = (
        s for s in json.loads(ran.stdout)["result"]["steps"] if s["step"] == "targets"
    )
    assert ran.returncode != 0
    assert f"unknown pid {process.pid}: the process has not" in row["detail"]
    assert "neighbouring versions" in row["hint"]


@pytest.mark.process
@pytest.mark.parametrize("without", [LATER_FIELDS, (*LATER_FIELDS, "watch", "tally")])
def test_a_receipt_of_an_older_library_is_read(
    beside: Beside,
    ask: Ask,
    body: Callable[..., bytes],
    published: Snapshot,
    without: tuple[str, ...],
) -> None:
    """Fields that it lacks have their defaults: it confirms as the others do."""
    beside(body(without=without, library="0.1.0"))
    code, found = ask("wait", "--drained", "--timeout", "0")
    assert (code, found["rollout"]["sentence"]) == (0, "2 targets: 2 drained")
    (row,) = (each for each in found["rollout"]["targets"] if each["id"] == ID)
    assert row["revision"] == published.revision
    assert (row["holders"], row["ignored"], row["notes"]) == ([], [], [])


@pytest.mark.process
def test_a_receipt_of_a_later_library_is_read(
    beside: Beside, ask: Ask, body: Callable[..., bytes]
) -> None:
    """Fields that this agent does not know are skipped."""
    holders = [{"kind": "otlp", "dsn": OLDER, "since": "2026-11-24T06:00:00Z"}]
    beside(body(colour="blue", holders=holders))
    code, found = ask("wait", "--timeout", "0")
    assert (code, found["rollout"]["state"]) == (0, "confirmed")


@pytest.mark.process
def test_a_process_that_still_holds_an_older_dsn_is_not_drained_and_says_who(
    beside: Beside, ask: Ask, show: Show, body: Callable[..., bytes]
) -> None:
    """Also if its phase says so: whoever retires the key now loses data."""
    holder = Holder("otlp", OLDER)
    beside(body(holders=[{"kind": holder.kind, "dsn": holder.dsn}]))
    says = f"otlp still sends by the older DSN {OLDER}"

    code, found = ask("wait", "--drained", "--timeout", "0")
    assert code == 1
    assert found["lacking"] == [f"api pid {os.getpid()}: confirmed, {says}"]
    (row,) = (each for each in found["rollout"]["targets"] if each["id"] == ID)
    assert row["holders"] == [{"kind": "otlp", "dsn": OLDER}]
    assert row["notes"] == [says]
    assert ask("wait", "--timeout", "0")[0] == 0
    assert ask("status")[1]["rollout"]["state"] == "confirmed"
    assert f"\n{'':15}{says}\n" in show("status") + "\n"
    first, second = show("wait", "--timeout", "0").splitlines()
    assert first.endswith(": 2 targets: 2 confirmed, 1 of these drained")
    assert second == f"api pid {os.getpid()}: {says}"


@pytest.mark.process
def test_a_process_says_which_fields_it_ignores(
    beside: Beside, ask: Ask, body: Callable[..., bytes]
) -> None:
    """An older library runs the snapshot without what it cannot honour."""
    beside(body(ignored=["rules.parent"]))
    code, found = ask("status")
    (row,) = (each for each in found["rollout"]["targets"] if each["id"] == ID)
    assert (code, row["ignored"]) == (0, ["rules.parent"])
    assert row["notes"] == [
        "ignores rules.parent: its version of the library is too old"
    ]


@pytest.mark.process
@pytest.mark.skipif(not can_unshare(), reason="no right to make a PID namespace here")
def test_a_silent_process_that_has_no_pid_here_is_named_by_its_id(
    beside: Beside, directory: Path
) -> None:
    """An agent in another PID namespace sees that the lock is held, and not by whom."""
    beside(None)
    ran = run(directory, "status", "--json", before=UNSHARE)
    found = json.loads(ran.stdout)["result"]["rollout"]["targets"]
    (row,) = (each for each in found if each["id"] == ID)
    assert (ran.returncode, row["pid"], row["readable"]) == (1, None, False)
    assert row["name"] == f"unknown target {ID}"


@pytest.mark.process
def test_receipts_that_cannot_be_listed_confirm_nothing(
    directory: Path, ask: Ask, published: Snapshot
) -> None:
    """Unknown is not the same as nobody."""
    (directory / "receipts").rmdir()
    (directory / "receipts").touch()
    code, found = ask("wait", "--timeout", "0")
    assert (code, found["current"]["revision"]) == (1, published.revision)
    assert "Not a directory" in found["rollout"]["sentence"]
    assert "Not a directory" in found["lacking"][-1]


@pytest.mark.slow
def test_a_receipt_is_smaller_than_its_limit_whatever_the_application_does(
    receipt: Make,
) -> None:
    """Its texts and lists are cut."""
    given = receipt(
        error="\U0001f600" * 500_000,
        role="r" * 100_000,
        sdk="\U0001f600" * 100_000,
        origins={f"{n:099}": "\U0001f600" * 10_000 for n in range(1000)},
        tally={f"{n:099}": n for n in range(1000)},
        holders=tuple(Holder("\U0001f600" * 9999, OLDER) for _ in range(1000)),
        ignored=tuple(f"rules.{n:099}" for n in range(1000)),
    )
    assert len(encode_receipt(given)) < RECEIPT_LIMIT_BYTES
