"""The agent's version: the one place that states it. And the commit it was built from."""

import os

__version__ = "0.1.0"


def commit() -> str:
    """Return the commit that the package was built from; empty in a source tree.

    The build writes the file (`hatch_build.py`), so nobody needs git later.
    """
    path = os.path.join(os.path.dirname(__file__), "commit.txt")
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""
