from lab.matrix import ROWS, table
from lab.paths import DOCS

PAGE = DOCS / "library.md"


def test_the_docs_show_every_row_that_is_tested() -> None:
    """`make docs` has written the table anew since a row changed."""
    assert table() in PAGE.read_text()


def test_no_two_rows_have_one_name() -> None:
    """A row is found by its name."""
    assert len({row.name for row in ROWS}) == len(ROWS)
