"""Test items that a process sends by its own client, because an operator asks for it."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from arrivals import messages

from lab.process import free_port
from lab.sink import Sink
from resentry.contract import ContractError
from resentry.verification import (
    KINDS,
    Ask,
    Sent,
    Verified,
    decode_ask,
    document_of,
    encode_ask,
    is_verified,
    read_verified,
)
from resentry.verify import Verifier

STEPS = """
A, B = os.environ["A"], os.environ["B"]
import json, time
from pathlib import Path
from resentry.verification import Ask, encode_ask

def ask(nonce, roles=(), until=60, **more):
    path = Path(os.environ["RESENTRY_DIR"], "verify.json")
    path.with_suffix(".new").write_bytes(
        encode_ask(Ask(nonce, time.time() + until, roles=roles, **more))
    )
    path.with_suffix(".new").replace(path)

def verified(nonce):
    def look():
        found = [r["verified"] for r in receipts() if r.get("verified")]
        done = [v for v in found if v["nonce"] == nonce]
        if done and all(i["state"] != "handed" for i in done[0]["items"]):
            return done[0]
    return eventually(look)
"""
NONCE = "0123456789ab"
ASK = Ask(NONCE, 1_800_000_000.0, ("error", "log"), ("api",))


def test_a_request_is_read_as_it_was_written() -> None:
    """Kinds of a newer agent are left out."""
    assert decode_ask(encode_ask(ASK)) == ASK
    newer = ASK._replace(kinds=("error", "log", "replay"))
    assert decode_ask(encode_ask(newer)) == ASK


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": "../../../etc"},
        {"nonce": 7},
        {"until": "soon"},
        {"kinds": 7},
        {"roles": ["a b"]},
    ],
)
def test_what_is_no_request_is_an_error(wrong: dict[str, Any]) -> None:
    """A process does nothing then."""
    document = json.loads(encode_ask(ASK)) | wrong
    with pytest.raises(ContractError):
        decode_ask(json.dumps(document).encode())


def test_a_receipt_carries_the_part_of_a_process() -> None:
    """What is read is what was written; another type is no receipt."""
    part = Verified(NONCE, "asked", (Sent("error", "accepted", "e" * 32, 200, 1.5),))
    document = json.loads(json.dumps(document_of(part)))
    assert is_verified(document)
    assert read_verified(document) == part
    for wrong in ({"items": [{}]}, {"nonce": 1}, {"state": None}, {"items": {}}):
        assert not is_verified(document | wrong)


@pytest.fixture
def verifier(tmp_path: Path) -> Verifier:
    return Verifier(str(tmp_path), "api", {}, lambda: None)


def ask(folder: Path, nonce: str = NONCE) -> None:
    request = Ask(nonce, time.time() + 60, ("message", "log"))
    (folder / "verify.new").write_bytes(encode_ask(request))
    (folder / "verify.new").replace(folder / "verify.json")


def test_a_pipe_in_place_of_the_request_is_not_waited_for(
    tmp_path: Path, verifier: Verifier
) -> None:
    """Nor is a device read. The request that replaces them is answered."""
    os.mkfifo(tmp_path / "verify.json")
    verifier.look(None, is_foreign=False)
    (tmp_path / "verify.json").unlink()
    (tmp_path / "verify.json").symlink_to("/dev/zero")
    verifier.look(None, is_foreign=False)
    assert verifier.verified is None
    ask(tmp_path)
    verifier.look(None, is_foreign=False)
    assert verifier.verified == Verified(NONCE, "off")


def test_an_item_proves_nothing_of_another_dsn(
    tmp_path: Path, verifier: Verifier
) -> None:
    """Each item of a verification is of one DSN: that of the receipt."""
    sent: list[Any] = []
    transport = SimpleNamespace(capture_envelope=sent.append)
    first, second = (
        cast("Any", SimpleNamespace(transport=transport, dsn=dsn, options={}))
        for dsn in ("first", "second")
    )

    def states() -> list[str]:
        assert verifier.verified is not None
        return [item.state for item in verifier.verified.items]

    ask(tmp_path)
    verifier.look(first, is_foreign=False)
    sent[0].answered("accepted", 200)
    verifier.look(first, is_foreign=False)
    assert states() == ["accepted", "handed"]
    verifier.look(second, is_foreign=False)
    assert states() == ["swapped", "swapped"]
    sent[1].answered("accepted", 200)
    verifier.look(first, is_foreign=False)
    assert states() == ["swapped", "swapped"]


@pytest.mark.process
def test_each_kind_arrives_whatever_the_rates_say(
    go: Callable[..., Any], sink: Sink
) -> None:
    """Rates of 0 and hooks that drop everything do not reach test items."""
    ran = go(
        f"""
        publish({{
            "SENTRY_DSN": A, "SENTRY_SAMPLE_RATE": 0.0, "SENTRY_RELEASE": "1.0.0",
            "SENTRY_ENVIRONMENT": "staging",
        }})
        resentry.init(before_send=lambda *_: None, traces_sampler=lambda _: 0, **QUICK)
        ask("{NONCE}")
        say(**verified("{NONCE}"), secret=A in repr(receipts()))
        """,
    )
    items = {item["kind"]: item for item in ran.said["items"]}
    assert list(items) == list(KINDS)
    assert items.pop("span")["state"] == "unused"
    assert {(item["state"], item["status"]) for item in items.values()} == {
        ("accepted", 200)
    }
    assert all(item["ms"] > 0 for item in items.values())
    assert not ran.said["secret"]
    received = [*sink.events(1), *sink.transactions(1)]
    arrived = {event.event_id: event for event in received}
    assert arrived.keys() == {items[k]["event"] for k in items if k != "log"}
    for event in arrived.values():
        assert (event.release, event.environment) == ("1.0.0", "staging")
        assert event.tags == {"resentry.verify": NONCE}
    assert sink.count("log") == 1


@pytest.mark.process
@pytest.mark.parametrize(
    ("how", "state", "status"),
    [(403, "refused", 403), (500, "failed", 500), (429, "limited", 429)],
)
def test_what_the_server_answers_is_told_and_nothing_is_kept(
    go: Callable[..., Any], sink: Sink, how: int, state: str, status: int
) -> None:
    """A test item is sent once: the next DSN does not get what this one has refused."""
    sink.answer(1, how)
    ran = go(
        f"""
        publish({{"SENTRY_DSN": A}})
        resentry.init(**QUICK)
        ask("{NONCE}", kinds=("message", "error"))
        found = verified("{NONCE}")
        take_up({{"SENTRY_DSN": B}})
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(5)
        say(**found)
        """,
    )
    found = {(item["state"], item["status"]) for item in ran.said["items"]}
    assert found == {(state, status)}
    assert messages(sink, 2) == ["after"]


@pytest.mark.process
def test_a_server_that_is_away_is_unreached(go: Callable[..., Any]) -> None:
    """Nothing answers at that port."""
    ran = go(
        f"""
        publish({{"SENTRY_DSN": os.environ["DEAD"]}})
        resentry.init(**QUICK)
        ask("{NONCE}", kinds=("message",))
        say(**verified("{NONCE}"))
        """,
        DEAD=f"http://{'c0' * 16}@127.0.0.1:{free_port()}/7",
    )
    assert [item["state"] for item in ran.said["items"]] == ["unreached"]


@pytest.mark.process
@pytest.mark.parametrize(
    ("state", "environ", "steps"),
    [
        ("off", {"ROLE": "celery", "SENTRY_ENABLE_FOR_CELERY": "false"}, ""),
        ("forbidden", {"RESENTRY_VERIFY": "off"}, ""),
        ("foreign", {}, "sentry_sdk.init(dsn=B, **QUICK)"),
    ],
)
def test_a_process_says_why_it_sends_nothing(
    go: Callable[..., Any], sink: Sink, state: str, environ: dict[str, str], steps: str
) -> None:
    """Sentry is switched off; the operator forbids it; another client runs."""
    ran = go(
        f"""
        publish({{"SENTRY_DSN": A}})
        resentry.init(role=os.environ.get("ROLE", "api"), **QUICK)
        {steps}
        ask("{NONCE}")
        say(**verified("{NONCE}"))
        """,
        **environ,
    )
    assert (ran.said["state"], ran.said["items"]) == (state, [])
    assert sink.events() == []


@pytest.mark.process
def test_who_is_not_asked_sends_nothing(go: Callable[..., Any], sink: Sink) -> None:
    """Another role; a request that is over; the same request again; no request at all."""
    ran = go(
        f"""
        publish({{"SENTRY_DSN": A}})
        resentry.init(**QUICK)
        path = Path(os.environ["RESENTRY_DIR"], "verify.json")
        path.write_text("no request")
        ask("aaaaaaaaaaaa", roles=("celery",))
        time.sleep(1.5)  # a look later
        ask("bbbbbbbbbbbb", until=-1)
        time.sleep(1.5)
        nobody = [r.get("verified") for r in receipts()]
        ask("{NONCE}", kinds=("message",), roles=("api",))
        first = verified("{NONCE}")
        ask("{NONCE}", kinds=("message",))
        time.sleep(1.5)
        say(nobody=nobody, same=verified("{NONCE}") == first)
        """,
    )
    assert ran.said == {"nobody": [None], "same": True}
    assert len(sink.events(1)) == 1


@pytest.mark.process
def test_a_span_is_sent_where_otlp_is_in_use(
    go: Callable[..., Any], sink: Sink
) -> None:
    """By the exporter that the SDK made, which follows the DSN."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    ran = go(
        f"""
        from sentry_sdk.integrations.otlp import OTLPIntegration
        publish({{"SENTRY_DSN": A}})
        resentry.init(integrations=[OTLPIntegration()], **QUICK)
        ask("{NONCE}", kinds=("span",))
        say(**verified("{NONCE}"))
        """
    )
    (item,) = ran.said["items"]
    assert (item["kind"], item["state"], item["status"]) == ("span", "accepted", 200)
    assert len(sink.spans(1)) == 1
