"""Where things are in this repository."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
PLANTED = REPOSITORY / "tests" / "data" / "planted-secrets.json"
"""Envelopes with personal data in every place, for the tests of the filters."""
SUPPORT = REPOSITORY / "tests" / "support"
"""What tests and their scripts import: on a script's PYTHONPATH."""
