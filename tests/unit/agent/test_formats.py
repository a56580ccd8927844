"""Digits that only Python reads, wherever the agent reads a number of somebody else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.backoff import retry_after_seconds
from agent.cli.boost import command as boost
from agent.errors import SettingsError
from agent.publish.files import gid_of
from agent.publish.memory import Memory
from agent.settings import parse
from agent.source.kv import parse_path

ODD = ["\u00b2", "\uff11", "\u0661", "1_0", "+1", " 1"]


@pytest.mark.parametrize("odd", ODD, ids=ascii)
@pytest.mark.parametrize(
    ("read", "form"),
    [
        (lambda text: parse.allowed_dsns([text]), "production=host/{}"),
        (lambda text: parse.counts([text]), "api={}"),
        (lambda text: parse.rates([text]), "production=0.{}"),
        (parse.status, "2{}0"),
        (parse.address, "127.0.0.1:{}"),
        (gid_of, "{}"),
        (parse_path, "secret/data/lms?version={}"),
    ],
    ids=["DSNs", "counts", "rates", "status", "port", "group", "version"],
)
def test_an_odd_number_is_refused_as_a_setting(
    read: Callable[[str], object], form: str, odd: str
) -> None:
    """It is neither taken nor the end of the agent with a traceback."""
    with pytest.raises((ValueError, SettingsError)) as caught:
        read(form.format(odd))
    assert "invalid literal" not in str(caught.value)


@pytest.mark.parametrize("header", [*ODD, "-1", "1.5", "soon"], ids=ascii)
def test_an_odd_retry_after_asks_nothing(header: str) -> None:
    """Our own back-off counts then."""
    assert retry_after_seconds(header) is None


@pytest.mark.parametrize("number", [*ODD, "1.5", "1e3"], ids=ascii)
def test_an_odd_duration_is_refused(number: str) -> None:
    """With what to write."""
    given = ["--traces", "1", "--for", f"{number}m", "--vault-addr", "http://v"]
    found = CliRunner().invoke(boost, given)
    assert found.exit_code == 2
    assert "--for must be a number with s, m or h, as 15m" in found.output


def test_an_odd_name_in_the_history_is_no_number(tmp_path: Path) -> None:
    """It may be anybody's; the newest of ours counts."""
    (tmp_path / "history").mkdir()
    for name in ("00000007-a.json", "\u00b2-b.json", "\uff19-c.json", "x.json"):
        (tmp_path / "history" / name).write_text("{}")
    assert Memory(str(tmp_path)).last_sequence() == 7
