"""The file of the alert rules: what it may say, and what is told of a mistake in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from agent.alerts.rule_file import read
from agent.bridge.canary import event_of
from agent.errors import SettingsError
from lab.ledger import parse_envelope
from lab.paths import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = REPOSITORY / "examples" / "lms" / "alerts.toml"
HEAD = 'name = "lms"\nnotify = "bridge"\n'
ISSUE = '[[issues]]\nname = "one"\nseverity = "critical"\n'
METRIC = (
    '[[metrics]]\nname = "two"\nseverity = "warning"\nmeasure = "p95(span.duration)"\n'
)


def test_the_example_has_the_rules_of_the_guide() -> None:
    """Its section 5.1: two critical ones, two warnings; the rest are notices."""
    rules = read(str(EXAMPLE))
    every = [*rules.issues, *rules.metrics]
    assert [rules.name_of(rule) for rule in every] == [
        "[resentry lms] [critical] unhandled exceptions",
        "[resentry lms] [critical] 5xx errors over 5 %",
        "[resentry lms] [warning] latency over 2 s",
        "[resentry lms] [warning] frequent rate limit violations",
    ]
    assert [rule.above for rule in rules.metrics] == [0.05, 2000, 100]


def test_the_example_of_the_canary_finds_what_the_bridge_sends() -> None:
    """Each canary is a new issue with this tag."""
    (rule,) = read(str(EXAMPLE.with_name("canary.toml"))).issues
    _, (item,) = parse_envelope(event_of("production", 1.0))
    event = json.loads(item.payload)
    assert rule.tags.items() <= event["tags"].items()
    assert rule.when == ("new",)
    assert event["fingerprint"][1:] == [event["event_id"]]


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("name = [", "rules.toml: ", "docs/alerts.md"),
        (HEAD, "has no rule", "[[issues]]"),
        ('name = "lms"\n' + ISSUE, "notify", ""),
        (HEAD.replace("lms", "l m s") + ISSUE, "'l m s'", "letters"),
        (HEAD + ISSUE + 'wehn = ["new"]\n', "wehn", "did you mean when?"),
        (HEAD + ISSUE + 'when = ["gone"]\n', "gone", ""),
        (HEAD + ISSUE + "when = []\n", "when", "new, regressed"),
        (HEAD + ISSUE.replace("critical", "bad"), "bad", ""),
        (HEAD + ISSUE.replace("one", "[lms] one"), "[lms] one", "no brackets"),
        (HEAD + ISSUE + ISSUE.replace("one", "One"), "two rules", "name of its own"),
        (HEAD + ISSUE + 'at_most_every = "7m"\n', "'7m'", "5m, 10m"),
        (HEAD + ISSUE + 'at_most_every = "5"\n', "'5'", "as 5m"),
        (HEAD + ISSUE + 'more_than = 9\nper = "2h"\n', "'2h'", "1h, 1d"),
        (HEAD + METRIC, "above", ""),
        (HEAD + METRIC + 'above = "much"\n', "above", ""),
        (HEAD + METRIC + "above = nan\n", "above", "2000 or 0.05"),
        (HEAD + METRIC + "above = inf\n", "above", "2000 or 0.05"),
        (HEAD + METRIC + 'above = 1\nwindow = "0m"\n', "'0m'", "5m"),
        (
            HEAD + METRIC.replace("warning", "info") + "above = 1\n",
            "'info'",
            "critical",
        ),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, what: str, hint: str) -> None:
    """With its place, and with what to write instead."""
    (tmp_path / "rules.toml").write_text(text)
    with pytest.raises(SettingsError) as raised:
        read(str(tmp_path / "rules.toml"))
    assert what in raised.value.what
    assert hint in raised.value.hint


def test_a_file_that_is_not_there_is_named() -> None:
    """No traceback."""
    with pytest.raises(SettingsError, match="cannot read /nowhere"):
        read("/nowhere")
