"""docs/guide.md has each line of the configuration guide, and names only what exists."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import click
import pytest
import yaml

import resentry
from agent.cli import group
from agent.doctor.examine import RULES
from agent.settings import OTHER_VARIABLES, PREFIX, Settings, settings_of
from docs import alerts, on_call
from lab.paths import REPOSITORY
from resentry.values import KEYS

DOCS = Path(REPOSITORY, "docs")
GUIDE = Path(REPOSITORY, "examples", "lms", "GUIDE.md")
PAGES = [DOCS / name for name in ("on-call.md", "sentry.md")]


def lines_of_the_guide() -> list[str]:
    """What it asks for: each point of its lists, each setting and command in its blocks."""
    block: str | None = None
    lines = []
    for line in GUIDE.read_text().splitlines():
        if line.startswith("```"):
            block = line[3:] if block is None else None
        elif block is None and line.startswith("- "):
            lines.append(line[2:])
        elif block in ("bash", "env") and line and not line.startswith("#"):
            lines.append(line)
    return lines


def rows() -> list[list[str]]:
    text = (DOCS / "guide.md").read_text()
    lines = re.findall(r"(?m)^\|(.+)\|$", text)
    found = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [row for row in found if row[0] not in ("the guide", "---")]


@cache
def named_tests() -> set[str]:
    files = Path(REPOSITORY, "tests").rglob("test_*.py")
    texts = (file.read_text() for file in files)
    return {name for text in texts for name in re.findall(r"(?m)^def (test_\w+)", text)}


def exists(name: str) -> bool:
    """Whether what stands between backticks is there."""
    if name.startswith("resentry-agent "):
        return is_typed_right(name)
    module, _, attribute = name.partition(".")
    return (
        name in names_of_ours()
        or (module == "resentry" and hasattr(resentry, attribute))
        or name in ('role="api"', 'role="celery"', "python -m resentry test_sentry.py")
    )


@cache
def names_of_ours() -> set[str]:
    """Tests, settings, keys of a secret, rules of doctor, alerts, targets of make."""
    targets = re.findall(r"(?m)^([\w-]+):", Path(REPOSITORY, "Makefile").read_text())
    settings = {PREFIX + each.name.upper() for each in settings_of(Settings)}
    keys = {*KEYS, *OTHER_VARIABLES, "ENVIRONMENT", "VERSION"}
    made = {f"make {target}" for target in targets}
    return named_tests() | settings | keys | {*RULES} | alert_names() | made


def is_typed_right(line: str) -> bool:
    """Whether the command exists, and each of its options."""
    context = click.Context(group, info_name="resentry-agent")
    command: click.Command | None = group
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group) and words and words[0][0] != "-":
        command = command.get_command(context, words.pop(0))
    if command is None:
        return False
    options = {name for each in command.params for name in each.opts}
    return {word for word in words if word.startswith("--")} <= options


@cache
def alert_names() -> set[str]:
    """Those of Prometheus, of the catalogue, and what Alertmanager knows by its name."""
    config = Path(REPOSITORY, "k8s", "monitoring", "alertmanager.yml").read_text()
    routes = yaml.safe_load(config)["route"]["routes"]
    named = re.findall(r'alertname="(\w+)"', str(routes))
    others = re.findall(r"`(\w+)`", "".join(row[0] for row in on_call.OTHERS))
    return {*named, *others, *(rule["alert"] for rule in alerts.rules())}


def test_the_table_has_each_line_of_the_guide() -> None:
    """In its order, and none that it lacks."""
    assert len(lines_of_the_guide()) > 50
    assert [row[0] for row in rows()] == lines_of_the_guide()


def test_each_line_of_the_guide_is_done_by_something_that_exists() -> None:
    """Each row names something, and a test; or it says that a person does it."""
    bad: dict[str, list[str]] = {}
    for line, what, shown in rows():
        names = re.findall(r"`([^`]+)`", f"{what} {shown}")
        unknown = [name for name in names if not exists(name)]
        if unknown or not re.search(r"`|\]\(", what):
            bad[line] = unknown
        assert "`test_" in shown or "by a person" in what or "a page" in what, line
    assert bad == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_tells_to_type_exists(page: Path) -> None:
    """Commands with their options, settings, alerts."""
    text = page.read_text()
    names = re.findall(r"`([^`\n]+)`", text)
    kinds = ("resentry-agent ", "RESENTRY_", "SENTRY_", "RSN", "Resentry", "test_")
    looked_at = {name for name in names if name.startswith(kinds)}
    assert looked_at
    assert [name for name in looked_at if not exists(name.partition("=")[0])] == []
