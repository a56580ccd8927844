"""The daemon's request for test items: a file that stands on the volume for a while."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.errors import Busy, PublishError, RequestUnknown
from agent.verification import LEASE_SECONDS, Verification
from resentry.verification import (
    AGAIN_SECONDS,
    VERIFY_FILE,
    Ask,
    decode_ask,
    encode_ask,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.publish.volume import Volume

VERIFY = {"command": "verify", "kinds": "error,log", "roles": "api", "seconds": 60}


class Clock:
    """The monotonic time of the module."""

    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("agent.verification.time.monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def verification(volume: Volume, settings: Callable[..., Any]) -> Verification:
    return Verification(volume, settings())


@pytest.fixture
def file(volume: Volume) -> Path:
    return Path(volume.directory, VERIFY_FILE)


def test_the_request_stands_on_the_volume_until_it_is_ended(
    verification: Verification, file: Path
) -> None:
    """Readable for the group alone; a later end of another request changes nothing."""
    nonce = verification.serve(VERIFY)["nonce"]
    ask = decode_ask(file.read_bytes())
    assert (ask.nonce, ask.kinds, ask.roles) == (nonce, ("error", "log"), ("api",))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    verification.serve({"command": "end-verify", "nonce": "0" * 12})
    assert file.exists()
    verification.serve({"command": "end-verify", "nonce": nonce})
    assert not file.exists()


def test_it_ends_by_itself(
    verification: Verification, file: Path, clock: Clock
) -> None:
    """Whoever asks for the end later is answered. The next request need not wait for it."""
    nonce = verification.serve({**VERIFY, "seconds": 11})["nonce"]
    assert verification.ends_at == clock.now + 11
    clock.now += 10.9
    verification.look()
    assert file.exists()
    clock.now += 0.1
    verification.look()
    assert not file.exists()
    verification.serve({"command": "end-verify", "nonce": nonce})
    verification.serve({**VERIFY, "seconds": 11})
    clock.now += 11
    verification.serve(VERIFY)


def test_it_ends_soon_after_its_command(
    verification: Verification, file: Path, clock: Clock
) -> None:
    """A command that was killed keeps no other one out. A living one renews its request."""
    nonce = verification.serve({**VERIFY, "seconds": 200})["nonce"]
    for name in (nonce, nonce, "0" * 12):
        verification.look()
        assert file.exists()
        clock.now += LEASE_SECONDS - 1
        verification.serve({"command": "renew-verify", "nonce": name})
    clock.now += 1
    verification.look()
    assert not file.exists()
    verification.serve({**VERIFY, "seconds": 200})


def test_one_at_a_time_and_one_in_ten_seconds(
    verification: Verification, clock: Clock
) -> None:
    """Processes answer no faster. The refusal says when to try again."""
    nonce = verification.serve(VERIFY)["nonce"]
    with pytest.raises(Busy, match="another verification is running") as running:
        verification.serve(VERIFY)
    assert running.value.hint == "try again in at most 60 s"
    clock.now += 4
    verification.serve({"command": "end-verify", "nonce": nonce})
    with pytest.raises(Busy, match="has just ended") as ended:
        verification.serve(VERIFY)
    assert ended.value.hint == "try again in 6 s"
    clock.now += AGAIN_SECONDS - 4
    assert verification.serve(VERIFY)["nonce"] != nonce


@pytest.mark.parametrize(
    "wrong",
    [
        {"kinds": "replay"},
        {"kinds": ""},
        {"roles": "a b"},
        {"seconds": 0},
        {"seconds": "soon"},
        {"seconds": 301},
    ],
    ids=str,
)
def test_what_no_command_asks_for_is_refused(
    verification: Verification, file: Path, wrong: dict[str, Any]
) -> None:
    """Nothing is written then."""
    with pytest.raises(RequestUnknown):
        verification.serve(VERIFY | wrong)
    assert not file.exists()


def test_an_agent_removes_what_a_killed_one_left(
    volume: Volume, verification: Verification, file: Path
) -> None:
    """At once, or when it takes the volume over. A standby leaves the request of another."""
    body = encode_ask(Ask("0" * 12, 1.8e9))
    volume.close()
    file.write_bytes(body)
    verification.look()
    assert file.exists()
    volume.open()
    verification.look()
    assert not file.exists()


def test_a_file_of_somebody_else_is_left_alone(
    verification: Verification, file: Path
) -> None:
    """It is neither removed nor replaced, whatever it is. A refusal names it."""

    def link() -> None:
        target = file.with_name("target")
        target.write_bytes(encode_ask(Ask("0" * 12, 1.8e9)))
        file.symlink_to(target)

    for make in (
        lambda: file.write_text("mine"),
        lambda: file.write_text("{}"),
        lambda: os.mkfifo(file),
        link,
        lambda: file.symlink_to("nowhere"),
    ):
        make()
        before = os.lstat(file)
        verification.look()
        with pytest.raises(PublishError, match=f"{file} is in the way"):
            verification.serve(VERIFY)
        assert os.lstat(file).st_ino == before.st_ino
        file.unlink()
    nonce = verification.serve(VERIFY)["nonce"]
    file.write_text("mine")
    verification.serve({"command": "end-verify", "nonce": nonce})
    assert file.read_text() == "mine"


def test_what_cannot_be_written_is_an_error(
    verification: Verification, volume: Volume, file: Path
) -> None:
    """Somebody else's directory has the name; the volume is another agent's."""
    file.mkdir()
    with pytest.raises(PublishError, match=str(file)):
        verification.serve(VERIFY)
    file.rmdir()
    volume.close()
    with pytest.raises(PublishError):
        verification.serve(VERIFY)
    assert not os.path.lexists(file)
