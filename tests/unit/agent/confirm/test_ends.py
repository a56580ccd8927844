"""Which roles have processes that end soon after their start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.confirm.ends import KEPT_SECONDS, SOON_SECONDS, Ends
from agent.confirm.receipts import Receipts
from agent.publish.lock import Lock
from resentry.contract import Receipt, encode_receipt


def end(ends: Ends, role: str, age: float, now: float) -> None:
    """Let a process end at the time `now`, at this age."""
    ends.add(f"{role}{now}", role, now - age)
    ends.follow(set(), now, is_whole=True)


def test_only_early_ends_of_the_last_quarter_of_an_hour_count() -> None:
    """By role."""
    ends = Ends()
    end(ends, "api", SOON_SECONDS + 1, 0.0)
    end(ends, "api", 3.0, 0.0)
    end(ends, "api", 3.0, KEPT_SECONDS)
    end(ends, "celery", 3.0, KEPT_SECONDS)
    assert ends.by_role(1.0) == {"api": 2, "celery": 1}
    assert ends.by_role(KEPT_SECONDS + 1) == {"api": 1, "celery": 1}


def test_a_flood_of_ends_is_bounded() -> None:
    """Everybody who may write receipts decides how many there are."""
    ends = Ends()
    for number in range(1000):
        end(ends, f"role{number}", 1.0, 0.0)
    assert len(ends.by_role(1.0)) == 200


def test_a_target_that_is_only_not_read_has_not_ended() -> None:
    """Beyond a limit targets are missing, and come back."""
    ends = Ends()
    ends.add("one", "api", 0.0)
    ends.follow(set(), 1.0, is_whole=False)
    assert not ends.knows("one")
    assert ends.by_role(1.0) == {}


@pytest.mark.parametrize("tidy", [True, False])
def test_a_process_that_removes_its_own_files_has_ended(
    tmp_path: Path, *, tidy: bool
) -> None:
    """As at a clean exit, and at an exception. Nobody is left who could be buried."""
    receipts = Receipts(str(tmp_path), tidy=tidy, is_copy=True)  # every lock is held
    for number in range(3):
        receipt = Receipt(f"{number:016x}", "api", 7, 1, 2)
        (tmp_path / f"{receipt.id}.lock").touch()
        (tmp_path / f"{receipt.id}.json").write_bytes(encode_receipt(receipt))
        assert len(receipts.read()) == 1
        for path in tmp_path.iterdir():
            path.unlink()
    rollout = receipts.rollout(None, {}, late=False)
    assert rollout.ends == ({"api": 3} if tidy else {})


@pytest.mark.parametrize(("tidy", "parent"), [(True, None), (False, None), (True, "p")])
def test_the_agent_notes_what_it_buries(
    tmp_path: Path, parent: str | None, *, tidy: bool
) -> None:
    """Only what it removes, so nothing counts twice; and no forked child."""
    receipt = Receipt("0123456789abcdef", "api", 7, 1, 2, parent=parent)
    (tmp_path / f"{receipt.id}.json").write_bytes(encode_receipt(receipt))
    (tmp_path / f"{receipt.id}.lock").touch()
    receipts = Receipts(str(tmp_path), tidy=tidy)
    for _ in range(2):
        rollout = receipts.rollout(None, {}, late=False)
    counts = {"api": 1} if tidy and parent is None else {}
    assert rollout.ends == counts


@pytest.mark.process
def test_an_agent_that_waits_for_the_lock_can_be_seen(tmp_path: Path) -> None:
    """As long as it waits, and not before; a closed door is unknown."""
    path = tmp_path / "lock"
    lock = Lock(str(path))
    lock.take()
    assert lock.has_rival() is False
    code = (
        "import sys; from agent.publish.lock import Lock\n"
        "from agent.errors import VolumeBusy\n"
        "lock = Lock(sys.argv[1])\n"
        "try: lock.take()\n"
        "except VolumeBusy: print('waits', flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as rival:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "waits\n"
        assert lock.has_rival() is True
        rival.communicate()
    assert lock.has_rival() is False
    assert sorted(os.listdir(tmp_path)) == ["lock", "lock.waiting"]
