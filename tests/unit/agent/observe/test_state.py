"""The state file may hold anything: it is never a traceback."""

from __future__ import annotations

import msgspec
import pytest

from agent.cli.status_lines import status_lines
from agent.domain.outcome import Outcome
from agent.domain.passes import Moment, Passes
from agent.domain.rejections import Rejections
from agent.domain.rollout import assess
from agent.errors import SourceDown
from agent.observe import document

ODD = [
    b"",
    b"[]",
    b"null",
    b"{",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"\xff\xfe",
    b'{"since": 5}',
    b'{"since": "9999-99-99"}',
    b'{"since": "0001-01-01T00:00:00Z", "error": "X", "failures": 1}',
    b'{"last_success_at": "9999-12-31T23:59:59Z"}',
    b'{"error": 5}',
    b'{"error": null, "failures": "x"}',
    b'{"failures": 1e400}',
    b'{"failures": NaN}',
    b'{"failures": ' + b"9" * 5000 + b"}",
    b'{"outcome": "odd"}',
    b'{"notes": "x"}',
    b'{"dsn_checks": 5}',
    b'{"notify": [5]}',
    b'{"problems": {}}',
    b'{"where": 5}',
    b'{"where": {"address": {"b": NaN}}}',
    b'{"rejections": 5}',
    b'{"rejections": []}',
    b'{"rejections": {"revisions": [["a"]]}}',
    b'{"sentence": "\\ud800"}',
    b'{"where": {"address": "\\ud83d"}}',
    b'{"notes": ["\\udc00"], "failures": 1, "error": "X"}',
    b'{"rejections": {"dsns": ["\\ud800"]}}',
]


@pytest.mark.parametrize("body", ODD, ids=lambda body: repr(body[:40]))
def test_an_odd_state_file_is_read_as_far_as_it_can_be(body: bytes) -> None:
    """By `status`, as text and as JSON, and by the next agent."""
    saved = document.decode_state(body)
    nobody = assess([], None, late=False)
    result = document.status("not running", None, nobody, saved)
    assert msgspec.json.encode(result)
    assert "\n".join(status_lines(result, "why")).encode()

    Rejections.from_document(saved.get("rejections"))
    passes = Passes.resumed(saved, 0.0)
    for outcome in (Outcome.kept(SourceDown("x"), None), Outcome("unchanged", "x")):
        passes = passes.after(outcome, Moment(1.0, 1.0), 0.1)
    assert passes.failures == 0
