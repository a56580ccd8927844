"""Times as people say them."""

import pytest

from agent.cli.words import age, with_ages
from resentry import formats

NOW = formats.moment("2026-11-24T06:00:00Z")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "just now"),
        (-0.4, "just now"),
        (1, "1 s ago"),
        (119, "119 s ago"),
        (120, "2 minutes ago"),
        (7199, "119 minutes ago"),
        (7200, "2 hours ago"),
        (172800, "2 days ago"),
        (-41, "in 41 s"),
        (-31 * 86400, "in 31 days"),
    ],
)
def test_an_age_is_in_the_unit_that_fits(seconds: float, words: str) -> None:
    """Before and after now."""
    assert age(seconds) == words


def test_each_time_of_a_line_gets_its_age() -> None:
    """What only looks like a time stays as it is."""
    line = (
        "since 2026-11-24T05:50:00.123Z, until 2026-11-24T07:15:00+01:00, "
        "2026-13-24T05:50:00Z, 2026-11-24"
    )
    assert with_ages(line, NOW) == (
        "since 2026-11-24T05:50:00.123Z (9 minutes ago), until "
        "2026-11-24T07:15:00+01:00 (in 15 minutes), 2026-13-24T05:50:00Z, 2026-11-24"
    )
