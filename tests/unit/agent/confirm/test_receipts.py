"""Who lives, and what runs there: nothing in the directory is trusted."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from living import held

from agent.confirm import receipts as receipts_module
from agent.confirm.receipts import Receipts, Seen
from agent.observe import document
from resentry.answers import Answer
from resentry.contract import RECEIPT_LIMIT_BYTES, Receipt, Snapshot, encode_receipt
from resentry.receipt import Holder
from resentry.verification import Sent, Verified

ID = "0123456789abcdef"
OTHER = "fedcba9876543210"

Hold = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """Let another process hold the locks of these targets."""
    with ExitStack() as stack:

        def start(*ids: str) -> subprocess.Popen[bytes]:
            locks = (tmp_path / f"{each}.lock" for each in ids)
            return stack.enter_context(held(*locks))

        yield start


@pytest.fixture
def write(tmp_path: Path, receipt: Callable[..., Receipt]) -> Callable[..., Path]:
    """Write a target's receipt file: a good one, or these bytes."""

    def write(name: str = ID, body: bytes | None = None, **values: Any) -> Path:
        path = tmp_path / f"{name}.json"
        good = encode_receipt(receipt(**{"id": name, **values}))
        path.write_bytes(good if body is None else body)
        return path

    return write


def ids(directory: Path, *, tidy: bool = False) -> list[str]:
    found = Receipts(str(directory), tidy=tidy).read()
    return sorted(target.receipt.id for target in found)


def problem(directory: Path) -> str:
    """Return what is said of the one target without a readable receipt."""
    (found,) = (
        each for each in Receipts(str(directory), tidy=True).read() if not each.readable
    )
    assert found.receipt.id == ID
    return str(found.receipt.error)


@pytest.mark.process
def test_a_live_target_is_read(
    tmp_path: Path, hold: Hold, write: Callable[..., Path]
) -> None:
    """Its receipt comes with the owner of the file."""
    hold(ID)
    write(role="celery", sequence=3)
    found = Receipts(str(tmp_path)).read()
    assert [
        (each.receipt.id, each.receipt.role, each.receipt.sequence) for each in found
    ] == [(ID, "celery", 3)]
    assert (os.geteuid(), False) == (found[0].uid, found[0].main)


@pytest.mark.process
def test_a_process_with_live_children_is_a_main_one(
    tmp_path: Path, hold: Hold, write: Callable[..., Path]
) -> None:
    """Whoever others were forked from is marked, so that only workers count."""
    hold(ID, OTHER)
    write()
    write(OTHER, parent=ID)
    found = {each.receipt.id: each.main for each in Receipts(str(tmp_path)).read()}
    assert found == {ID: True, OTHER: False}


@pytest.mark.process
@pytest.mark.parametrize("tidy", [False, True])
def test_a_dead_target_does_not_count(
    tmp_path: Path, hold: Hold, write: Callable[..., Path], *, tidy: bool
) -> None:
    """The kernel frees its lock; the agent alone removes what it left."""
    process = hold(ID)
    write()
    assert ids(tmp_path, tidy=tidy) == [ID]
    process.kill()
    process.communicate()
    assert ids(tmp_path, tidy=tidy) == []
    assert (0 if tidy else 2) == len(list(tmp_path.iterdir()))


def test_a_receipt_without_a_lock_does_not_count(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    """Anybody can write a file; only a living process holds a lock."""
    write()
    assert ids(tmp_path, tidy=True) == []


def _bad_bodies() -> dict[str, tuple[bytes, str]]:
    good = json.loads(
        encode_receipt(Receipt(id=ID, role="api", pid=1, pidns=1, start_time=1))
    )
    return {
        "empty": (b"", "not JSON"),
        "half": (b'{"schema": 1, "id": "0123', "not JSON"),
        "no object": (b"[]", "not a JSON object"),
        "nested": (b"[" * 60_000, "not JSON"),
        "huge": (b" " * (RECEIPT_LIMIT_BYTES + 1), "larger than 65,536 bytes"),
        "schema": (json.dumps(good | {"schema": 2}).encode(), "has schema 2"),
        "other id": (
            json.dumps(good | {"id": OTHER}).encode(),
            "differs from its file name",
        ),
        "wrong type": (json.dumps(good | {"sequence": "1"}).encode(), "sequence"),
        "surrogate": (
            json.dumps(good | {"role": "\ud800"}).encode(),
            "an invalid text or number",
        ),
        "not text": (b"\xff\xfe", "not JSON"),
    }


@pytest.mark.process
@pytest.mark.parametrize("kind", _bad_bodies())
def test_a_live_target_with_an_odd_receipt_waits_and_says_why(
    tmp_path: Path, hold: Hold, write: Callable[..., Path], kind: str
) -> None:
    """Half, huge, forged or foreign: it counts, and its files stay."""
    process = hold(ID, OTHER)
    body, expected = _bad_bodies()[kind]
    path = write(body=body)
    write(OTHER)
    assert ids(tmp_path, tidy=True) == [ID, OTHER]
    assert expected in problem(tmp_path)
    (found,) = (one for one in Receipts(str(tmp_path)).read() if not one.readable)
    assert found.name == f"unknown pid {process.pid}"
    assert path.exists()


@pytest.mark.process
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("symlink", "the receipt is a symbolic link"),
        ("fifo", "the receipt is not a regular file"),
        ("directory", "the receipt is not a regular file"),
        (
            "missing",
            "the process has not written a receipt; its lock file shows that it lives",
        ),
    ],
)
def test_only_a_regular_file_is_a_receipt(
    tmp_path: Path, hold: Hold, write: Callable[..., Path], kind: str, expected: str
) -> None:
    """No link is followed, and a fifo does not keep the agent waiting."""
    hold(ID, OTHER)
    write(OTHER)
    path = write()
    path.rename(tmp_path / "elsewhere")
    if kind == "symlink":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    assert ids(tmp_path, tidy=True) == [ID, OTHER]
    assert problem(tmp_path) == expected


@pytest.mark.process
def test_who_ends_while_its_receipt_is_read_is_no_target(
    tmp_path: Path,
    hold: Hold,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes its receipt with it, between two questions of the agent."""
    process, path = hold(ID), write()
    real = receipts_module._read_body

    def read_late(directory: int, target: str) -> tuple[bytes, int]:
        process.kill()
        process.communicate()
        path.unlink()
        return real(directory, target)

    monkeypatch.setattr(receipts_module, "_read_body", read_late)
    assert ids(tmp_path) == []


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "unlocked"])
def test_a_lock_that_is_none_makes_no_target(
    tmp_path: Path, write: Callable[..., Path], kind: str
) -> None:
    """A link to a held lock, a fifo, a directory: none proves a life."""
    lock = tmp_path / f"{ID}.lock"
    write()
    if kind == "symlink":
        lock.symlink_to("/dev/null")
    elif kind == "fifo":
        os.mkfifo(lock)
    elif kind == "directory":
        lock.mkdir()
    else:
        lock.touch()
    assert ids(tmp_path) == []


@pytest.mark.process
def test_a_link_to_another_s_held_lock_proves_no_life(
    tmp_path: Path, hold: Hold, write: Callable[..., Path]
) -> None:
    """Who links to somebody else's lock is not taken for alive twice."""
    hold(ID)
    write()
    (tmp_path / f"{OTHER}.lock").symlink_to(tmp_path / f"{ID}.lock")
    assert ids(tmp_path) == [ID]


@pytest.mark.process
@pytest.mark.parametrize(
    "name",
    [
        "0123456789abcde",
        "0123456789abcdef0",
        "0123456789ABCDEF",
        "..data",
        "0123456789abcdef.1a2b3c4d",
        "0123456789abcde\n",
    ],
)
def test_a_forged_name_is_ignored(
    tmp_path: Path, hold: Hold, write: Callable[..., Path], name: str
) -> None:
    """Only sixteen hexadecimal digits name a target; other names are nobody's."""
    hold(name)
    write(name)
    assert ids(tmp_path, tidy=True) == []


@pytest.mark.process
def test_stale_scraps_go_and_fresh_ones_stay(
    tmp_path: Path, hold: Hold, write: Callable[..., Path]
) -> None:
    """A temporary file that nobody can still be writing is removed, once it is old."""
    hold(OTHER)
    write(OTHER)
    old = [write("1" * 16), tmp_path / f"{'2' * 16}..1a2b3c4d.tmp"]
    live = [tmp_path / f"{OTHER}..1a2b3c4d.tmp"]
    foreign = [tmp_path / "notes.txt"]
    fresh = [write("3" * 16), tmp_path / f"{'4' * 16}..1a2b3c4d.tmp"]
    for path in (*old, *live, *foreign, *fresh):
        path.touch()
    hour = time.time() - 3600
    for path in (*old, *live, *foreign):
        os.utime(path, (hour, hour))
    assert ids(tmp_path) == [OTHER]
    assert all(path.exists() for path in (*old, *live, *foreign, *fresh))
    assert ids(tmp_path, tidy=True) == [OTHER]
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in (*live, *foreign, *fresh))


def test_a_link_is_removed_and_not_what_it_points_at(tmp_path: Path) -> None:
    """Tidying up cannot be led out of the directory."""
    receipts, outside = tmp_path / "receipts", tmp_path / "outside"
    receipts.mkdir()
    outside.write_text("precious")
    link = receipts / f"{ID}.json"
    link.symlink_to(outside)
    (receipts / f"{ID}.lock").touch()
    assert ids(receipts, tidy=True) == []
    assert list(receipts.iterdir()) == []
    assert outside.read_text() == "precious"


def test_without_a_directory_there_is_no_target(tmp_path: Path) -> None:
    """No receipts yet is no error: nobody can have given one."""
    assert Receipts(str(tmp_path / "receipts"), tidy=True).look() == Seen([])


def test_a_directory_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    """Who is there is unknown, and why is said."""
    path = tmp_path / "receipts"
    path.touch()
    seen = Receipts(str(path), tidy=True).look()
    assert seen.unknown == f"cannot read the receipts in {path}: Not a directory"


@pytest.mark.process
def test_more_files_than_are_looked_at_leave_the_rest_unknown(
    tmp_path: Path,
    hold: Hold,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What dead targets left goes away all the same, so the agent recovers."""
    monkeypatch.setattr(receipts_module, "FILES_LIMIT", 6)
    hold(ID)
    write()
    for number in range(10):
        (tmp_path / f"{number:016}.lock").touch()
    reader = Receipts(str(tmp_path), tidy=True)
    assert reader.look().unknown == (
        f"{tmp_path} holds more than 6 files: not all receipts were read"
    )
    while reader.look().unknown:
        """Each look removes some."""
    assert ids(tmp_path) == [ID]


@pytest.mark.process
@pytest.mark.parametrize(
    "limit",
    [
        ("TARGETS_LIMIT", 1, "holds more than 1 live processes"),
        ("TOTAL_BYTES", 800, "holds more than 800 bytes of receipts"),
    ],
)
def test_a_limit_never_confirms_what_was_not_read(
    tmp_path: Path,
    hold: Hold,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    limit: tuple[str, int, str],
) -> None:
    """The rest may run anything, and the rollout says so."""
    name, number, says = limit
    monkeypatch.setattr(receipts_module, name, number)
    hold(ID, OTHER)
    write(revision="3f9a1c2b7d04", sequence=1)
    write(OTHER, revision="3f9a1c2b7d04", sequence=1)
    current = Snapshot(revision="3f9a1c2b7d04", sequence=1, settings={})
    rollout = Receipts(str(tmp_path)).rollout(current, {}, late=False)
    assert rollout.state == "waiting"
    assert len(rollout.targets) == 1
    assert rollout.unknown == f"{tmp_path} {says}: not all receipts were read"


@pytest.mark.process
@pytest.mark.parametrize(
    "forged",
    [
        {"revision": "3f9a1c2b7d04  confirmed"},
        {"revision": "\x1b[2J"},
        {"refused": ("api pid 1", 1)},
    ],
)
def test_a_forged_revision_is_no_revision(
    tmp_path: Path, hold: Hold, write: Callable[..., Path], forged: dict[str, Any]
) -> None:
    """It would stand in a row of `status`."""
    hold(ID)
    write(**forged)
    assert problem(tmp_path) == "the receipt's revision is not valid"


@pytest.mark.process
def test_a_forged_time_is_not_shown(
    tmp_path: Path, hold: Hold, write: Callable[..., Path]
) -> None:
    """A good one is shown as it stands."""
    hold(ID)
    for text, shown in (
        ("2026-11-24T06:00:00.000Z", "2026-11-24T06:00:00.000Z"),
        ("now  celery pid 7  confirmed", ""),
    ):
        write(since=text)
        (target,) = Receipts(str(tmp_path)).read()
        assert target.receipt.since == shown


@pytest.mark.process
def test_what_the_agent_does_not_need_is_not_kept(
    tmp_path: Path, hold: Hold, write: Callable[..., Path]
) -> None:
    """A stranger's receipt may be full of it."""
    hold(ID)
    write(tally={"a": 1}, origins={"b": "c"})
    (target,) = Receipts(str(tmp_path)).read()
    assert (target.receipt.tally, target.receipt.origins) == ({}, {})


@pytest.mark.process
def test_reading_a_thousand_times_leaks_no_descriptor(
    tmp_path: Path, hold: Hold, write: Callable[..., Path]
) -> None:
    """The agent reads each second, for months."""
    hold(ID, OTHER)
    write()
    write(OTHER, body=b"{")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        Receipts(str(tmp_path)).read()
    assert before == len(os.listdir("/proc/self/fd"))


@pytest.mark.process
@pytest.mark.parametrize("step", [-86400, 86400])
def test_a_clock_that_is_set_changes_nothing(
    tmp_path: Path,
    hold: Hold,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    """Locks say who lives, and they know no time."""
    hold(ID, OTHER)
    write()
    write(OTHER)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + step)
    assert ids(tmp_path, tidy=True) == [ID, OTHER]
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("blocks", "free", "files", "inodes", "full"),
    [
        (1000, 2, 1000, 10, False),
        (1000, 1, 1000, 10, True),
        (1000, 500, 1000, 0, True),
        (1000, 500, 0, 0, False),
        (0, 0, 0, 0, False),
    ],
)
def test_a_file_system_that_does_not_count_is_not_full(  # noqa: PLR0913 - a row
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    blocks: int,
    free: int,
    files: int,
    inodes: int,
    *,
    full: bool,
) -> None:
    """Room for one receipt and its lock is enough; 0 of 0 is no answer.

    `os.statvfs` is replaced because no file system here counts like that.
    """
    said = os.statvfs_result(
        (4096, 4096, blocks, free, free, files, inodes, inodes, 0, 255)
    )
    monkeypatch.setattr(os, "statvfs", lambda _path: said)
    rollout = Receipts(str(tmp_path)).rollout(None, {}, late=False)
    assert bool(rollout.obstacle) == full


KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
DSN = f"https://{KEY}@sentry.example.org/42"


@pytest.mark.process
def test_no_text_of_a_receipt_shows_a_secret(
    tmp_path: Path, hold: Hold, write: Callable[..., Path]
) -> None:
    """A process may put anything there. Status, log, metrics and doctor repeat it."""
    hold(ID)
    write(
        **dict.fromkeys(("phase", "error", "watch", "sdk", "library", "parent"), DSN),
        holders=(Holder(DSN, "a" * 12),),
        ignored=(DSN,),
        problems=(f"it said {DSN}",),
        values={"SENTRY_RELEASE": DSN, DSN: 1},
        answers=(Answer("a" * 12, DSN, 200, DSN, DSN),),
        verified=Verified("0" * 12, DSN, (Sent(DSN, DSN, DSN),)),
    )
    (target,) = Receipts(str(tmp_path)).read()
    assert target.readable, target.receipt.error
    assert KEY not in repr(target)
    assert type(target.receipt.answers[0]) is Answer
    assert target.receipt.problems == ("it said https://…@sentry.example.org/42",)
    # What has no secret stays as it is
    write(values={"SENTRY_RELEASE": "1.0.0"}, answers=(Answer("a" * 12, "a", 1, ""),))
    (target,) = Receipts(str(tmp_path)).read()
    assert target.receipt.values == {"SENTRY_RELEASE": "1.0.0"}


@pytest.mark.process
@pytest.mark.parametrize(
    "forged",
    [
        {"dsn": KEY},
        {"holders": (Holder("otlp", KEY),)},
        {"answers": (Answer(KEY, "accepted", 200, ""),)},
    ],
    ids=lambda forged: next(iter(forged)),
)
def test_a_dsn_is_named_by_its_fingerprint_alone(
    tmp_path: Path, hold: Hold, write: Callable[..., Path], forged: dict[str, Any]
) -> None:
    """The key of a DSN has no form by which it could be masked."""
    hold(ID)
    write(**forged)
    assert "fingerprint" in problem(tmp_path)


LONG = 10**400


@pytest.mark.process
@pytest.mark.parametrize(
    "forged",
    [
        *({name: LONG} for name in ("pid", "sequence", "start_time", "tid", "swap_ms")),
        *({"pid": number} for number in (-1, 2**31)),
        {"refused": ("a" * 12, LONG)},
        {"values": {"SENTRY_SAMPLE_RATE": LONG}},
        {"answers": (Answer("a" * 12, "accepted", LONG, "", "", LONG),)},
        {"verified": Verified("0" * 12, "asked", (Sent("a", "b", "", LONG, LONG),))},
        {"swap_ms": -1.0},
        {"tally": {"parked": -1}},
        {"answers": (Answer("a" * 12, "accepted", 200, "", "", -1),)},
    ],
    ids=lambda forged: repr(forged).replace(str(LONG), "LONG"),
)
def test_a_number_that_no_system_has_is_no_receipt(
    tmp_path: Path, hold: Hold, write: Callable[..., Path], forged: dict[str, Any]
) -> None:
    """It could not be shown as JSON, or be a metric: one process would end `status`."""
    hold(ID)
    write(**forged)
    targets = Receipts(str(tmp_path)).rollout(None, {}, late=False)
    shown = document.status("running", None, targets, {})
    assert msgspec.json.encode(shown)
    assert problem(tmp_path).startswith("the receipt")


@pytest.mark.process
def test_a_receipt_is_taken_apart_once(
    tmp_path: Path,
    hold: Hold,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its bytes decide. What a look no longer finds is forgotten."""
    decoded: list[str] = []
    decode = receipts_module._decode

    def note(body: bytes, target: str) -> Receipt:
        decoded.append(target)
        return decode(body, target)

    monkeypatch.setattr(receipts_module, "_decode", note)
    hold(ID)
    write(revision="3f9a1c2b7d04", sequence=1)
    receipts = Receipts(str(tmp_path))
    first, second = receipts.read(), receipts.read()
    assert second[0].receipt is first[0].receipt
    assert decoded == [ID]
    path = write(revision="3f9a1c2b7d04", sequence=2)
    assert receipts.read()[0].receipt.sequence == 2
    body = path.read_bytes()
    path.unlink()
    assert not receipts.read()[0].readable
    path.write_bytes(body)
    assert receipts.read()[0].receipt.sequence == 2
    assert decoded == [ID] * 3
