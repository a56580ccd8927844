"""SECURITY.md promises a test for each defence: here they are looked up."""

import re

from lab.paths import REPOSITORY


def test_each_defence_has_the_test_that_is_named_beside_it() -> None:
    """A test that is renamed or removed takes its promise with it."""
    named = set(re.findall(r"`(test_\w+)`", (REPOSITORY / "SECURITY.md").read_text()))
    files = (REPOSITORY / "tests").rglob("test_*.py")
    there = {
        name
        for file in files
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 20
    assert named - there == set()
