"""A process's receipt, and the lock that proves that the process lives."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resentry.contract import Receipt, decode_receipt
from resentry.receipt import Identity, ReceiptFile, start_time

_ASK = "import sys, os; from agent.locks import is_held; print(is_held(os.open(sys.argv[1], 0)))"


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


def test_a_receipt_is_given_and_its_lock_held(tmp_path: Path, me: Identity) -> None:
    """The file reads as it was written, and another process sees the lock."""
    file = ReceiptFile(str(tmp_path), me)
    given = receipt_of(me, revision="0" * 12, sequence=1)
    file.give(given)
    assert given == decode_receipt((tmp_path / f"{me.id}.json").read_bytes())
    assert held(tmp_path / f"{me.id}.lock")
    file.withdraw()


def test_a_new_receipt_replaces_the_old_one_under_the_same_lock(
    tmp_path: Path, me: Identity
) -> None:
    """The lock is opened once: opening it again and closing it would drop it."""
    file, path = ReceiptFile(str(tmp_path), me), tmp_path / f"{me.id}.json"
    given = receipt_of(me, sequence=1)
    file.give(given)
    inodes = [path.stat().st_ino, (tmp_path / f"{me.id}.lock").stat().st_ino]
    file.give(replace(given, sequence=2))
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
    file.give(receipt_of(me))
    directory.mkdir()
    file.give(receipt_of(me))
    assert {f"{me.id}.json", f"{me.id}.lock"} == set(os.listdir(directory))
    file.withdraw()


def test_a_receipt_that_cannot_be_written_leaves_no_scraps(
    tmp_path: Path, me: Identity
) -> None:
    """A name that is taken by a directory fails quietly, and cleans up."""
    (tmp_path / f"{me.id}.json").mkdir()
    file = ReceiptFile(str(tmp_path), me)
    file.give(receipt_of(me))
    assert {f"{me.id}.json", f"{me.id}.lock"} == set(os.listdir(tmp_path))
    file.withdraw()


def test_a_child_s_end_leaves_the_parent_s_lock(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    """A forked child that forgets the receipt takes neither lock nor file away."""
    ran = run(
        """
        import subprocess, sys
        from resentry.contract import Receipt
        from resentry.receipt import Identity, ReceiptFile

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
    one, two = Identity(), Identity(parent="0" * 16)
    assert one.id != two.id
    assert (one.pid, one.pidns, one.start_time) == (two.pid, two.pidns, two.start_time)
    assert one.start_time > 0
    assert (one.parent, two.parent) == (None, "0" * 16)


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
