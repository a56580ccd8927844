"""Which peers there are on a machine."""

import shutil
from typing import NoReturn

import pytest

from bench import peers
from bench.draw import CHARTS
from bench.readme import median
from lab import golang


@pytest.fixture
def no_go(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("go failed: no module proxy\nmore")

    monkeypatch.setattr(golang, "built", fail)


@pytest.mark.usefixtures("no_go")
def test_a_peer_that_cannot_be_built_is_absent_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    programs, absent = peers.built()
    assert programs == {}
    reason = "cannot be built: go failed: no module proxy"
    assert absent == {"vault_agent": reason, "consul_template": reason}


@pytest.mark.usefixtures("no_go")
def test_consul_template_is_taken_from_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    programs, absent = peers.built()
    assert programs == {"consul_template": "/usr/bin/consul-template"}
    assert list(absent) == ["vault_agent"]


def test_readme_and_chart_do_without_an_absent_peer() -> None:
    rows = ("anon_mib", "rss_mb", "cpu_ms_per_poll", "start_ms")
    found = {"figures": {"agent": {row: {"median": 2.5} for row in rows}}}
    assert median(found, "agent", "rss_mb") == "2.50"
    assert median(found, "vault_agent", "rss_mb") == "not measured"
    assert CHARTS["agent"](found).axes
