"""What may not leave the process while PII is off, and what has to."""

import copy
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from recorder import Recorder
from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.utils import AnnotatedValue

from lab.paths import PLANTED as PLANTED_FILE
from resentry.process import here
from resentry.scrub import (
    behind,
    behind_span,
    scrub_event,
    scrub_span,
    scrub_telemetry,
)
from resentry.scrub.text import is_sensitive, scrub_source, scrub_text
from resentry.scrub.values import TEXT_LIMIT
from resentry.scrub.walk import DEPTH_LIMIT
from resentry.sdk import build as sdk

Run = Callable[..., Any]

PLANTED = json.loads(PLANTED_FILE.read_bytes())
LEAKS: list[str] = []
"""The planted secrets that are known to pass; `docs/pii.md` has to name each."""

SEND = """
import copy, json, logging
from pathlib import Path

PLANTED = json.loads(Path(os.environ["PLANTED"]).read_bytes())

def send(**options):
    resentry.init(**QUICK, enable_logs=True, **options)
    sentry_sdk.capture_event(copy.deepcopy(PLANTED["event"]))
    sentry_sdk.capture_event({
        "start_timestamp": "2026-11-24T06:00:00.000000Z",
        **copy.deepcopy(PLANTED["transaction"]),
    })
    log = PLANTED["log"]
    sentry_sdk.logger.warning(log["body"], attributes=log["attributes"])
    sentry_sdk.get_client().flush()
    resentry.close()
    assert resentry.status()["error"] is None
    say()
"""


@pytest.fixture
def sink() -> Iterator[Recorder]:
    with Recorder() as running:
        yield running


@pytest.fixture
def send(run: Run, sink: Recorder) -> Run:
    """Run a script that can `send` all that is planted; return what arrived."""
    planted = PLANTED_FILE

    def send(script: str, **environ: str) -> str:
        given = {"SENTRY_DSN": sink.dsn(1), "PLANTED": str(planted), **environ}
        run(SEND + script, **given)
        return sink.arrived

    return send


def found(needles: list[dict[str, str]], text: str) -> list[str]:
    return [needle["id"] for needle in needles if needle["needle"] in text]


@pytest.mark.process
def test_no_planted_secret_arrives_and_nothing_harmless_is_destroyed(
    send: Run, sink: Recorder
) -> None:
    arrived = send("send()")
    assert [sink.count(kind) for kind in ("event", "transaction", "log")] == [1, 1, 1]
    assert found(PLANTED["secrets"], arrived) == LEAKS
    assert found(PLANTED["harmless"], arrived) == ids(PLANTED["harmless"])


def ids(needles: list[dict[str, str]]) -> list[str]:
    return [needle["id"] for needle in needles]


@pytest.mark.process
def test_with_pii_on_it_is_the_sdk_alone_that_scrubs(send: Run) -> None:
    """Which leaks most of what is planted: the needles do reach a receiver."""
    arrived = send("send()", SENTRY_SEND_PII="true", SENTRY_ENVIRONMENT="staging")
    assert len(found(PLANTED["secrets"], arrived)) > len(PLANTED["secrets"]) / 2
    assert "m.keller@mail-example.org" in arrived


@pytest.mark.process
def test_pii_and_profiles_warn_of_no_deprecation_and_keep_the_own_scrubber(
    send: Run,
) -> None:
    """Every warning of these scripts is an error."""
    arrived = send(
        """
from sentry_sdk.scrubber import EventScrubber
send(event_scrubber=EventScrubber(["tenant", "theme", "cards"], recursive=True))
assert sentry_sdk.get_client().should_send_default_pii()
""",
        SENTRY_SEND_PII="true",
        SENTRY_PROFILES_SAMPLE_RATE="0.5",
        SENTRY_ENVIRONMENT="staging",
    )
    assert "4111111111111111" not in arrived
    assert "pw-planted-Tr0ub4dor" in arrived  # the own list has no password


@pytest.mark.process
def test_the_own_event_scrubber_works_beside_ours(send: Run) -> None:
    arrived = send(
        """
from sentry_sdk.scrubber import EventScrubber
send(event_scrubber=EventScrubber(["quantity"]))
"""
    )
    assert "4111111111111112" not in arrived
    assert found(PLANTED["secrets"], arrived) == LEAKS


@pytest.mark.process
@pytest.mark.skipif(
    "before_send_metric" not in DEFAULT_OPTIONS, reason="no metrics in this sentry-sdk"
)
def test_what_the_applications_hooks_add_does_not_arrive(
    send: Run, sink: Recorder
) -> None:
    """They run, and ours runs after them: for each kind of item."""
    arrived = send(
        """
seen = []

def adds(name):
    def hook(item, hint):
        seen.append(name)
        item.setdefault("extra", {})["api_key"] = "added-planted"
        item.setdefault("attributes", {})["api_key"] = "added-planted"
        item["data"] = {"api_key": "added-planted", "ran": f"ran-{name}"}
        return item
    return hook

def measured():
    sentry_sdk.metrics.count("grades", 1, attributes={"email": "metric@planted.io"})

resentry.init(**QUICK)
sentry_sdk.add_breadcrumb(message="before", data={})
measured()
names = ["before_send", "before_send_transaction", "before_breadcrumb"]
hooks = {name: adds(name) for name in names}
hooks["before_send_metric"] = adds("before_send_metric")
# As old versions have it.
hooks["_experiments"] = {"before_send_log": adds("before_send_log")}
resentry.init(**QUICK, enable_logs=True, **hooks)
sentry_sdk.add_breadcrumb(message="token=crumb-planted")
measured()
send(**hooks)
assert set(seen) == {*names, "before_send_metric", "before_send_log"}
"""
    )
    assert sink.count("trace_metric") == 2
    for needle in ("added-planted", "metric@planted.io", "crumb-planted"):
        assert needle not in arrived
    assert "ran-before_send" in arrived
    assert "ran-before_breadcrumb" in arrived


@pytest.mark.process
@pytest.mark.parametrize(
    ("hook", "kind"),
    [
        ("before_send", "event"),
        ("before_send_transaction", "transaction"),
        ("before_send_log", "log"),
    ],
)
def test_a_hook_that_returns_none_drops_as_ever(
    send: Run, sink: Recorder, hook: str, kind: str
) -> None:
    send(f"send({hook}=lambda item, hint: None)")
    kinds = ("event", "transaction", "log")
    assert {k: sink.count(k) for k in kinds} == {k: int(k != kind) for k in kinds}


@pytest.mark.process
@pytest.mark.skipif(
    not hasattr(sentry_sdk, "traces"), reason="no streamed spans in this sentry-sdk"
)
def test_the_frames_of_a_real_error_and_a_streamed_span_hide_what_they_hold(
    send: Run, sink: Recorder
) -> None:
    arrived = send(
        """
def fails(scope, db_password, user_ids):
    nested = {"deep": {"x-api-key": "nested-planted"}, "rows": [1, 2]}
    header = [(b"authorization", b"Basic cGxhbnRlZDpmcmFtZQ==")]
    raise ValueError("no luck with user a.b@planted.org, page-31")

# From Python 3.13 on the frames of a script like this have its source, needles and all.
resentry.init(**QUICK, trace_lifecycle="stream", traces_sample_rate=1.0,
    before_send_span=lambda span, hint: None, include_source_context=False)
with sentry_sdk.traces.start_span(name="GET /x?token=span-planted") as span:
    span.set_attribute("client_secret", "attribute-planted")
    span.set_attribute("course", "CS-777")
try:
    fails({"client": 1}, "local-planted", ["row-42"])
except ValueError:
    logging.exception("grade of a.b@planted.org password=%s", "parameter-planted")
    sentry_sdk.capture_exception()
resentry.close()
say()
""",
        SENTRY_TRACES_SAMPLE_RATE="1",
    )
    assert "planted" not in arrived
    assert "cGxhbnRlZDpmcmFtZQ" not in arrived
    for needle in ("page-31", "row-42", "CS-777", "GET /x?token=[Filtered]"):
        assert needle in arrived
    assert sink.count("span") == 1


# What the functions owe


def test_an_applications_own_object_in_an_event_is_left_alone() -> None:
    config = {"password": "x1", "rows": ["a@b.io", {"token": "t"}]}
    before = copy.deepcopy(config)
    scrubbed = scrub_event({"extra": {"config": config}})
    assert config == before
    rows = ["[Filtered]", {"token": "[Filtered]"}]
    assert scrubbed == {"extra": {"config": {"password": "[Filtered]", "rows": rows}}}


def test_scrubbing_twice_is_scrubbing_once() -> None:
    once = scrub_event(PLANTED["event"])
    assert scrub_event(once) == once


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("token=hostile-planted")

    __str__ = __repr__


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError


def cycle() -> dict[str, Any]:
    one: dict[str, Any] = {"password": "p-planted"}
    one["again"] = [one] * 10
    return one


def deep() -> list[Any]:
    value: list[Any] = ["token=planted"]
    for _ in range(5000):
        value = [value]
    return value


HOSTILE: dict[str, Callable[[], Any]] = {
    "cycle": cycle,
    "deep": deep,
    "wide": lambda: ["token=planted"] * 1_000_000,
    "bytes": lambda: {"a": b"token=planted", b"password": "planted"},
    "not UTF-8": lambda: b"\xff token=planted",
    "raising": lambda: [Hostile(), "token=planted"],
    "raising key": lambda: {Hostile(): "planted"},
    "keys": lambda: {1: "token=planted", None: 2, (3, 4): "5"},
    "key that tells": lambda: {"a@planted.io": 1},
    "annotated": lambda: {"password": AnnotatedValue("planted", {"len": 9})},
    "text": lambda: {"a": Text("token=planted"), Text("password"): "planted"},
    "surrogates": lambda: "\ud800 token=planted \udfff",
    "numbers": lambda: [float("nan"), 10**4000, True, 4111111111111111],
    "pairs": lambda: [
        ("Cookie", "planted"),
        ["X-Api-Key", "planted"],
        ["token=planted", 1],
    ],
    "huge": lambda: "x" * TEXT_LIMIT + "token=planted",
    "brackets": lambda: "token=(" * 20_000 + "planted",
    "quotes": lambda: "token='" * 20_000 + "planted",
    "calls": lambda: "token=a('" * 12_000 + "planted",
    "joins": lambda: "JOIN x.token=a.b " * 6_000 + "token=planted",
    "starts": lambda: "eyJabcde" * 12_000 + " token=planted",
    "ats": lambda: "a.b@" * 25_000,
    "none": lambda: None,
    "a set": lambda: {"token=planted"},
}
LONG = ("brackets", "quotes", "calls", "joins", "starts", "ats")
"""Texts of 100 kB, which take a second in all."""
PARTS = ["extra", "request", "user", "contexts", "exception", "breadcrumbs", "logentry"]


@pytest.mark.parametrize("part", [*PARTS, "stacktrace", "spans", "odd"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in LONG else ())
        for name in HOSTILE
    ],
)
def test_no_value_raises_takes_long_or_gets_through(name: str, part: str) -> None:
    event = {"event_id": "e", part: HOSTILE[name](), "tags": {"course": "CS-1"}}
    began = time.monotonic()
    scrubbed = scrub_event(event)
    assert time.monotonic() - began < 5
    assert scrubbed is not None
    assert (scrubbed["event_id"], scrubbed["tags"]) == ("e", {"course": "CS-1"})
    assert "planted" not in repr(scrubbed.get(part))


def test_what_is_only_odd_does_not_cost_the_rest_of_its_part() -> None:
    nested: Any = "end"
    for _ in range(30):
        nested = {"next": nested}
    odd = {"n": 10**4500, "text": Text("page"), "nested": nested, "long": "x" * 200_000}
    odd["digits"] = "7" * 200_000
    extra = (scrub_event({"extra": {**odd, "course": "CS-1"}}) or {})["extra"]
    assert (extra["course"], extra["text"], extra["n"]) == ("CS-1", "page", 10**4500)
    assert type(extra["text"]) is str
    assert str(extra["nested"]).count("next") == DEPTH_LIMIT - 1
    assert len(extra["long"]) < TEXT_LIMIT + 20
    assert len(extra["digits"]) < TEXT_LIMIT + 20


def test_of_a_user_the_id_stays_and_sentry_is_not_asked_for_the_address() -> None:
    user = {"id": "u-1", "ip_address": "{{auto}}", "name": "M. K.", "email": "m@k.io"}
    filtered = {"id": "u-1", "name": "[Filtered]", "email": "[Filtered]"}
    assert scrub_event({"user": user}) == {"user": filtered}


def test_of_a_frame_the_code_stays_and_its_secrets_do_not() -> None:
    frame = {
        "filename": "a.py",
        "pre_context": ["KEY = (", "  '-----BEGIN PRIVATE KEY-----'"],
        "context_line": "  'MIIEplanted'",
        "post_context": [")"],
        "vars": {"page": "1"},
    }
    code = {**frame, "pre_context": ["a = 1"], "context_line": "pin = '12planted'"}
    event = {"threads": {"values": [{"stacktrace": {"frames": [frame, code]}}]}}
    scrubbed = scrub_event(event)
    assert scrubbed is not None
    assert "planted" not in str(scrubbed)
    frames = scrubbed["threads"]["values"][0]["stacktrace"]["frames"]
    assert frames[1] == {**code, "context_line": "pin = '[Filtered]'"}
    assert (frames[0]["filename"], len(frames[0]["pre_context"])) == ("a.py", 2)


def test_what_cannot_be_scrubbed_is_left_out_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Said once, without the value: the next event would say it again."""
    before = here().tally.faults
    event = {"message": "m", "spans": [Hostile()]}
    assert [scrub_event(event), scrub_event(event)] == [{"message": "m"}] * 2
    assert here().tally.faults == before + 2
    assert "planted" not in caplog.text
    assert caplog.text.count("while scrubbing spans") <= 1


def test_what_is_no_item_is_none() -> None:
    for scrub in (scrub_event, scrub_telemetry, scrub_span):
        assert scrub(object()) is None


def test_the_sampling_context_that_the_sdk_takes_back_is_left() -> None:
    trace = {"trace_id": "1", "dynamic_sampling_context": {"public_token": "pk"}}
    event = {"contexts": {"trace": trace, "credentials": {"user": "u"}}}
    contexts = {"trace": trace, "credentials": {"user": "[Filtered]"}}
    assert scrub_event(event) == {"contexts": contexts}


def test_a_hook_that_raises_raises_as_ever() -> None:
    def fails(_item: Any, _hint: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        behind(fails, scrub_event)({}, {})
    span = {"name": "token=x1", "attributes": {}}
    assert behind_span(fails, scrub_span)(span, {})["name"] == "token=[Filtered]"


@pytest.mark.parametrize(
    ("key", "is_hidden"),
    [
        *dict.fromkeys(
            ["X-Api-Key", "x_api_key", "apiKey", "MY.API.KEY"], True
        ).items(),
        *dict.fromkeys(["db_pass", "userPIN", "auth", "OTP", "iban"], True).items(),
        *dict.fromkeys(
            ["X-Forwarded-For", "client.address", "user_name"], True
        ).items(),
        *dict.fromkeys(["author", "shipping", "classname", "hotpath"], False).items(),
        *dict.fromkeys(["status_code", "server.address", "key"], False).items(),
    ],
)
def test_keys(key: str, *, is_hidden: bool) -> None:
    assert is_sensitive(key) == is_hidden


TEXTS = {
    "redis://:p@ss@h:6379/0 https://h/?a=b@c": "redis://•@h:6379/0 https://h/?a=b@c",
    "Bearer abc-1234 bearer token": "Bearer • bearer token",
    "Basic authentication failed": "Basic authentication failed",
    "Authorization: Digest a=b, c=d\nHost: h": "Authorization: •\nHost: h",
    "Cookie: a=b; c=d": "Cookie: •",
    '{\\"token\\": \\"x y\\", \\"a\\": 1}': '{\\"token\\": \\"•\\", \\"a\\": 1}',
    "User(password='x\\'y', tokens=['a', 'b'], n=1)": (
        "User(password='•', tokens=•, n=1)"
    ),
    "[(b'x-api-key', b'k'), ('page', '2')]": "[(b'x-api-key', b'•'), ('page', '2')]",
    "SET password = 'it''s' WHERE id = 7": "SET password = '•' WHERE id = 7",
    "password = %s AND token = :t AND pin = ?": (
        "password = %s AND token = :t AND pin = ?"
    ),
    "max_tokens=512, token=512": "max_tokens=512, token=•",
    "password=None, secret=''": "password=None, secret=''",
    "u=https%3A%2F%2Fh%3Faccess_token%3Dabc%26y%3D1": (
        "u=https%3A%2F%2Fh%3Faccess_token%3D•%26y%3D1"
    ),
    "maria%40uni.edu, lms@1.2.3.dev, @decorated.cls": (
        "•, lms@1.2.3.dev, @decorated.cls"
    ),
    "4111 1111 1111 1111, 5500-0000-0000-0004": "•, •",
    "4111111111111111": "•",
    "4111111111111111\u00b2": "•\u00b2",  # digits to Python, not to a card
    "411111111111111\u00b2": "411111111111111\u00b2",
    "0.4111111111111111 1700000000000 4111 1111": (
        "0.4111111111111111 1700000000000 4111 1111"
    ),
    "s.abcdefghij1234567890ABCD app.views.s.LongNameOfAViewClassWithoutDigits": (
        "• app.views.s.LongNameOfAViewClassWithoutDigits"
    ),
    "password=Secret('x1', y=f('z')) api_key=<Key x1>": "password=•) api_key=•",
    "password != 'x1', token <> 'x1', `pin` = 'x1', otp=N'x1'": (
        "password != '•', token <> '•', `pin` = '•', otp=N'•'"
    ),
    "token = %(token_1)s, pin = $1::VARCHAR, otp = @p1": (
        "token = %(token_1)s, pin = $1::VARCHAR, otp = @p1"
    ),
    f"traceparent 00-{'0a' * 16}-4111111111111111-01": (
        f"traceparent 00-{'0a' * 16}-4111111111111111-01"
    ),
    "-----BEGIN CERTIFICATE-----\nMII": "-----BEGIN CERTIFICATE-----\nMII",
    "-----BEGIN RSA PRIVATE KEY-----\nMII cut": "•",
}


@pytest.mark.parametrize("text", TEXTS)
def test_texts(text: str) -> None:
    expected = TEXTS[text].replace("•", "[Filtered]")
    assert scrub_text(text) == expected
    assert scrub_text(expected) == expected


def test_source_keeps_what_is_no_literal() -> None:
    source = (
        "token = request.token\npassword = 'hunter2'\ndef f(token: str): pass\n"
        "API_KEY: Final[str] = 'hunter2'\ndef g(pin: int | None = None, a='b'): pass\n"
        "secret = 'hunter2'.encode()"
    )
    assert scrub_source(source) == source.replace("hunter2", "[Filtered]")
    began = time.monotonic()
    scrub_source("token=a(" * 12_000)
    assert time.monotonic() - began < 5


def test_parameters_follow_their_template() -> None:
    entry = {"message": "password=%s of %s", "params": ["hunter2", "x"]}
    log = {
        "attributes": {
            "sentry.message.template": "password=%s",
            "sentry.message.parameter.0": "hunter2",
        }
    }
    assert "hunter2" not in repr(scrub_event({"logentry": entry}))
    assert "hunter2" not in repr(scrub_telemetry(log))


# What a version of the SDK is given


def test_a_hook_that_is_no_option_yet_is_an_experiment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sdk, "DEFAULT_OPTIONS", {"before_send": None})
    assert sdk.hook_places({}) == {
        "before_send": True,
        "before_send_transaction": False,
        "before_send_log": False,
        "before_send_metric": False,
    }
    assert "before_send_span" in sdk.hook_places({"trace_lifecycle": "stream"})
