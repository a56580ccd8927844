"""What `make docs` writes is what stands in the repository."""

import json

import pytest
from jsonschema import Draft202012Validator

from agent.cli import COMMANDS, WITHOUT_JSON
from docs import source_schema
from docs.documents import schemas
from docs.generate import HERE, PAGES, SCHEMAS


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    """Settings, metrics, commands and documents are described as they are."""
    assert (HERE / name).read_text() == PAGES[name]()


def test_each_command_that_prints_has_a_schema_that_is_up_to_date() -> None:
    """`run` and `completion` print no JSON object."""
    written = {path.stem: path.read_text() for path in SCHEMAS.iterdir()}
    described = schemas()
    for name, keys in source_schema.PAGES.items():
        assert written.pop(name) == keys()
    assert written == {name.replace(" ", "-"): text for name, text in described.items()}
    assert set(described) == set(COMMANDS) - {*WITHOUT_JSON}
    for text in written.values():
        Draft202012Validator.check_schema(json.loads(text))


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        ("resentry_targets", "`role`, `state`"),
        ("resentry_passes_total", "`outcome`"),
        ("resentry_failing_since_timestamp_seconds", "`error`"),
        ("resentry_pass_seconds", ""),
    ],
)
def test_the_labels_of_a_metric_are_named(metric: str, labels: str) -> None:
    """Also of a metric that has no value yet."""
    (row,) = (
        line
        for line in PAGES["metrics.md"]().splitlines()
        if line.startswith(f"| `{metric}` ")
    )
    assert row.split("|")[3].strip() == labels
