"""Each link of the documents leads to a file, and to a heading of that file."""

import re
from pathlib import Path

import pytest

from lab.bugsink import REPOSITORY

ROOT = Path(REPOSITORY)
PAGES = sorted(
    page
    for folder in (".", ".github", "client", "docs", "docs/adr", "examples", "lab")
    for page in (ROOT / folder).glob("*.md" if folder != "lab" else "**/*.md")
)


def _prose(page: Path) -> str:
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text())
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace("](", "] ("), text)


def _anchors(page: Path) -> set[str]:
    """Return the names that a forge gives to the headings of a page, and those it has."""
    headings = re.findall(r"(?m)^#+ (.+)$", _prose(page))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    own = re.findall(r'(?m)^<a id="([^"]+)"></a>$', page.read_text())
    return {heading.replace(" ", "-") for heading in plain} | {*own}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page: Path) -> None:
    """Links to other hosts are not followed."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        name, _, anchor = link.partition("#")
        if "://" in name:
            continue
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link)
    assert dead == []


def test_the_table_of_contents_has_each_page() -> None:
    """A page that docs/README.md does not link is not found."""
    contents = (ROOT / "docs" / "README.md").read_text()
    linked = set(re.findall(r"\]\(([\w.-]+\.md)\)", contents))
    assert linked == {page.name for page in (ROOT / "docs").glob("[!R]*.md")}
