"""One version for the agent, the library and the image, and a changelog that has it."""

import re
import tomllib
from datetime import date
from pathlib import Path

import agent._version
import resentry
from lab.bugsink import REPOSITORY

ROOT = Path(REPOSITORY)
VERSION = r"\d+\.\d+\.\d+"
IMAGE = re.compile(
    rf"image: \S*resentry-agent(?:-tools)?:({VERSION})|newTag: ({VERSION})"
)


def test_agent_library_and_image_have_one_version() -> None:
    """Also where a manifest, the compose file or a page names the image."""
    version = agent._version.__version__
    assert resentry.__version__ == version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"resentry=={version}" in project["dependencies"]
    named = {
        (path.relative_to(ROOT), *(tag for tag in match.groups() if tag))
        for folder in ("k8s", "examples", "docs")
        for path in (ROOT / folder).rglob("*.*ml" if folder != "docs" else "*.md")
        for match in IMAGE.finditer(path.read_text())
    }
    assert len(named) >= 3
    assert {tag for _, tag in named} == {version}, named


def test_the_newest_version_of_the_changelog_is_the_code_s() -> None:
    """Unreleased changes come first, then versions with dates, newest first."""
    headings = re.findall(r"(?m)^## (.+)$", (ROOT / "CHANGELOG.md").read_text())
    assert headings[0] == "[Unreleased]"
    released = [
        re.fullmatch(rf"\[({VERSION})\] - (\d{{4}}-\d\d-\d\d)", heading)
        for heading in headings[1:]
    ]
    assert all(released), headings
    pairs = [
        (tuple(map(int, match[1].split("."))), date.fromisoformat(match[2]))
        for match in released
        if match
    ]
    assert pairs == sorted(pairs, reverse=True)
    assert ".".join(map(str, pairs[0][0])) == agent._version.__version__


def test_the_changelog_has_the_sections_of_keep_a_changelog_alone() -> None:
    """Each at most once per version."""
    sections = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    text = (ROOT / "CHANGELOG.md").read_text()
    for version in text.split("\n## ")[1:]:
        named = re.findall(r"(?m)^### (.+)$", version)
        assert len(named) == len(set(named))
        assert set(named) <= sections
