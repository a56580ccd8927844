"""What the benchmark of a rotation concludes from what it saw."""

import time
from pathlib import Path

from bench.converge import PARTS, STEPS, Rotation, epoch
from bench.observer import Observer, Seen
from lab.process import eventually
from resentry.contract import SETTINGS_FILE

T = epoch("2026-11-29T20:53:20Z")


def switch(sequence: int = 2, *, at: float = 0.42) -> Seen:
    """The volume was switched then; the agent began 10 ms before."""
    body = {"sequence": sequence, "published_at": "2026-11-29T20:53:20.410Z"}
    return Seen(T + at, SETTINGS_FILE, body)


def receipt(name: str, at: float, phase: str, sequence: int = 2) -> Seen:
    """A process began to run the snapshot 5 ms before, after a swap of 2 ms."""
    since = f"2026-11-29T20:53:20.{round(at * 1000) - 5:03d}Z"
    body = {"sequence": sequence, "phase": phase, "since": since, "swap_ms": 2.0}
    return Seen(T + at, name, body)


def test_the_parts_are_those_of_the_slowest_process() -> None:
    """Each process counts from its first receipt of this snapshot."""
    rotation = Rotation(2, 2)
    assert not rotation.take(
        iter(
            [
                receipt("b", 0.415, "drained", sequence=1),
                switch(),
                receipt("a", 0.430, "running"),
                receipt("b", 0.440, "running"),
                receipt("a", 0.500, "drained"),
            ]
        )
    )
    assert rotation.take(iter([receipt("b", 0.510, "drained")]))
    found = rotation.parts(T + 0.1, [T + 0.05, T + 0.4, T + 0.9])
    assert list(found) == list(PARTS)
    assert found == {
        "poll": 300,
        "read": 10,
        "publish": 10,
        "notify": 13,
        "swap": 2,
        "receipt": 5,
        "confirmed": 30,
        "done": 340,
    }
    assert sum(found[step] for step in STEPS) == found["done"]


def test_a_switch_is_before_whoever_notices_it() -> None:
    """On a busy machine the observer may be told of the switch after all is over."""
    rotation = Rotation(2, 1)
    seen = [switch(at=0.5), receipt("a", 0.430, "drained")]
    assert rotation.take(iter(seen))
    found = rotation.parts(T + 0.1, [T + 0.4])
    assert (found["publish"], found["notify"], found["confirmed"]) == (13, 0, 20)


def test_a_switch_and_a_receipt_are_seen_once_each(tmp_path: Path) -> None:
    """What has another name, and what is only written, is not."""
    began, receipts, new = time.time(), tmp_path / "receipts", tmp_path / "..1"
    receipts.mkdir()
    new.mkdir()
    (new / SETTINGS_FILE).write_text('{"sequence": 1}')
    with Observer(tmp_path) as observer:
        (tmp_path / "..next").symlink_to("..1")
        (tmp_path / "..next").rename(tmp_path / "..data")
        for name in ("a.json.0.tmp", "a.lock.0.tmp"):
            (receipts / name).write_text('{"sequence": 2}')
            (receipts / name).rename(receipts / name.removesuffix(".0.tmp"))
        seen: list[Seen] = []
        eventually(lambda: seen.extend(observer.new()) or len(seen) == 2)
    assert [(one.name, one.body["sequence"]) for one in seen] == [
        (SETTINGS_FILE, 1),
        ("a.json", 2),
    ]
    assert began <= seen[0].at <= seen[1].at <= time.time()


def test_no_rotation_ends_before_its_switch_was_seen() -> None:
    rotation = Rotation(2, 1)
    assert not rotation.take(iter([switch(1), receipt("a", 0.43, "drained")]))
    assert rotation.take(iter([switch()]))
