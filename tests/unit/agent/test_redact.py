"""What is masked in texts that somebody else's code has made."""

import pytest

from agent.redact import redact_foreign

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
UUID = "12345678-1234-1234-1234-123456789abc"


@pytest.mark.parametrize(
    "text",
    [f"no {KEY} here", f"KeyError('{KEY.upper()}')", f"accessor {UUID}.", f"/x/{UUID}"],
)
def test_a_foreign_text_shows_no_key_and_no_uuid(text: str) -> None:
    """They have no form of their own, but a traceback may quote them."""
    masked = redact_foreign(text)
    assert "…" in masked
    assert KEY not in masked.lower()
    assert UUID not in masked


@pytest.mark.parametrize(
    "text",
    ["revision 3f9a1c2b7d04", f"sha256:{KEY}{KEY}", "File agent/daemon.py, line 7"],
)
def test_a_foreign_text_keeps_what_identifies_a_version(text: str) -> None:
    """A revision and a digest are longer or shorter than a key."""
    assert redact_foreign(text) == text
