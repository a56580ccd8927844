"""The maps for people name every room: what exists, and nothing else."""

import re
import tomllib
from pathlib import Path

import agent
from lab.paths import REPOSITORY

ROOMS = Path(REPOSITORY, "agent")
ADR = Path(REPOSITORY, "docs", "adr")


def test_the_agents_map_names_every_module() -> None:
    """In `agent/__init__`, one line each."""
    named = set(re.findall(r"(?m)^    ([a-z_]+(?:\.py|/)) ", agent.__doc__ or ""))
    found = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in ROOMS.iterdir()
        if path.is_dir() or path.suffix == ".py"
    }
    assert named == {name for name in found if not name.startswith("_")}


def test_no_module_reaches_300_lines() -> None:
    """Of the agent and of the library."""
    sources = [
        *ROOMS.rglob("*.py"),
        *Path(REPOSITORY, "client").rglob("resentry/**/*.py"),
    ]
    assert len(sources) > 100
    lengths = {path: len(path.read_text().splitlines()) for path in sources}
    assert {path.name: n for path, n in lengths.items() if n >= 300} == {}


def test_the_architecture_has_a_paragraph_for_each_layer() -> None:
    """In the order of import-linter's layers, from the top."""
    project = tomllib.loads(Path(REPOSITORY, "pyproject.toml").read_text())
    (layers, *_) = project["tool"]["importlinter"]["contracts"]
    page = Path(REPOSITORY, "docs", "architecture.md").read_text()
    paragraphs = re.findall(r"(?m)^\*\*(`[^*]+`)\*\* ", page)
    assert [set(re.findall(r"`(\w+)`", names)) for names in paragraphs] == [
        set(re.findall(r"\w+", layer)) for layer in layers["layers"]
    ]


def test_the_index_of_decisions_has_each_with_its_title() -> None:
    """A record that is not in the index is not found."""
    rows = re.findall(
        r"(?m)^\| (\d+) \| \[(.+)\]\((.+)\) \| ", (ADR / "README.md").read_text()
    )
    records = sorted(path for path in ADR.glob("0*.md"))
    assert rows == [
        (str(number), path.read_text().splitlines()[0].partition(". ")[2], path.name)
        for number, path in enumerate(records, 1)
    ]
