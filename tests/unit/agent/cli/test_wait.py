"""What `wait` says in the end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.locks import hold
from agent.publish.volume import Volume
from resentry.contract import Receipt, Snapshot, encode_receipt

pytestmark = pytest.mark.process

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
REVISION = "a" * 12


def test_a_wait_that_is_over_names_what_was_awaited(
    command: Any, tmp_path: Path, volume: Volume, receipt: Callable[..., Receipt]
) -> None:
    """The revision and the DSN, its key masked: an operator sees which DSN is in use."""
    settings = {"SENTRY_DSN": f"https://{KEY}@sentry.example.org/42"}
    volume.publish(Snapshot(settings, revision=REVISION))
    proof = receipt(revision=REVISION, sequence=1)
    receipts = tmp_path / "volume" / "receipts"
    (receipts / f"{proof.id}.json").write_bytes(encode_receipt(proof))
    with (receipts / f"{proof.id}.lock").open("w") as lock:
        assert hold(lock.fileno())
        ran = command("wait", "--timeout", "5")
        shown = command("status").stdout.partition("SENTRY_DSN=")[2].splitlines()[0]
    assert ran.returncode == 0, ran.stdout
    assert KEY not in shown
    line = ran.stdout.splitlines()[0]
    assert line.startswith(f"revision {REVISION}, DSN {shown}: 1 target: ")


def test_a_wait_in_vain_says_that_its_time_is_over(
    command: Any, volume: Volume
) -> None:
    """The limit, and what is missing."""
    volume.publish(Snapshot({}, revision=REVISION))
    ran = command("wait", "--sequence", "99", "--timeout", "0.1")
    assert ran.returncode == 1
    assert ran.stdout.splitlines() == [
        "the time limit of 0.1 s is over",
        "  sequence 1 is published, not yet 99",
    ]


@pytest.mark.parametrize("limit", ["abc", "-1", "nan", "inf", ""])
def test_a_time_limit_is_a_number_from_0(command: Any, limit: str) -> None:
    """Anything else is a mistake in usage, in words for people."""
    ran = command("wait", "--timeout", limit)
    assert ran.returncode == 2
    assert "--timeout" in ran.stderr
    assert "must be a number of seconds, 0 or more" in ran.stderr
