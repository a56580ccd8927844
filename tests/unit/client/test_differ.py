"""A library and an agent of different versions; and a receipt that stays small."""

from collections.abc import Callable
from typing import Any

import pytest

from lab.sink import Sink
from resentry.contract import RECEIPT_LIMIT_BYTES

pytestmark = pytest.mark.process


Run = Callable[..., Any]

STEPS = """
import json
import time
from pathlib import Path
from unittest import mock

import scenario
from mishaps import *
from resentry.contract import Rule, decode_receipt, encode_snapshot

A, B = os.environ["A"], os.environ["B"]
VOLUME = Path(os.environ["RESENTRY_DIR"])

def publish_with(settings, change, **content):
    "As an agent of another version does: `change` edits the document."
    def encode(snapshot):
        document = json.loads(encode_snapshot(snapshot))
        change(document)
        return json.dumps(document).encode()
    with mock.patch.object(scenario, "encode_snapshot", encode):
        return publish(settings, **content)

def newer(document):
    for rule in document["rules"]:
        rule.update(weight=2, until=None)
    document["boosts"] = [{
        "id": "b1", "traces": 1.0, "match": "boosted", "until": "2999-01-01T00:00:00Z",
        "errors": {"deep": [1]},
    }]
    document["ceiling"] = {"traces": 0.5}

def given():
    return {path: path.read_bytes() for path in VOLUME.glob("receipts/*.json")}

def sizes():
    return [len(body) for body in given().values()]

def work(name):
    with sentry_sdk.start_transaction(name=name):
        pass
"""

IGNORED = {"rules.until", "rules.weight", "boosts.errors"}


@pytest.mark.parametrize("when", ["start", "later"])
def test_fields_of_a_newer_agent_are_left_out_and_named(
    go: Run, sink: Sink, when: str
) -> None:
    """The rest of the rule and of the boost counts, at the start as at a swap."""
    ran = go(
        """
        rules = (Rule("wanted", 1.0), Rule("too", 1.0))
        if os.environ["WHEN"] == "later":
            publish({"SENTRY_DSN": A})
            resentry.init(**QUICK)
        newest = publish_with({"SENTRY_DSN": A}, newer, rules=rules)
        if os.environ["WHEN"] == "start":
            resentry.init(**QUICK)
        runs(newest)
        for name in ("wanted", "too", "boosted", "other"):
            work(name)
        sentry_sdk.flush(5)
        ignored = receipts()[0].get("ignored")
        runs(publish({"SENTRY_DSN": A}))
        say(ignored=ignored, after=receipts()[0].get("ignored"))
        """,
        WHEN=when,
    )
    assert ran.said["ignored"] is not None
    assert set(ran.said["ignored"]) == IGNORED
    assert len(ran.said["ignored"]) == len(IGNORED)
    assert ran.said["after"] == []
    assert {one.message for one in sink.transactions(1)} == {"wanted", "too", "boosted"}


def test_thousands_of_unknown_fields_make_no_large_receipt(go: Run) -> None:
    """Also with long names, and such as nobody can print."""
    ran = go(
        """
        def odd(document):
            for rule in document["rules"]:
                rule.update({f"{n}" * 100: n for n in range(2000)})
                rule.update({"\\x1b[31m": 1, "": 1, "x" * 100_000: 1})
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        newest = publish_with({"SENTRY_DSN": A}, odd, rules=(Rule("wanted", 1.0),))
        runs(newest)
        body, = given().values()
        decode_receipt(body)
        say(size=len(body))
        """
    )
    assert ran.said["size"] < RECEIPT_LIMIT_BYTES


ERRORS = {
    "huge": "RuntimeError('x' * 500_000)",
    "many bytes": "RuntimeError('\\U0001f600' * 100_000)",
    "half a pair": "RuntimeError('\\ud800' * 10)",
    "escapes": "RuntimeError('\\x1b[31m\\x00\\n' * 20_000)",
    "a huge class": "type('E' * 500_000, (RuntimeError,), {})('no')",
    "many arguments": "RuntimeError(*range(200_000))",
    "no text": "Unprintable()",
}


@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("when", ["start", "later"])
def test_an_error_of_any_size_makes_a_small_receipt_that_can_be_read(
    go: Run, when: str, how: str
) -> None:
    """The agent drops one above 64 KiB, or one that is no text, without a word."""
    ran = go(
        """
        error = eval(os.environ["ERROR"])
        first = publish({"SENTRY_DSN": A})
        if os.environ["WHEN"] == "later":
            resentry.init(**QUICK)
            runs(first)
        log = Told()
        with raising(Outlet, "__init__", error):
            if os.environ["WHEN"] == "start":
                resentry.init(**QUICK)
            publish({"SENTRY_DSN": B})
            wait_for(lambda now: now["error"])
            eventually(lambda: any(r["error"] for r in receipts()), what="the error")
            body, = given().values()
            receipt, status = decode_receipt(body), resentry.status()["error"]
            logged = max(len(text) for _, text in log.lines)
            say(size=len(body), error=receipt.error, status=len(status), logged=logged)
            os._exit(0)
        """,
        WHEN=when,
        ERROR=ERRORS[how],
    )
    assert ran.said["size"] < RECEIPT_LIMIT_BYTES
    assert ran.said["error"]
    assert ran.said["status"] < 10_000
    assert ran.said["logged"] < 10_000


@pytest.mark.parametrize("name", ["schema", "revision", "sequence", "settings"])
def test_a_document_s_huge_value_is_not_quoted(go: Run, name: str) -> None:
    """Neither in the log nor in the receipt; the old client goes on."""
    ran = go(
        """
        name, log = os.environ["NAME"], Told()
        def huge(document):
            document[name] = "s3cret" * 80_000
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(given)
        publish_with({"SENTRY_DSN": B}, huge)
        def looked_at():
            now = resentry.status()
            return now["error"] or now["sequence"] == 2
        eventually(looked_at)
        eventually(lambda: [r for r in receipts() if r["error"] or r["sequence"] == 2])
        body, = given().values()
        decode_receipt(body)
        text = body.decode() + str(log.lines)
        say(size=len(body), text=len(text), quoted=text.count("s3cret"))
        """,
        NAME=name,
    )
    assert ran.said["size"] < RECEIPT_LIMIT_BYTES
    assert ran.said["text"] < 20_000
    assert ran.said["quoted"] < 200


@pytest.mark.parametrize(
    "name", ["SENTRY_ENVIRONMENT", "SENTRY_RELEASE", "SENTRY_TRACES_SAMPLE_RATE"]
)
def test_a_huge_value_of_the_environment_makes_a_small_receipt(
    go: Run, name: str
) -> None:
    """What does not hold is named, not quoted at length."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(given, what="a receipt")
        say(sizes=sizes(), error=len(resentry.status()["error"] or ""))
        """,
        **{name: "x" * 100_000},
    )
    assert max(ran.said["sizes"]) < RECEIPT_LIMIT_BYTES
    assert ran.said["error"] < 10_000


@pytest.mark.parametrize("version", ["2.75.0+", "3.1.0+"])
def test_a_huge_version_of_the_sdk_makes_a_small_receipt(go: Run, version: str) -> None:
    """Of a build that names its commit, say; also where the fallback names it."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(given, what="a receipt")
        body, = given().values()
        say(size=len(body), sdk=decode_receipt(body).sdk[:4])
        """,
        first=f"""
            import sentry_sdk
            sentry_sdk.VERSION = "{version}" + "x" * 200_000
        """,
    )
    assert ran.said["size"] < RECEIPT_LIMIT_BYTES
    assert version.startswith(ran.said["sdk"])
