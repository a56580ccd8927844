"""The file formats: what goes in comes out, and nothing odd gets through."""

import hashlib
import json
import signal
from dataclasses import replace
from typing import Any

import pytest

from resentry.answers import ANSWERS_LIMIT, Answer
from resentry.contract import (
    BOOSTS_LIMIT,
    HOLDERS_LIMIT,
    MATCH_LIMIT,
    NAMED_LIMIT,
    RECEIPT_LIMIT_BYTES,
    RULES_LIMIT,
    SCHEMA,
    SETTINGS_LIMIT_BYTES,
    Boost,
    ContractError,
    Holder,
    Receipt,
    Rule,
    Snapshot,
    decode_receipt,
    decode_snapshot,
    encode_receipt,
    encode_snapshot,
    fingerprint,
    revision_of,
    signal_number,
)
from resentry.verification import UNABLE

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"
FULL = Snapshot(
    settings={"SENTRY_DSN": DSN, "SENTRY_TRACES_SAMPLE_RATE": 0.1},
    roles={"celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.01}},
    rules=(Rule("GET /health", 0.0), Rule("app.tasks.*", 1.0, "celery")),
    boosts=(Boost("b1", 1.0, "2026-11-24T06:15:00Z", "POST /checkout", "api"),),
    provenance={"SENTRY_DSN": {"source": "vault", "path": "secret/x", "version": 7}},
    revision="3f9a1c2b7d04",
    sequence=42,
    published_at="2026-11-24T06:00:00Z",
    judged_by="production",
)
RECEIPT = Receipt(
    id="0123456789abcdef",
    role="api",
    pid=7,
    pidns=4026531836,
    start_time=99,
    parent="fedcba9876543210",
    revision="3f9a1c2b7d04",
    sequence=42,
    phase="running",
    refused=("aaaaaaaaaaaa", 43),
    error="must be https in production",
    signal=40,
    tid=8,
    origins={"SENTRY_DSN": "snapshot"},
    dsn="0123456789ab",
    holders=(Holder("otlp", "ba9876543210"), Holder("client", "")),
    ignored=("rules.parent",),
)
NEEDED = {"schema", "id", "role", "pid", "pidns", "start_time"}
"""What every receipt has."""


@pytest.mark.parametrize("snapshot", [FULL, Snapshot({}, revision="0" * 12)])
def test_a_snapshot_comes_back_as_it_was(snapshot: Snapshot) -> None:
    """Decoding undoes encoding, with every field and with none."""
    assert snapshot == decode_snapshot(encode_snapshot(snapshot))


@pytest.mark.parametrize(
    "receipt",
    [RECEIPT, Receipt(id="a" * 16, role="other", pid=1, pidns=0, start_time=0)],
)
def test_a_receipt_comes_back_as_it_was(receipt: Receipt) -> None:
    """Decoding undoes encoding, with every field and with few."""
    assert receipt == decode_receipt(encode_receipt(receipt))


def test_a_receipt_of_a_later_library_is_read() -> None:
    """Fields that this version does not know are left out."""
    document = json.loads(encode_receipt(RECEIPT)) | {"colour": "blue"}
    document["holders"][0]["since"] = "2026-11-24T06:00:00Z"
    assert decode_receipt(json.dumps(document).encode()) == RECEIPT


@pytest.mark.parametrize(
    "lacks", sorted(json.loads(encode_receipt(RECEIPT)).keys() - NEEDED)
)
def test_a_receipt_of_an_earlier_library_is_read(lacks: str) -> None:
    """A field that it does not write has its default, which is never a yes."""
    document = json.loads(encode_receipt(RECEIPT))
    del document[lacks]
    found = decode_receipt(json.dumps(document).encode())
    default = getattr(
        Receipt(id="a" * 16, role="api", pid=1, pidns=0, start_time=0), lacks
    )
    expected = {"phase": "running", "verified": UNABLE}.get(lacks, default)
    assert found == RECEIPT._replace(**{lacks: expected})


@pytest.mark.parametrize("lacks", sorted(NEEDED))
def test_a_receipt_names_its_process(lacks: str) -> None:
    """Without schema, id or process it is none."""
    document = json.loads(encode_receipt(RECEIPT))
    del document[lacks]
    with pytest.raises(ContractError):
        decode_receipt(json.dumps(document).encode())


ENDLESS = '\U0001f600"\x1b' * 100_000


@pytest.mark.slow
def test_a_receipt_is_small_whatever_the_application_does() -> None:
    """Texts are cut and printable, lists are short; and the agent can read it."""
    given = RECEIPT._replace(
        sdk=ENDLESS,
        since=ENDLESS,
        error=ENDLESS + "\ud800",
        refused=(ENDLESS, 7),
        origins={f"{n}{ENDLESS}": ENDLESS for n in range(100)},
        tally={f"{n}{ENDLESS}": n for n in range(100)},
        holders=tuple(Holder(ENDLESS, ENDLESS) for _ in range(100)),
        ignored=(ENDLESS,) * 100,
        problems=(ENDLESS,) * 100,
        values={f"{n}{ENDLESS}": ENDLESS for n in range(100)},
        answers=(Answer(ENDLESS, ENDLESS, 10**17, ENDLESS),) * 100,
    )
    body = encode_receipt(given)
    assert len(body) < RECEIPT_LIMIT_BYTES
    found = decode_receipt(body)
    assert len(found.error or "") == 1000
    assert (found.error or "").isprintable()
    assert len(found.holders) == HOLDERS_LIMIT == 16
    assert len(found.ignored) == NAMED_LIMIT == 16
    assert {len(name) for name in found.ignored} == {64}
    assert {len(problem) for problem in found.problems} == {200}
    assert len(found.problems) == NAMED_LIMIT
    assert len(found.values) == 32
    assert len(found.answers) == ANSWERS_LIMIT == 8


def test_a_receipt_is_cut_when_it_is_read_too() -> None:
    """Not every writer is this library."""
    document = json.loads(encode_receipt(RECEIPT))
    document |= {"sdk": "x" * 5000, "error": "\x1b" * 5000, "ignored": ["x" * 99] * 99}
    found = decode_receipt(json.dumps(document).encode())
    assert (found.sdk, found.error) == ("x" * 200, "?" * 1000)
    assert found.ignored == ("x" * 64,) * 16


@pytest.mark.parametrize(
    ("fields", "ignored", "rules"),
    [
        (
            [{"match": "a", "traces": 1.0, "until": "noon"}],
            ("rules.until",),
            (Rule("a", 1.0),),
        ),
        (
            [{"match": "a", "errors": 0.1}, {"match": "b", "traces": 0.5}],
            ("rules.errors",),
            (Rule("b", 0.5),),
        ),
        (
            [{"match": f"{n}", "traces": 1, f"f{n % 20:02}": 1} for n in range(40)],
            tuple(f"rules.f{n:02}" for n in range(16)),
            tuple(Rule(f"{n}", 1) for n in range(40)),
        ),
        (
            [{"match": "a", "traces": 1.0, DSN: "", "x" * 99: ""}],
            ("rules.?",),
            (Rule("a", 1.0),),
        ),
    ],
    ids=["one more field", "another kind of rule", "many", "what may be a value"],
)
def test_fields_of_a_later_version_cost_a_note_and_not_the_snapshot(
    fields: list[Any], ignored: tuple[str, ...], rules: tuple[Rule, ...]
) -> None:
    """They are skipped and named; all else is read, and the revision is as published."""
    found = decode_snapshot(_snapshot_with(rules=fields, later=[{"errors": 1}]))
    assert found == replace(FULL, rules=rules, ignored=ignored)
    assert found.revision == FULL.revision
    assert "ignored" not in found.content()


def test_fields_of_a_boost_are_named_as_such() -> None:
    """And a boost still ends by itself."""
    boosts = [{"id": "b1", "traces": 1, "until": "2026-11-24T06:15:00Z", "by": "me"}]
    found = decode_snapshot(_snapshot_with(boosts=boosts))
    assert found.ignored == ("boosts.by",)
    assert found.boosts == (Boost("b1", 1, "2026-11-24T06:15:00Z"),)


@pytest.mark.parametrize(
    "same",
    [
        DSN,
        DSN.replace("https", "http"),
        DSN.replace("sentry.example.org", "SENTRY.example.ORG"),
        DSN.replace(".org", ".org:443"),
        DSN.replace("https", "http").replace(".org", ".org:80"),
        DSN.replace("@", ":secret@"),
        DSN.replace("/42", "/042"),
    ],
)
def test_the_same_key_of_the_same_project_has_one_fingerprint(same: str) -> None:
    """Its name can be computed by others, and tells no key."""
    text = "c0ffee00c0ffee00c0ffee00c0ffee00\nsentry.example.org\n\n\n42"
    assert fingerprint(same) == hashlib.sha256(text.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    "other",
    [
        DSN.replace("c0ffee00@", "c0ffee01@"),
        DSN.replace("/42", "/43"),
        DSN.replace("/42", "/relay/42"),
        DSN.replace(".org", ".com"),
        DSN.replace(".org", ".org:80"),
        DSN.replace(".org", ".org:8443"),
    ],
)
def test_another_key_or_project_has_another_fingerprint(other: str) -> None:
    """Key, host, port, path and project count."""
    assert len(fingerprint(other)) == 12
    assert fingerprint(other) != fingerprint(DSN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "https://sentry.example.org/42",
        "https://key@/42",
        "https://key@sentry.example.org/",
        "https://key@sentry.example.org/lms",
        "https://key@sentry.example.org:port/42",
        "https://key@[::1/42",
        "ftp://key@sentry.example.org/42",
        "https://k\ud800@sentry.example.org/42",
    ],
)
def test_what_is_no_dsn_has_no_fingerprint(text: str) -> None:
    """An empty one is not an error: nothing is sent by it."""
    assert fingerprint(text) == ""


def test_the_revision_is_twelve_hexadecimal_digits() -> None:
    """A revision is short enough to be read aloud, and safe in a file's name."""
    assert len(revision_of(FULL)) == 12
    assert set(revision_of(FULL)) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "same",
    [
        replace(FULL, settings=dict(reversed(FULL.settings.items()))),
        replace(FULL, provenance={}),
        replace(FULL, sequence=43),
        replace(FULL, published_at="2027-01-01T00:00:00Z"),
        replace(FULL, revision=""),
    ],
    ids=["key order", "provenance", "sequence", "published_at", "revision"],
)
def test_equal_content_has_an_equal_revision(same: Snapshot) -> None:
    """What is no content, and the order of keys, do not make another revision."""
    assert revision_of(FULL) == revision_of(same)


@pytest.mark.parametrize(
    "other",
    [
        replace(FULL, settings={**FULL.settings, "SENTRY_TRACES_SAMPLE_RATE": 0.2}),
        replace(FULL, settings={"SENTRY_DSN": DSN}),
        replace(FULL, roles={}),
        replace(FULL, rules=tuple(reversed(FULL.rules))),
        replace(FULL, boosts=()),
    ],
    ids=["value", "key", "roles", "order of rules", "boosts"],
)
def test_other_content_has_another_revision(other: Snapshot) -> None:
    """Every part of the content counts, and the order of the rules is content."""
    assert revision_of(FULL) != revision_of(other)


def _snapshot_with(**changed: Any) -> bytes:
    return json.dumps(json.loads(encode_snapshot(FULL)) | changed).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"[" * 60_000,
        b'{"schema": 1}',
        _snapshot_with(schema=SCHEMA + 1),
        _snapshot_with(settings=DSN),
        _snapshot_with(settings=None),
        _snapshot_with(roles={"api": DSN}),
        _snapshot_with(schema=DSN),
        _snapshot_with(schema=[DSN]),
        _snapshot_with(schema=10**4000),
        _snapshot_with(rules=[{"match": "x"}]),
        _snapshot_with(rules=[{"match": "x", "traces": DSN}]),
        _snapshot_with(rules=[{"match": "x", "traces": 7}]),
        _snapshot_with(rules=[{"match": "x", "traces": float("nan")}]),
        _snapshot_with(rules=[{"match": [DSN], "traces": 1}]),
        _snapshot_with(rules=[{"match": "x", "traces": 1, "role": 7}]),
        _snapshot_with(boosts=[{"id": "b", "traces": 1, "until": DSN}]),
        _snapshot_with(
            boosts=[{"id": "b", "traces": 1, "until": "2026-11-24T06:15:00"}]
        ),
        _snapshot_with(rules=[DSN]),
        _snapshot_with(boosts=[{}]),
        _snapshot_with(rules=[{"match": "x", "traces": "0.5"}]),
        _snapshot_with(rules=[{"match": "x", "traces": True}]),
        _snapshot_with(rules=[{"match": "", "traces": 1}]),
        _snapshot_with(rules=[{"match": "c0ffee" * 40, "traces": 1}]),
        _snapshot_with(rules=[{"match": "x", "traces": 1, "role": "c0ffee "}]),
        _snapshot_with(boosts=[{"id": "b", "traces": 1, "until": 1795500900}]),
        _snapshot_with(boosts=[{"id": "b", "traces": 1, "until": "2026-11-24T06:15Z"}]),
        _snapshot_with(
            boosts=[{"id": "", "traces": 1, "until": "2026-11-24T06:15:00Z"}]
        ),
        _snapshot_with(sequence="4_2"),
        _snapshot_with(sequence=4.2),
        _snapshot_with(sequence=True),
        _snapshot_with(revision=7),
        _snapshot_with(sequence=DSN),
        _snapshot_with().replace(b'"sequence": 42', b'"sequence": 1e999'),
        _snapshot_with(judged_by=7),
        _snapshot_with(settings={"SENTRY_DSN": 7}),
        _snapshot_with(settings={"SENTRY_DSN": None}),
        _snapshot_with(settings={"SENTRY_RELEASE": {"c0ffee": 1}}),
        _snapshot_with(settings={"SENTRY_RELEASE": ["c0ffee"]}),
        _snapshot_with(settings={"": "c0ffee"}),
        _snapshot_with(settings={"../c0ffee": "x"}),
        _snapshot_with(settings={"c0ffee\n": "x"}),
        _snapshot_with(settings={"c0ffee" * 11: "x"}),
        _snapshot_with(settings={f"K{number}": "x" for number in range(65)}),
        _snapshot_with(settings={"SENTRY_RELEASE": "\ud83d"}),
        _snapshot_with(settings={"SENTRY_SAMPLE_RATE": float("nan")}),
        _snapshot_with(settings={"SENTRY_SAMPLE_RATE": float("inf")}),
        _snapshot_with().replace(b"0.1", b"1e999"),
        _snapshot_with(roles=[]),
        _snapshot_with(roles={"c0ffee c0ffee": {}}),
        _snapshot_with(roles={"api": {"SENTRY_DSN": 7}}),
        _snapshot_with(roles={"api": {"c0ffee/": 7}}),
        _snapshot_with(roles={f"{number}": {} for number in range(33)}),
        _snapshot_with(provenance=["c0ffee"]),
        _snapshot_with(provenance={"SENTRY_DSN": "c0ffee"}),
        _snapshot_with(provenance={"SENTRY_DSN": {"version": float("nan")}}),
        _snapshot_with(provenance={"SENTRY_DSN": {"path": "\ud83d"}}),
        _snapshot_with(rules=[{"match": "\ud83d", "traces": 1}]),
        _snapshot_with(rules=[{"match": "c0ffee\x1b", "traces": 1}]),
        _snapshot_with(
            boosts=[{"id": "\n", "traces": 1, "until": "2026-11-24T06:15:00Z"}]
        ),
        _snapshot_with() + b" " * SETTINGS_LIMIT_BYTES,
    ],
)
def test_what_is_no_snapshot_is_refused_without_a_quote(body: bytes) -> None:
    """A wrong shape is a ContractError that says nothing of the content."""
    with pytest.raises(ContractError) as caught:
        decode_snapshot(body)
    assert "c0ffee" not in str(caught.value)
    assert len(str(caught.value)) < 100
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("kind", "limit", "one"),
    [
        ("rules", RULES_LIMIT, {"match": "x", "traces": 1}),
        (
            "boosts",
            BOOSTS_LIMIT,
            {"id": "b", "traces": 1, "until": "2026-11-24T06:15:00Z"},
        ),
    ],
)
def test_a_snapshot_has_a_bound_of_rules_and_boosts(
    kind: str, limit: int, one: dict[str, Any]
) -> None:
    """The bound itself is read; one more is refused, with the bound."""
    found = decode_snapshot(_snapshot_with(**{kind: [one] * limit}))
    assert len(getattr(found, kind)) == limit
    with pytest.raises(ContractError, match=f"has more than {limit} {kind}"):
        decode_snapshot(_snapshot_with(**{kind: [one] * (limit + 1)}))


@pytest.mark.parametrize(
    "snapshot",
    [
        replace(FULL, provenance={"SENTRY_DSN": {"version": float("nan")}}),
        replace(FULL, provenance={"SENTRY_DSN": {"path": "\ud83d"}}),
        replace(FULL, provenance={"SENTRY_DSN": {"path": b"c0ffee"}}),
        replace(FULL, settings={"SENTRY_SAMPLE_RATE": float("inf")}),
        replace(FULL, settings={"SENTRY_DSN": 7}),
        replace(FULL, settings={"../c0ffee": "x"}),
        replace(FULL, settings={"SENTRY_RELEASE": "x" * SETTINGS_LIMIT_BYTES}),
        replace(FULL, roles={f"{number}": {} for number in range(33)}),
        replace(FULL, rules=FULL.rules * RULES_LIMIT),
        replace(FULL, boosts=FULL.boosts * (BOOSTS_LIMIT + 1)),
        replace(FULL, rules=(Rule("x", 7),)),
    ],
    ids=range(11),
)
def test_no_snapshot_is_written_that_would_not_be_read(snapshot: Snapshot) -> None:
    """What is about to be published is read back first, by the library's own reader."""
    with pytest.raises(ContractError) as caught:
        encode_snapshot(snapshot)
    assert "c0ffee" not in str(caught.value)


def test_a_snapshot_of_an_older_agent_is_read() -> None:
    """It does not say by which environment it was judged."""
    document = json.loads(encode_snapshot(FULL))
    del document["judged_by"]
    found = decode_snapshot(json.dumps(document).encode())
    assert found == replace(FULL, judged_by="")


def test_a_pattern_has_a_bound_of_characters() -> None:
    """200 of them are read."""
    rules = [{"match": "x" * MATCH_LIMIT, "traces": 1}]
    assert decode_snapshot(_snapshot_with(rules=rules)).rules[0].match == "x" * 200


def _receipt_with(**changed: Any) -> bytes:
    return json.dumps(json.loads(encode_receipt(RECEIPT)) | changed).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"id": "0123',
        b"7",
        b"[" * 60_000,
        b'{"schema": 1}',
        _receipt_with(schema=SCHEMA + 1),
        _receipt_with(schema=DSN),
        _receipt_with(pid="7"),
        _receipt_with(pid=True),
        _receipt_with(tid="7"),
        _receipt_with(holders={}),
        _receipt_with(holders=[DSN]),
        _receipt_with(holders=[{"kind": DSN}]),
        _receipt_with(holders=[{"kind": 1, "dsn": 1}]),
        _receipt_with(ignored=[1]),
        _receipt_with(tally={"parked": DSN}),
        _receipt_with(origins={"SENTRY_DSN": 1}),
        _receipt_with(id=None),
        _receipt_with(revision=7),
        _receipt_with(refused=["a"]),
        _receipt_with(refused="a"),
        _receipt_with(refused=[1, "a"]),
        _receipt_with(origins=[]),
        _receipt_with(swap_ms=float("nan")),
        _receipt_with(role="\ud800"),
        _receipt_with(error="\ud800"),
    ],
)
def test_what_is_no_receipt_is_refused(body: bytes) -> None:
    """A wrong type, a nest of brackets, and what no log could print are refused."""
    with pytest.raises(ContractError) as caught:
        decode_receipt(body)
    assert "c0ffee" not in str(caught.value)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", signal.SIGRTMIN + 6),
        ("SIGRTMIN", signal.SIGRTMIN),
        ("SIGRTMIN+0", signal.SIGRTMIN),
        ("SIGRTMIN+30", signal.SIGRTMIN + 30),
        ("off", None),
    ],
)
def test_the_signal_is_counted_from_the_first_real_time_one(
    text: str, expected: int | None
) -> None:
    """Empty is the default, `off` is none."""
    assert expected == signal_number(text)


@pytest.mark.parametrize(
    "text", ["SIGTERM", "SIGUSR1", "15", "SIGRTMIN+31", "SIGRTMIN-1", "SIGRTMIN+1\n"]
)
def test_no_other_signal_can_be_chosen(text: str) -> None:
    """Every other signal means something to uvicorn, gunicorn or Celery."""
    with pytest.raises(ValueError, match="SIGRTMIN"):
        signal_number(text)
