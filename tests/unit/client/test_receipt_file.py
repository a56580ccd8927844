"""A process's receipt, and the lock that proves that the process lives."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resentry.contract import Receipt, decode_receipt
from resentry.process import Home
from resentry.receipt_file import Identity, ReceiptFile, start_time

_ASK = "import sys, os; from resentry.locks import is_held; print(is_held(os.open(sys.argv[1], 0)))"


def held(path: Path) -> bool:
    """Tell whether another process sees the lock as held."""
    asked = [sys.executable, "-c", _ASK, str(path)]
    return subprocess.run(asked, capture_output=True, check=True).stdout == b"True\n"


def receipt_of(identity: Identity, **more: Any) -> Receipt:
    return Receipt(
        id=identity.id,
        role="api",
        pid=identity.pid,
        pidns=identity.pidns,
        start_time=identity.start_time,
        **more,
    )


@pytest.fixture
def me() -> Identity:
    return Identity()


@pytest.mark.process
def test_a_receipt_is_given_and_its_lock_held(tmp_path: Path, me: Identity) -> None:
    """The file reads as it was written, and another process sees the lock."""
    file = ReceiptFile(str(tmp_path), me)
    given = receipt_of(me, revision="0" * 12, sequence=1)
    file.give(given)
    assert given == decode_receipt((tmp_path / f"{me.id}.json").read_bytes())
    assert held(tmp_path / f"{me.id}.lock")
    file.withdraw()


@pytest.mark.process
def test_a_new_receipt_replaces_the_old_one_under_the_same_lock(
    tmp_path: Path, me: Identity
) -> None:
    """The lock is opened once: opening it again and closing it would drop it."""
    file, path = ReceiptFile(str(tmp_path), me), tmp_path / f"{me.id}.json"
    given = receipt_of(me, sequence=1)
    file.give(given)
    inodes = [path.stat().st_ino, (tmp_path / f"{me.id}.lock").stat().st_ino]
    file.give(given._replace(sequence=2))
    assert decode_receipt(path.read_bytes()).sequence == 2
    assert inodes[0] != path.stat().st_ino
    assert inodes[1] == (tmp_path / f"{me.id}.lock").stat().st_ino
    assert held(tmp_path / f"{me.id}.lock")
    file.withdraw()


def test_an_equal_receipt_is_not_written_again(tmp_path: Path, me: Identity) -> None:
    """A second look that finds nothing new costs no write."""
    file, path = ReceiptFile(str(tmp_path), me), tmp_path / f"{me.id}.json"
    file.give(receipt_of(me))
    inode = path.stat().st_ino
    file.give(receipt_of(me))
    assert inode == path.stat().st_ino
    file.withdraw()


def test_the_agent_in_the_group_can_read_whatever_the_umask(
    tmp_path: Path, me: Identity
) -> None:
    """An application with a umask of 077 still gives a receipt that counts."""
    file = ReceiptFile(str(tmp_path), me)
    before = os.umask(0o077)
    try:
        file.give(receipt_of(me))
    finally:
        os.umask(before)
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {".json": 0o640, ".lock": 0o640}
    file.withdraw()


def test_a_withdrawn_receipt_leaves_nothing(tmp_path: Path, me: Identity) -> None:
    """A target that ends by itself removes receipt and lock."""
    file = ReceiptFile(str(tmp_path), me)
    file.give(receipt_of(me))
    file.withdraw()
    assert list(tmp_path.iterdir()) == []


def test_a_receipt_waits_for_its_directory(tmp_path: Path, me: Identity) -> None:
    """A target that is earlier than the agent tries again, and then gives it."""
    directory = tmp_path / "receipts"
    file = ReceiptFile(str(directory), me)
    with pytest.raises(FileNotFoundError):
        file.give(receipt_of(me))
    directory.mkdir()
    file.give(receipt_of(me))
    assert {f"{me.id}.json", f"{me.id}.lock"} == set(os.listdir(directory))
    file.withdraw()


def test_a_receipt_that_cannot_be_written_leaves_no_scraps(
    tmp_path: Path, me: Identity
) -> None:
    """A name that is taken by a directory is an error, and nothing is left."""
    (tmp_path / f"{me.id}.json").mkdir()
    file = ReceiptFile(str(tmp_path), me)
    with pytest.raises(IsADirectoryError):
        file.give(receipt_of(me))
    assert {f"{me.id}.json", f"{me.id}.lock"} == set(os.listdir(tmp_path))
    file.withdraw()


@pytest.mark.process
def test_a_child_s_end_leaves_the_parent_s_lock(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    """A forked child that forgets the receipt takes neither lock nor file away."""
    ran = run(
        """
        import subprocess, sys
        from resentry.contract import Receipt
        from resentry.receipt_file import Identity, ReceiptFile

        directory, ask = os.environ["DIRECTORY"], os.environ["ASK"]
        me = Identity()
        file = ReceiptFile(directory, me)
        file.give(Receipt(id=me.id, role="api", pid=me.pid, pidns=0, start_time=0))
        child = os.fork()
        if child == 0:
            file.forget()
            os._exit(0)
        os.waitpid(child, 0)
        lock = f"{directory}/{me.id}.lock"
        asked = [sys.executable, "-c", ask, lock]
        held = subprocess.run(asked, capture_output=True).stdout.decode().strip()
        say(held=held, files=len(os.listdir(directory)))
        """,
        DIRECTORY=str(tmp_path),
        ASK=_ASK,
    )
    assert ran.said == {"held": "True", "files": 2}


def test_a_process_is_known_by_pid_and_start_time() -> None:
    """Two identities of one process differ in their random id alone."""
    home = Home(parent=Home())
    one, two = Identity(), Identity(home)
    assert one.id != two.id
    assert (one.pid, one.pidns, one.start_time) == (two.pid, two.pidns, two.start_time)
    assert one.start_time > 0
    assert (one.parent, two.parent, two.id) == (None, home.parent, home.id)


@pytest.mark.process
def test_the_start_time_is_read_behind_any_name(tmp_path: Path) -> None:
    """A command whose name holds spaces and brackets does not shift the fields."""
    command = tmp_path / "a) b (c"
    command.symlink_to("/bin/sleep")
    with subprocess.Popen([command, "30"]) as child:
        started = start_time(child.pid)
        child.kill()
    assert 0 <= started - start_time(os.getpid()) < 10_000_000


def test_a_dead_process_has_no_start_time() -> None:
    """Where /proc has no such process the answer is 0."""
    assert start_time(2**22 + 1) == 0


_TARGET = """
import fcntl, os, sys
from resentry.contract import Receipt
from resentry.receipt_file import Identity, ReceiptFile
if len(sys.argv) > 2:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
me = Identity()
file = ReceiptFile(sys.argv[1], me)
file.give(Receipt(id=me.id, role="api", pid=me.pid, pidns=0, start_time=0))
print(me.id, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def target(directory: Path, *options: str) -> Iterator[str]:
    """Another process with a receipt; at the end it is killed, and its files stay."""
    with subprocess.Popen(
        [sys.executable, "-c", _TARGET, str(directory), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.kill()


def files_of(*ids: str) -> set[str]:
    return {f"{each}{suffix}" for each in ids for suffix in (".json", ".lock")}


@pytest.mark.process
def test_a_newcomer_removes_what_dead_targets_left(
    tmp_path: Path, me: Identity
) -> None:
    """The living keep receipt and lock; so without an agent the directory stays small."""
    with target(tmp_path) as dead:
        pass
    (tmp_path / f"{dead}.0a1b2c3d.tmp").touch()
    file = ReceiptFile(str(tmp_path), me)
    with target(tmp_path) as living:
        assert files_of(living) == set(os.listdir(tmp_path))
        file.give(receipt_of(me))
        assert files_of(living, me.id) == set(os.listdir(tmp_path))
        assert held(tmp_path / f"{living}.lock")
        assert held(tmp_path / f"{me.id}.lock")
    file.withdraw()


@pytest.mark.process
def test_only_a_newcomer_looks_at_the_others(tmp_path: Path, me: Identity) -> None:
    """A process that has a lock opens no lock again, or it could lose its own."""
    file = ReceiptFile(str(tmp_path), me)
    file.give(receipt_of(me))
    with target(tmp_path) as dead:
        pass
    file.give(receipt_of(me, sequence=2))
    assert files_of(dead, me.id) == set(os.listdir(tmp_path))
    assert held(tmp_path / f"{me.id}.lock")
    file.withdraw()


def test_a_newcomer_removes_scraps_only_when_they_are_old(
    tmp_path: Path, me: Identity
) -> None:
    """Somebody may just be giving the first receipt; other names are nobody's."""
    old, fresh = "1" * 16, "2" * 16
    hour = time.time() - 3600
    others = ["notes.txt", "0123.json", "x" * 16 + ".lock"]
    for name in (f"{old}.0a1b2c3d.tmp", f"{old}.json", *others):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (hour, hour))
    for name in (f"{fresh}.0a1b2c3d.tmp", f"{fresh}.json"):
        (tmp_path / name).touch()
    file = ReceiptFile(str(tmp_path), me)
    file.give(receipt_of(me))
    kept = {f"{fresh}.0a1b2c3d.tmp", f"{fresh}.json", *others}
    assert kept | files_of(me.id) == set(os.listdir(tmp_path))
    file.withdraw()


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_a_newcomer_is_not_led_astray(tmp_path: Path, me: Identity, kind: str) -> None:
    """What is no lock proves no death, and keeps nobody waiting."""
    lock, outside = tmp_path / f"{'1' * 16}.lock", tmp_path / "outside"
    outside.write_text("precious")
    (tmp_path / f"{'1' * 16}.json").symlink_to(outside)
    if kind == "link":
        lock.symlink_to(outside)
    elif kind == "fifo":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    file = ReceiptFile(str(tmp_path), me)
    file.give(receipt_of(me))
    assert files_of(me.id) <= set(os.listdir(tmp_path))
    assert outside.read_text() == "precious"
    file.withdraw()


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another user")
def test_a_newcomer_leaves_the_files_of_other_users(
    tmp_path: Path, me: Identity
) -> None:
    """Root could remove them; whose they are is the agent's business."""
    receipts = tmp_path / "receipts"
    receipts.mkdir()
    receipts.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    with target(receipts, "as nobody") as dead:
        assert os.stat(receipts / f"{dead}.lock").st_uid == 65534
    file = ReceiptFile(str(receipts), me)
    file.give(receipt_of(me))
    assert files_of(dead, me.id) == set(os.listdir(receipts))
    file.withdraw()


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("options", ["size=64k", "nr_inodes=16"])
def test_a_full_receipts_volume_is_survived(
    run: Callable[..., Any], tmp_path: Path, options: str
) -> None:
    """The old receipt stays whole, nothing is raised, and with room the new one comes."""
    at = tmp_path / "full"
    at.mkdir()
    ran = run(
        """
        import subprocess
        from resentry.contract import Receipt, decode_receipt
        from resentry.receipt_file import Identity, ReceiptFile

        at, options = os.environ["AT"], os.environ["OPTIONS"]
        tmpfs = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", at]
        if subprocess.run(tmpfs, capture_output=True).returncode:
            say(mounted=False)
            raise SystemExit
        try:
            me = Identity()
            given = {"id": me.id, "role": "api", "pid": 1, "pidns": 0, "start_time": 0}
            large = {"origins": {f"{n:060}": "x" * 64 for n in range(32)}}

            def sequence():
                with open(f"{at}/{me.id}.json", "rb") as file:
                    return decode_receipt(file.read()).sequence

            file = ReceiptFile(at, me)
            file.give(Receipt(**given, sequence=1))
            fillers = []
            try:
                while True:
                    fillers.append(f"{at}/{len(fillers)}.filler")
                    with open(fillers[-1], "wb") as filler:
                        filler.write(bytes(4096))
            except OSError:
                pass
            if "size" in options:  # one page: room for a part of the receipt
                os.unlink(fillers[0])
            try:
                file.give(Receipt(**given, sequence=2, **large))
                raised = False
            except OSError:
                raised = True
            full, names = sequence(), sorted(os.listdir(at))
            for filler in fillers:
                if os.path.exists(filler):
                    os.unlink(filler)
            file.give(Receipt(**given, sequence=2, **large))
            scraps = [name for name in names if name.endswith(".tmp")]
            say(mounted=True, raised=raised, full=full, free=sequence(), scraps=scraps)
        finally:
            subprocess.run(["umount", "-l", at], check=True)
        """,
        AT=str(at),
        OPTIONS=options,
    )
    if not ran.said["mounted"]:
        pytest.skip("this root may not mount")
    said = {"mounted": True, "raised": True, "full": 1, "free": 2, "scraps": []}
    assert ran.said == said
