"""What `make docs` writes is what stands in the repository."""

import json

import pytest
from jsonschema import Draft202012Validator

from agent.cli import COMMANDS
from docs.documents import schemas
from docs.generate import HERE, PAGES, SCHEMAS


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    """Settings, metrics, commands and documents are described as they are."""
    assert (HERE / name).read_text() == PAGES[name]()


def test_each_command_that_prints_has_a_schema_that_is_up_to_date() -> None:
    """Only `run` prints no JSON object."""
    written = {path.stem: path.read_text() for path in SCHEMAS.iterdir()}
    assert written == schemas()
    assert set(written) == set(COMMANDS) - {"run"}
    for text in written.values():
        Draft202012Validator.check_schema(json.loads(text))
