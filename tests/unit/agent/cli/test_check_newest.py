"""`check` reads the source as the agent would: it knows what was read before."""

from collections.abc import Callable

import pytest

from agent.cli import check
from agent.domain.newest import Mark, encode_marks
from agent.publish.memory import NEWEST
from agent.publish.volume import Volume
from agent.settings import Settings
from agent.settings.load import Loaded
from agent.source import Source


def test_check_starts_from_the_newest_versions_of_the_volume(
    settings: Callable[..., Settings],
    volume: Volume,
    shelf: Source,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So a stale read is a problem there, too, and not "ok"."""
    marks = {"secret/data/lms at http://127.0.0.1:9": Mark(3, 1.0)}
    volume.memory.write(NEWEST, encode_marks(marks))
    told: list[object] = []
    monkeypatch.setattr(shelf, "remember", told.append)
    checks = check._Checks(Loaded(settings(), ()))
    checks._source = shelf
    checks._secret(settings())
    assert told == [marks]
