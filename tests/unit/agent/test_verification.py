"""The daemon's request for test items: a file that stands on the volume for a while."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.errors import PublishError, RequestUnknown, WishRefused
from agent.verification import Verification
from lab.process import eventually
from resentry.verification import AGAIN_SECONDS, VERIFY_FILE, decode_ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.publish.volume import Volume

VERIFY = {"command": "verify", "kinds": "error,log", "roles": "api", "seconds": 60}


class Loop:
    """Collects what is posted; a test runs it."""

    def __init__(self) -> None:
        self.posted: list[Callable[[], object]] = []

    def run(self) -> None:
        for call in self.posted:
            call()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def verification(
    volume: Volume, settings: Callable[..., Any], loop: Loop
) -> Verification:
    return Verification(volume, settings(), loop.posted.append)


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


def test_it_ends_by_itself(verification: Verification, file: Path, loop: Loop) -> None:
    """Also if the command was killed. Whoever asks for the end later is answered."""
    nonce = verification.serve({**VERIFY, "seconds": 0.05})["nonce"]
    eventually(lambda: loop.posted, what="the end of its time")
    loop.run()
    assert not file.exists()
    verification.serve({"command": "end-verify", "nonce": nonce})


def test_one_at_a_time_and_one_in_ten_seconds(
    verification: Verification, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes answer no faster. The refusal says when to try again."""
    now = 1000.0
    monkeypatch.setattr("agent.verification.time.monotonic", lambda: now)
    nonce = verification.serve(VERIFY)["nonce"]
    with pytest.raises(WishRefused, match="another verification is running") as running:
        verification.serve(VERIFY)
    assert running.value.hint == "try again in 60 s"
    now += 4
    verification.serve({"command": "end-verify", "nonce": nonce})
    with pytest.raises(WishRefused, match="has just ended") as ended:
        verification.serve(VERIFY)
    assert ended.value.hint == "try again in 6 s"
    now += AGAIN_SECONDS - 4
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
    volume: Volume, settings: Callable[..., Any], loop: Loop, file: Path
) -> None:
    """But not what another agent asks for, which has the volume."""
    file.write_text("{}")
    Verification(volume, settings(), loop.posted.append)
    assert not file.exists()
    file.write_text("{}")
    volume.close()
    Verification(volume, settings(), loop.posted.append)
    assert file.exists()


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
