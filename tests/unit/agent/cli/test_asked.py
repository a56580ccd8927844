"""What `status` makes of the answer at the control socket."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from agent import control
from agent.call import identity
from agent.cli import gather as module
from agent.cli.gather import gather
from agent.errors import RequestUnknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.publish.volume import Volume
    from agent.settings import Settings

    Answer = Callable[[dict[str, Any]], dict[str, Any]]

pytestmark = pytest.mark.server

OLD = {"written_at": "2026-01-31T12:00:00.000Z", "outcome": "published"}
NOW = {"written_at": "2026-01-31T13:00:00.000Z", "outcome": "unchanged", "held": "f"}


@pytest.fixture
def asked(
    volume: Volume,
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[Answer], Any]]:
    """Gather the status while an agent that answers so has the volume."""
    # This process holds the lock, which only another process can see.
    monkeypatch.setattr(module.Volume, "is_open", lambda _: True)
    volume.keep("state.json", json.dumps(OLD).encode())
    opened: list[socket.socket] = []

    def ask(answer: Answer) -> Any:
        opened.append(control.serve(settings().control_path, answer))
        return gather(settings())

    yield ask
    for server in opened:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_the_agent_s_answer_counts(asked: Any, volume: Volume) -> None:
    """Not what is in the state file. Its container may mount the volume elsewhere."""
    shown = asked(
        lambda _: {"volume": identity(volume.directory), "stuck": "", "state": NOW}
    )
    assert (shown.agent, shown.origin.by, shown.origin.why) == ("running", "agent", "")
    assert shown.origin.at == NOW["written_at"]
    assert (shown.source.outcome, shown.held) == ("unchanged", "f")


def test_an_agent_whose_passes_do_not_end_is_not_healthy(
    asked: Any, volume: Volume
) -> None:
    """The reason is the one of /livez."""
    shown = asked(
        lambda _: {
            "volume": identity(volume.directory),
            "stuck": "last pass ...",
            "state": NOW,
        }
    )
    assert (shown.agent, shown.origin.why) == ("not responding", "last pass ...")


def _unknown(_: object) -> dict[str, Any]:
    raise RequestUnknown


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (_unknown, "this agent does not know the request"),
        (lambda _: dict(control.BUSY), "answers 32 commands already"),
        (
            lambda _: {"dir": "/other", "volume": "1:2", "state": NOW},
            "has another volume: /other",
        ),
        (lambda _: {}, "has another volume"),
    ],
    ids=["another version", "busy", "another volume", "nothing"],
)
def test_without_a_usable_answer_the_volume_tells(
    asked: Any, answer: Answer, why: str
) -> None:
    """The result says why, and of which moment it is."""
    shown = asked(answer)
    assert (shown.agent, shown.origin.by) == ("running", "volume")
    assert why in shown.origin.why
    assert shown.origin.at == OLD["written_at"]
    assert (shown.source.outcome, shown.held) == ("published", None)


@pytest.mark.parametrize(
    "state", [None, [], {"notify": 5}, {"held": 5}, {"written_at": "\ud800"}], ids=repr
)
def test_an_odd_state_is_shown_as_far_as_it_can_be(
    asked: Any, volume: Volume, state: object
) -> None:
    """An agent of another version may answer so."""
    shown = asked(
        lambda _: {"volume": identity(volume.directory), "stuck": "", "state": state}
    )
    assert (shown.agent, shown.origin.at, shown.held) == ("running", None, None)
    assert shown.source.outcome is None


def test_no_socket_is_not_a_hanging_agent(
    volume: Volume, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that starts has the volume before the socket."""
    monkeypatch.setattr(module.Volume, "is_open", lambda _: True)
    volume.keep("state.json", json.dumps(OLD).encode())
    shown = gather(settings())
    assert (shown.agent, shown.origin.by) == ("running", "volume")
    assert "no agent answers at the control socket" in shown.origin.why


def test_a_socket_that_nobody_serves_is_a_hanging_agent(
    volume: Volume, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue may be full as well: the kernel then refuses the connection at once."""
    monkeypatch.setattr(module.Volume, "is_open", lambda _: True)
    monkeypatch.setattr(module, "STATUS_SECONDS", 0.05)
    assert volume.is_ours()
    path = settings().control_path
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        shown = [gather(settings()) for _ in range(2)]
    assert [each.agent for each in shown] == ["not responding", "not responding"]
