"""The page: what is served, and what a browser lets it do."""

import base64
import hashlib
import re

import pytest

from agent.observe import page


@pytest.fixture
def text() -> str:
    return page.read()[0].decode()


def test_only_the_page_s_own_style_and_script_may_run() -> None:
    """By their hashes. Nothing else is allowed but to ask the agent."""
    body, policy = page.read()
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", body.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert directives.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert directives == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }


def test_the_page_needs_nothing_from_elsewhere(text: str) -> None:
    """No asset, no link to another site, no attribute that the policy forbids."""
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["data:,", "status"]
    addresses = set(re.findall(r"https?://[^\s\"'`]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert not re.search(r"\s(?:style|on[a-z]+)=", text)
    assert "@import" not in text
    assert "url(" not in text


def test_what_others_wrote_becomes_text(text: str) -> None:
    """The script has no way to make markup of it."""
    script = text.partition("<script>")[2]
    ways = ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(")
    assert [way for way in ways if way in script] == []


def test_the_page_asks_and_changes_nothing(text: str) -> None:
    """It has no form, and sends only GET."""
    assert "method:" not in text
    assert not re.search(r"<(?:form|button|input)\b", text)
