"""Files that the agent has kept, with every field spoilt in every way."""

from __future__ import annotations

import copy
import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from agent.domain.dsn_check import dsns_of
from agent.domain.guard_rails import GuardRails
from agent.domain.kept import decode_kept
from agent.domain.rejections import Rejections
from agent.domain.value import replace
from agent.domain.wishes import (
    Wishes,
    decode_wishes,
    difference,
    encode_wishes,
    overlay,
    with_seconds_left,
)
from agent.publish.files import files_of
from resentry.contract import (
    Boost,
    ContractError,
    Rule,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
)
from resentry.effective import resolve
from resentry.sampling import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator

DSN = "https://c0ffee00@sentry.example.org/42"
UNTIL = "2099-01-01T00:00:00Z"
FULL = Snapshot(
    settings={
        "SENTRY_DSN": DSN,
        "SENTRY_ENVIRONMENT": "production",
        "SENTRY_TRACES_SAMPLE_RATE": 0.1,
        "SENTRY_SEND_PII": False,
    },
    roles={"celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.01, "SENTRY_DSN": DSN}},
    rules=(Rule("GET /x", 0.5, "api"),),
    boosts=(Boost("b", 1.0, UNTIL, "x", "api"),),
    provenance={"SENTRY_DSN": {"source": "vault", "custom_metadata": {"a": "b"}}},
    revision="3f9a1c2b7d04",
    sequence=42,
    published_at="2026-11-24T06:00:00Z",
    judged_by="production",
)
OTHER = replace(FULL, settings={"SENTRY_DSN": DSN.replace("42", "43")})
ODD: list[Any] = [
    *(None, True, 7, -1, 0.5, math.nan, math.inf, 10**400),
    *("", "x", "a b", "\ud800", "\x1b[2J", "\U0001f600" * 300, f"{DSN}\nA=b"),
    *([], [None], [7], ["x"], [[]], [{}], {}, {"x": 1}, {"": {}}, {"a/b": "c"}),
    *({"x": {"y": [1]}}, {"celery": {}}, "0001-01-01T00:00:00+23:59"),
]


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(document, dict):
        yield from ((*path, name) for name in ("new", "../x", "\ud800"))
    named = document.items() if isinstance(document, dict) else []
    listed = enumerate(document) if isinstance(document, list) else []
    for name, value in (*named, *listed):
        yield from places(value, (*path, name))


def spoilt(document: Any) -> Iterator[bytes]:
    """Yield the document with every place taken by every odd value."""
    for path in places(document):
        for odd in ODD:
            changed: Any = {"root": copy.deepcopy(document)}
            *above, last = ("root", *path)
            place = changed
            for name in above:
                place = place[name]
            place[last] = odd
            yield json.dumps(changed["root"]).encode()


def use(snapshot: Snapshot) -> None:
    """Do all that the agent and a process do with a snapshot."""
    encode_snapshot(overlay(snapshot, Wishes(), 0.0))
    files_of(snapshot)
    dsns_of(snapshot)
    difference(snapshot, FULL)
    "".join(GuardRails().problems(snapshot, 0.0)).encode()
    with_seconds_left(snapshot.boosts, 0.0)
    for role in ("api", "celery"):
        resolve(snapshot, role, {}).reason().encode()
        Sampler(snapshot, role).choose({"transaction_context": {"name": "x"}})


@pytest.mark.slow
def test_a_snapshot_that_was_kept_is_usable_or_refused() -> None:
    """Nothing after the reader meets a value that it cannot handle."""
    refused, taken = 0, []
    for body in spoilt(json.loads(encode_snapshot(FULL))):
        try:
            taken.append(decode_kept(body))
        except ContractError:
            refused += 1
    for snapshot in taken:
        use(snapshot)
    assert refused > 2 * len(taken) > 100


@pytest.mark.slow
def test_a_snapshot_on_the_volume_is_usable_or_refused_by_a_process() -> None:
    """A single bad value is named by its key; everything else is no snapshot."""
    for body in spoilt(json.loads(encode_snapshot(FULL))):
        try:
            snapshot = decode_snapshot(body)
        except ContractError:
            continue
        for role in ("api", "celery"):
            found = resolve(snapshot, role, {"ENVIRONMENT": "production"})
            assert found.reason().isprintable()
            assert found.with_violations_reset().values["SENTRY_SEND_PII"] is False
            Sampler(snapshot, role).choose({"transaction_context": {"name": "x"}})


@pytest.mark.slow
def test_wishes_that_were_kept_are_usable_or_none() -> None:
    """The agent starts with whatever is left of them."""
    wishes = Wishes((Boost("o", 0.5, UNTIL),)).holding(FULL, OTHER)
    for body in spoilt(json.loads(encode_wishes(wishes))):
        found = decode_wishes(body)
        assert decode_wishes(encode_wishes(found)) == found
        use(overlay(FULL, found.pruned(OTHER, 0.0, 1.0), 0.0))


def test_rejections_that_were_kept_are_texts_or_none() -> None:
    """Also in a state file that somebody has changed."""
    whole = Rejections(("a" * 12, "b" * 12), ("c" * 12,))
    for body in spoilt(whole.document()):
        found = Rejections.from_document(json.loads(body))
        assert all(name.isprintable() for name in found.revisions + found.dsns)
        json.dumps(found.document(), ensure_ascii=False).encode()
