"""Rollout, outcome and redaction: pure decisions."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from agent.domain.outcome import Outcome
from agent.domain.rollout import LiveTarget, assess
from agent.errors import CandidateRefused, SourceDenied, SourceDown
from agent.redact import redact
from lab.paths import PLANTED
from resentry.contract import Holder, Receipt, Snapshot

PLANTED = json.loads(PLANTED.read_text())
CURRENT = Snapshot({}, revision="a" * 12, sequence=7)
RUNS = {"revision": CURRENT.revision, "sequence": CURRENT.sequence}
OLD = {"revision": "b" * 12, "sequence": 6}

Make = Callable[..., Receipt]


@pytest.mark.parametrize(
    ("values", "late", "expected"),
    [
        (RUNS, False, "drained"),
        (RUNS, True, "drained"),
        ({**RUNS, "phase": "running"}, False, "confirmed"),
        ({**RUNS, "phase": "running"}, True, "confirmed"),
        ({**RUNS, "holders": (Holder("otlp", "c" * 12),)}, False, "confirmed"),
        ({**RUNS, "holders": (Holder("client", ""),)}, True, "confirmed"),
        ({**RUNS, "ignored": ("rules.parent",)}, False, "drained"),
        (OLD, False, "waiting"),
        (OLD, True, "overdue"),
        ({"revision": "b" * 12, "sequence": 8}, True, "waiting"),
        ({"revision": "b" * 12, "sequence": 9}, True, "overdue"),
        ({}, False, "waiting"),
        ({**RUNS, "sequence": 6}, False, "waiting"),
        ({**RUNS, "revision": "b" * 12}, False, "waiting"),
        ({**OLD, "refused": ("a" * 12, 7), "error": "x"}, False, "refused"),
        ({**OLD, "refused": ("a" * 12, 7), "error": "x"}, True, "refused"),
        ({**OLD, "refused": ("a" * 12, 6), "error": "x"}, False, "waiting"),
        ({**RUNS, "refused": ("a" * 12, 7), "error": "x"}, False, "refused"),
        ({**RUNS, "error": "x"}, False, "waiting"),
    ],
)
def test_a_target_s_state_follows_from_its_receipt(
    receipt: Make, values: dict[str, Any], *, late: bool, expected: str
) -> None:
    """Revision and sequence must both be the current ones, and no error beside them."""
    rollout = assess([LiveTarget(receipt(**values), 0)], CURRENT, late=late)
    assert expected == rollout.state
    assert expected == rollout.targets[0][1]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["drained", "drained"], "drained"),
        (["drained", "confirmed"], "confirmed"),
        (["drained", "waiting", "confirmed"], "waiting"),
        (["waiting", "refused", "drained"], "refused"),
    ],
)
def test_the_worst_target_decides_for_all(
    receipt: Make, kinds: list[str], expected: str
) -> None:
    """One process that is behind keeps the whole from being confirmed."""
    values = {
        "drained": RUNS,
        "confirmed": {**RUNS, "phase": "running"},
        "waiting": OLD,
        "refused": {**OLD, "refused": ("a" * 12, 7), "error": "x"},
    }
    targets = [LiveTarget(receipt(**values[kind]), 0) for kind in kinds]
    rollout = assess(targets, CURRENT, late=False)
    assert expected == rollout.state
    assert rollout.sentence.startswith(f"{len(kinds)} targets: ")


@pytest.mark.parametrize("late", [False, True])
def test_silence_is_no_proof(receipt: Make, *, late: bool) -> None:
    """Without a target, or without a snapshot, nothing is ever confirmed."""
    nobody = assess([], CURRENT, late=late)
    assert (nobody.state, nobody.sentence) == (
        "waiting",
        "no process has given a receipt yet",
    )
    assert assess([LiveTarget(receipt(**RUNS), 0)], None, late=late).state == "waiting"


def test_the_sentence_counts_every_state(receipt: Make) -> None:
    """One line says how far it has got."""
    targets = [LiveTarget(receipt(**each), 0) for each in (RUNS, OLD, RUNS)]
    assert assess(targets, CURRENT, late=True).sentence == (
        "3 targets: 2 drained, 1 overdue"
    )
    assert assess(targets[:1], CURRENT, late=True).sentence == "1 target: 1 drained"
    targets.append(LiveTarget(receipt(**RUNS, phase="running"), 0))
    assert assess(targets, CURRENT, late=True).sentence == (
        "4 targets: 3 confirmed, 2 of these drained, 1 overdue"
    )


@pytest.mark.parametrize(
    ("minimum", "late", "expected", "missing"),
    [
        ({}, False, "drained", {}),
        ({"api": 2}, False, "drained", {}),
        ({"api": 3}, False, "waiting", {"api": 1}),
        ({"api": 3}, True, "overdue", {"api": 1}),
        ({"api": 2, "celery": 2}, False, "waiting", {"celery": 2}),
    ],
)
def test_a_minimum_counts_workers_and_not_mains(
    receipt: Make,
    minimum: dict[str, int],
    expected: str,
    missing: dict[str, int],
    *,
    late: bool,
) -> None:
    """A role with too few of them keeps all from being confirmed, and is named."""
    targets = [LiveTarget(receipt(**RUNS), 0), LiveTarget(receipt(**RUNS), 0)]
    targets.append(LiveTarget(receipt(**RUNS, role="celery"), 0, main=True))
    rollout = assess(targets, CURRENT, late=late, minimum=minimum)
    assert (rollout.state, rollout.missing) == (expected, missing)
    lacking = [f", {number} {role} missing" for role, number in missing.items()]
    assert rollout.sentence == "3 targets: 3 drained" + "".join(lacking)


def test_a_minimum_does_not_hide_that_nobody_is_there() -> None:
    """Zero receipts is waiting, with and without it; late, it is overdue."""
    assert assess([], CURRENT, late=False, minimum={"api": 1}).state == "waiting"
    assert assess([], CURRENT, late=True, minimum={"api": 1}).state == "overdue"


@pytest.mark.parametrize("late", [False, True])
def test_who_gives_no_readable_receipt_waits(receipt: Make, *, late: bool) -> None:
    """Beside however many good ones; it counts for no role's minimum."""
    silent = LiveTarget.unreadable("a" * 16, 7, "the receipt is not JSON")
    good = LiveTarget(receipt(**RUNS), 0)
    state = "overdue" if late else "waiting"
    rollout = assess([good, silent], CURRENT, late=late, minimum={"unknown": 1})
    assert rollout.state == state
    assert rollout.sentence == f"2 targets: 1 drained, 1 {state}"
    assert rollout.notes == ["unknown pid 7: the receipt is not JSON"]


def test_a_process_in_another_pid_namespace_is_named_by_its_id() -> None:
    """The kernel does not say its pid here."""
    assert (
        LiveTarget.unreadable("a" * 16, 0, "why").name == f"unknown target {'a' * 16}"
    )


def test_two_targets_of_one_name_are_told_apart(receipt: Make) -> None:
    """Two containers of a pod each have a pid 1; the id of the receipt differs."""
    ids = ["a" * 16, "b" * 16, "c" * 16]
    targets = [
        LiveTarget(receipt(**RUNS | {"id": id_, "pid": pid, "error": "why"}), 0)
        for id_, pid in zip(ids, (1, 1, 2), strict=True)
    ]
    rollout = assess(targets, CURRENT, late=True)
    assert [target.name for target, _ in rollout.targets] == [
        f"api pid 1 of target {ids[0]}",
        f"api pid 1 of target {ids[1]}",
        "api pid 2",
    ]
    assert all(ids[n] in rollout.notes[n] for n in (0, 1))


@pytest.mark.parametrize(("late", "state"), [(False, "waiting"), (True, "overdue")])
def test_what_is_not_seen_keeps_all_from_being_confirmed(
    receipt: Make, *, late: bool, state: str
) -> None:
    """A bound, or an error, never makes a yes of what is unknown."""
    good = [LiveTarget(receipt(**RUNS), 0)]
    rollout = assess(good, CURRENT, late=late, unknown="too many files")
    assert rollout.state == state
    assert rollout.sentence == "1 target: 1 drained; too many files"
    nobody = assess([], CURRENT, late=late, unknown="too many files")
    assert (nobody.state, nobody.sentence) == (state, "too many files")


def test_a_target_says_who_holds_it_back_and_what_it_ignores(receipt: Make) -> None:
    """One sentence for each holder, and one for the fields."""
    holders = (Holder("otlp", "c" * 12), Holder("client", "d" * 12))
    target = LiveTarget(
        receipt(**RUNS, holders=holders, ignored=("rules.parent", "boosts.by")), 0
    )
    assert target.notes == [
        "otlp still sends by the older DSN cccccccccccc",
        "client still sends by the older DSN dddddddddddd",
        "ignores rules.parent, boosts.by: its version of the library is too old",
    ]


def test_a_published_pass_says_what() -> None:
    """Revision and sequence stand in the sentence and in the fields."""
    outcome = Outcome.published(CURRENT, ("a note",))
    assert outcome.sentence == "published revision aaaaaaaaaaaa, sequence 7"
    assert (outcome.kind, outcome.revision, outcome.sequence, outcome.exit_code) == (
        "published",
        CURRENT.revision,
        7,
        0,
    )
    assert outcome.notes == ("a note",)


def test_an_unchanged_pass_is_a_good_one() -> None:
    """Nothing new is success."""
    outcome = Outcome.unchanged(CURRENT, ())
    assert (outcome.kind, outcome.exit_code) == ("unchanged", 0)
    assert outcome.sentence == "nothing new: revision aaaaaaaaaaaa stays published"


def test_a_refused_candidate_says_once_what_stays() -> None:
    """The sentence says so; the hint must not contradict it."""
    outcome = Outcome.kept(CandidateRefused(["SENTRY_DSN is bad"], "f" * 12), None)
    assert outcome.sentence.endswith("; nothing is published yet")
    assert outcome.hint == (
        "correct the values at the source, or a setting that the message names"
    )


@pytest.mark.parametrize(
    ("current", "stays"),
    [
        (CURRENT, "revision aaaaaaaaaaaa stays published"),
        (None, "nothing is published yet"),
    ],
)
@pytest.mark.parametrize(
    ("error", "expected", "begins"),
    [
        (
            SourceDown("Vault is sealed", "wait"),
            ("failed", 69, True),
            "Vault is sealed",
        ),
        (SourceDenied("no", "x"), ("failed", 77, False), "no"),
        (
            CandidateRefused(["SENTRY_DSN is bad"], "f" * 12),
            ("refused", 65, False),
            "candidate ffffffffffff is refused: SENTRY_DSN is bad",
        ),
    ],
)
def test_a_failed_pass_says_what_stays(
    error: Any,
    expected: tuple[str, int, bool],
    begins: str,
    current: Snapshot | None,
    stays: str,
) -> None:
    """What went wrong, what still holds, and when it is tried again."""
    outcome = Outcome.kept(error, current)
    assert expected == (outcome.kind, outcome.exit_code, outcome.retry_soon)
    assert f"{begins}; {stays}" == outcome.sentence
    assert error.hint == outcome.hint
    assert (current.revision if current else None) == outcome.revision


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "to https://c0ffee00c0ffee00@sentry.example.org/42.",
            "to https://…@sentry.example.org/42.",
        ),
        ("HTTP://c0ffee00:older@host/1", "HTTP://…@host/1"),
        ("X-Vault-Token: hvs.CAESIJplantedVaultToken0123456789", "X-Vault-Token: …"),
        ("hvb.AAAAAQplantedBatchToken0123456789", "…"),
        ("s.plantedLegacyToken0123456789", "…"),
        (
            "https://vault:8200/v1/secret/data/lms",
            "https://vault:8200/v1/secret/data/lms",
        ),
        ("resentry.domain.something_rather_long_here", None),
        ("mail someone@example.org", None),
        (7, None),
        (None, None),
        (True, None),
    ],
)
def test_known_shapes_of_secrets_are_masked(text: Any, expected: Any) -> None:
    """Keys of DSNs and Vault tokens go; host, project and plain words stay."""
    assert (text if expected is None else expected) == redact(text)


@pytest.mark.parametrize("id_", ["s06", "s22", "s27"])
def test_no_planted_dsn_or_token_comes_through(id_: str) -> None:
    """At any depth of a real-shaped event, DSN and tokens are masked."""
    needle = next(s["needle"] for s in PLANTED["secrets"] if s["id"] == id_)
    assert needle in json.dumps(PLANTED["event"])
    assert needle not in json.dumps(redact(PLANTED["event"]), ensure_ascii=False)


@pytest.mark.parametrize(
    "hidden",
    [
        ValueError("https://c0ffee00c0ffee00@host/1"),
        b"https://c0ffee00c0ffee00@host/1",
        {"https://c0ffee00c0ffee00@host/1"},
        {"a": [("x", {"b": ValueError("https://c0ffee00c0ffee00@host/1")})]},
    ],
    ids=lambda it: type(it).__name__,
)
def test_what_a_renderer_would_print_is_masked(hidden: object) -> None:
    """An exception, bytes or a set is shown by its text, so its text is masked."""
    assert "c0ffee" not in str(redact(hidden))
