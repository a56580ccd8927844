"""Which version of what: metrics and status for a fleet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.cli.status_lines import status_lines
from agent.domain.passes import Passes
from agent.domain.rollout import LiveTarget, assess
from agent.domain.value import replace
from agent.domain.view import Known, View
from agent.observe import document
from agent.observe.metrics import Metrics
from agent.observe.target_metrics import VERSIONS_LIMIT
from resentry.contract import Receipt, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VAULT = {"source": "vault", "path": "secret/data/lms", "version": 7}
Series = set[tuple[str, tuple[tuple[str, str], ...], float]]


def view(receipts: list[Receipt], provenance: Mapping[str, Any]) -> View:
    current = Snapshot({}, provenance=provenance, revision="a" * 12, sequence=3)
    targets = [LiveTarget(receipt, 0) for receipt in receipts]
    return View(Known(current), Passes(0.0), 0.0, assess(targets, current, late=False))


def shown(metrics: Metrics, *names: str) -> Series:
    text = metrics.render().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in names
    }


@pytest.mark.parametrize(
    ("provenance", "labels"),
    [
        ({"SENTRY_DSN": VAULT, "SENTRY_RELEASE": VAULT}, [("secret/data/lms", "7")]),
        (
            {"SENTRY_DSN": VAULT, "SENTRY_RELEASE": {**VAULT, "path": "b"}},
            [("secret/data/lms", "7"), ("b", "7")],
        ),
        ({"SENTRY_DSN": {"source": "files", "path": "/s"}}, [("/s", "")]),
        ({}, [("", "")]),
    ],
)
def test_the_snapshot_has_its_revision_and_the_versions_of_its_secrets(
    provenance: Mapping[str, Any], labels: list[tuple[str, str]]
) -> None:
    """One series for each path; those of the snapshot before are gone."""
    metrics = Metrics("1")
    metrics.show(view([], {"SENTRY_DSN": {**VAULT, "version": 6}}))
    metrics.show(view([], provenance))
    assert shown(metrics, "resentry_snapshot_info") == {
        (
            "resentry_snapshot_info",
            (("path", path), ("revision", "a" * 12), ("version", version)),
            1.0,
        )
        for path, version in labels
    }


def test_targets_are_counted_by_their_versions(receipt: Callable[..., Receipt]) -> None:
    """So an operator sees which processes of a fleet run an old library."""
    old = receipt(library="0.1.0", sdk="2.43.0")
    new = receipt(library="0.2.0", sdk="2.75.0")
    metrics = Metrics("1")
    metrics.show(view([old, new, new], {}))
    names = ("resentry_target_versions", "resentry_targets_seen")
    assert shown(metrics, *names) == {
        (names[0], (("library", "0.1.0"), ("sdk", "2.43.0")), 1.0),
        (names[0], (("library", "0.2.0"), ("sdk", "2.75.0")), 2.0),
        (names[1], (), 3.0),
    }
    metrics.show(view([], {}))
    assert shown(metrics, *names) == {(names[1], (), 0.0)}


def test_forged_versions_are_a_bounded_number_of_labels(
    receipt: Callable[..., Receipt],
) -> None:
    """A container may write what it likes."""
    forged = [receipt(library=f"0.{n}", sdk="2.43.0") for n in range(100)]
    metrics = Metrics("1")
    metrics.show(view(forged, {}))
    series = shown(metrics, "resentry_target_versions")
    assert len(series) == VERSIONS_LIMIT + 1
    assert sum(value for _, _, value in series) == 100
    rest = (("library", "other"), ("sdk", "other"))
    assert ("resentry_target_versions", rest, 100.0 - VERSIONS_LIMIT) in series


@pytest.mark.parametrize(
    ("sdk", "label"),
    [
        ("2.44.0a1", "2.44.0a1"),
        ("2.44.0+fork.1", "2.44.0+fork.1"),
        ("3.0.0 is not supported (>=2.43,<3): falling back", "3.0.0"),
        ("", ""),
    ],
)
def test_a_version_is_a_label_without_what_is_wrong_with_it(
    receipt: Callable[..., Receipt], sdk: str, label: str
) -> None:
    """An older library names no version."""
    metrics = Metrics("1")
    metrics.show(view([receipt(library="0.1.0", sdk=sdk)], {}))
    ((_, labels, _),) = shown(metrics, "resentry_target_versions")
    assert dict(labels) == {"library": "0.1.0", "sdk": label}


def test_status_shows_the_versions_of_each_target(
    receipt: Callable[..., Receipt],
) -> None:
    """As JSON and as text; an older library names none."""
    known = view([receipt(library="0.2.0", sdk="2.75.0"), receipt(pid=2)], {})
    result = document.whole(replace(known)).result
    assert result is not None
    targets = json.loads(msgspec.json.encode(result))["rollout"]["targets"]
    assert [(each["library"], each["sdk"]) for each in targets] == [
        ("0.2.0", "2.75.0"),
        ("", ""),
    ]
    text = "\n".join(status_lines(result, ""))
    assert "(resentry 0.2.0, sentry-sdk 2.75.0)" in text
    assert text.count("(resentry") == 1
