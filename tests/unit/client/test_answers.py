"""What the servers of a process's DSNs answer, in its receipt."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from children import FORKS

from lab.process import free_port
from lab.sink import Sink
from resentry import answers, clock
from resentry.answers import ANSWERS_LIMIT, Answer, Answers, kind_of
from resentry.contract import (
    ContractError,
    Receipt,
    decode_receipt,
    encode_receipt,
    fingerprint,
)

STEPS = ""
KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set both clocks to a number of seconds."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr(answers.time, "time", lambda: seconds)
        monkeypatch.setattr(clock, "monotonic", lambda: seconds)

    set_to(1000.0)
    return set_to


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (None, "unreached"),
        *((status, "accepted") for status in (200, 202)),
        *((status, "refused") for status in (401, 403, 404)),
        (429, "limited"),
        *((status, "failed") for status in (302, 400, 413, 500, 503)),
    ],
)
def test_a_status_has_one_kind(status: int | None, kind: str) -> None:
    """A revoked DSN, a full quota and a server in trouble are three things."""
    assert kind_of(status) == kind


def test_an_answer_says_since_when_and_how_often(
    clocks: Callable[[float], None],
) -> None:
    """The first of its kind starts the time; the last accepted one is kept."""
    seen = Answers()
    for seconds, status in [(1000, 200), (1010, 403), (1020, 401), (1030, None)]:
        clocks(seconds)
        seen.note("d1", status)
        (now,) = seen.shown()
    assert now == Answer(
        dsn="d1",
        kind="unreached",
        status=None,
        since="1970-01-01T00:17:10Z",
        accepted_at="1970-01-01T00:16:40Z",
        accepted=1,
        refused=2,
        unreached=1,
    )


def test_a_receipt_is_not_written_for_each_event(
    clocks: Callable[[float], None],
) -> None:
    """Counts are shown now and then, another kind at once."""
    seen = Answers()
    seen.note("d1", 200)
    first = seen.shown()
    clocks(1029.0)
    seen.note("d1", 200)
    assert seen.shown() is first
    clocks(1030.0)
    assert [answer.accepted for answer in seen.shown()] == [2]
    seen.note("d1", 429)
    assert [answer.kind for answer in seen.shown()] == ["limited"]


def test_the_dsns_that_were_used_last_are_remembered() -> None:
    """A process that lives through a hundred rotations stays small."""
    seen = Answers()
    for number in range(3 * ANSWERS_LIMIT):
        seen.note("first", 200)
        seen.note(f"d{number}", 200)
    shown = seen.shown()
    assert len(shown) == ANSWERS_LIMIT
    assert {"first", f"d{3 * ANSWERS_LIMIT - 1}"} <= {answer.dsn for answer in shown}


REQUIRED = {"id": "0" * 16, "role": "api", "pid": 7, "pidns": 1, "start_time": 2}
GIVEN = Answer("d1", "refused", 403, "2026-11-24T06:00:00Z", refused=3)


def test_a_receipt_carries_answers() -> None:
    """What is read is what was written."""
    receipt = Receipt(**REQUIRED, answers=(GIVEN,))
    assert decode_receipt(encode_receipt(receipt)) == receipt


def test_words_and_fields_of_a_newer_library_are_read() -> None:
    """A kind that this version does not know is shown as it is."""
    newer = GIVEN._asdict() | {"kind": "postponed", "retries": 9}
    text = encode_receipt(Receipt(**REQUIRED)).replace(
        b'"answers": []', b'"answers": [' + json.dumps(newer).encode() + b"]"
    )
    (answer,) = decode_receipt(text).answers
    assert answer == GIVEN._replace(kind="postponed")


@pytest.mark.parametrize(
    "wrong", [{"dsn": 1}, {"status": "403"}, {"refused": "3"}, {"since": None}]
)
def test_answers_of_another_type_make_no_receipt(wrong: dict[str, Any]) -> None:
    """Nothing of it is shown to anybody."""
    odd: Any = GIVEN._replace(**wrong)
    text = encode_receipt(Receipt(**REQUIRED, answers=(odd,)))
    with pytest.raises(ContractError, match="answers has the wrong type"):
        decode_receipt(text)


@pytest.mark.process
@pytest.mark.parametrize(
    ("how", "kind", "status"),
    [
        ("ok", "accepted", 200),
        (403, "refused", 403),
        (429, "limited", 429),
        (500, "failed", 500),
        (None, "unreached", None),
    ],
)
def test_a_process_says_what_its_server_answers(
    go: Callable[..., Any], sink: Sink, how: Any, kind: str, status: int | None
) -> None:
    """Within a look, by the DSN's fingerprint; what another DSN was answered stays."""
    if how is not None:
        sink.answer(2, how)
    dead = f"http://{KEY}@127.0.0.1:{free_port()}/7"
    second = sink.dsn(2) if how is not None else dead
    ran = go(
        """
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        sentry_sdk.capture_message("first")
        sentry_sdk.flush(5)
        publish({"SENTRY_DSN": os.environ["SECOND"]})
        wait_for(lambda now: now["sequence"] == 2)
        sentry_sdk.capture_message("second")
        eventually(lambda: len(receipts()[0]["answers"]) == 2)
        say(answers=receipts()[0]["answers"])
        """,
        SECOND=second,
    )
    first, then = ran.said["answers"]
    assert (first["dsn"], first["kind"], first["accepted"]) == (
        fingerprint(sink.dsn(1)),
        "accepted",
        1,
    )
    assert (then["dsn"], then["kind"], then["status"], then[kind]) == (
        fingerprint(second),
        kind,
        status,
        1,
    )
    assert bool(then["accepted_at"]) == (kind == "accepted")


@pytest.mark.process
@pytest.mark.parametrize("fork", FORKS)
def test_a_forked_child_has_its_own(go: Callable[..., Any], fork: str) -> None:
    """What its parent was answered is not the child's."""
    ran = go(
        """
        from children import Child
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        for _ in range(2):
            sentry_sdk.capture_message("parent")
        sentry_sdk.flush(5)

        def work(me):
            sentry_sdk.capture_message("child")
            own = eventually(
                lambda: [r for r in receipts() if r["pid"] == os.getpid() and r["answers"]]
            )
            me.tell(accepted=own[0]["answers"][0]["accepted"])

        child = Child(os.environ["FORK"], work)
        said = child.heard()
        say(end=child.ended(), **said)
        """,
        FORK=fork,
    )
    assert ran.said == {"end": 0, "accepted": 1}
