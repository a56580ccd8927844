"""Traces beside sentry-sdk alone: the same envelopes and headers where nothing matches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sentry_sdk.consts import DEFAULT_OPTIONS

from lab.ledger import parse_envelope
from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]
CAN_STREAM = "trace_lifecycle" in DEFAULT_OPTIONS
MODES = [
    "static",
    pytest.param(
        "stream",
        marks=pytest.mark.skipif(not CAN_STREAM, reason="this SDK streams no spans"),
    ),
]
PROGRAM = """
import itertools
import threading
import uuid
import warnings
from resentry.contract import Boost, Budget, Ceiling

HEADERS = {
    "yes": {
        "sentry-trace": "0123456789abcdef0123456789abcdef-0123456789abcdef-1",
        "baggage": "other=1,sentry-trace_id=0123456789abcdef0123456789abcdef,"
        "sentry-sample_rate=0.01337,sentry-sampled=true,sentry-sample_rand=0.005,"
        "sentry-public_key=c0ffee",
    },
    "no": {
        "sentry-trace": "fedcba9876543210fedcba9876543210-fedcba9876543210-0",
        "baggage": "sentry-trace_id=fedcba9876543210fedcba9876543210,"
        "sentry-sample_rate=0.01337,sentry-sampled=false,sentry-sample_rand=0.5",
    },
    "deferred": {
        "sentry-trace": "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f-0f0f0f0f0f0f0f0f",
        "baggage": "sentry-trace_id=0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
    },
    "none": {},
}
"What a caller sends."

options = {"auto_enabling_integrations": False, "default_integrations": False}
options["include_local_variables"] = False
options["max_request_body_size"] = "never"
if os.environ["MODE"] == "stream":
    options["trace_lifecycle"] = "stream"
warnings.simplefilter("ignore", DeprecationWarning)
exec(os.environ.get("OPTIONS", ""))

def begin(headers, name, **context):
    "Begin a trace as the SDK's integrations do."
    if os.environ["MODE"] == "stream":
        sentry_sdk.traces.continue_trace(headers)
        sentry_sdk.Scope.set_custom_sampling_context(context)
        return sentry_sdk.traces.start_span(name=name, parent_span=None)
    transaction = sentry_sdk.continue_trace(headers, name=name)
    return sentry_sdk.start_transaction(transaction, custom_sampling_context=context)

def child(name):
    if os.environ["MODE"] == "stream":
        return sentry_sdk.traces.start_span(name=name)
    return sentry_sdk.start_span(name=name)

def outgoing():
    "What another service would be sent."
    scope = sentry_sdk.get_current_scope()
    baggage = sentry_sdk.get_baggage()
    return [
        sentry_sdk.get_traceparent(),
        baggage if baggage is None or isinstance(baggage, str) else baggage.serialize(),
        dict(scope.iter_trace_propagation_headers()),
        dict(sentry_sdk.get_isolation_scope().iter_trace_propagation_headers()),
        sentry_sdk.get_current_scope().trace_propagation_meta(),
    ]

def fail(text):
    try:
        raise ValueError(text)
    except ValueError:
        sentry_sdk.capture_exception()

def trace(headers, name):
    with sentry_sdk.isolation_scope():
        found = [outgoing()]
        with begin(headers, name):
            found.append(outgoing())
            fail("in it")
            with child("a part"):
                found.append(outgoing())
                fail("in a part")
        found.append(outgoing())
        fail("after it")
    return found

numbers = itertools.count(1)
real = uuid.uuid4
def numbered():
    "The same ids in every run."
    if threading.current_thread() is not threading.main_thread():
        return real()
    number = next(numbers)
    return uuid.UUID(int=(number << 64) + number, version=4)

def start(rules=(), bounds={}, **settings):
    if os.environ["WAY"] == "plain":
        rate = settings.pop("SENTRY_TRACES_SAMPLE_RATE", None)
        sentry_sdk.init(
            dsn=os.environ["A"], release="lms@1", traces_sample_rate=rate, **options
        )
    else:
        values = {"SENTRY_DSN": os.environ["A"], **settings}
        publish(values, rules=rules, **bounds)
        resentry.init(**options)
    uuid.uuid4 = numbered
"""
TRACES = """
found = {name: trace(headers, "checkout") for name, headers in HEADERS.items()}
sentry_sdk.flush(10)
say(found=found)
"""
TIMES = {"timestamp", "start_timestamp", "end_timestamp", "sent_at", "started"}


class Whole(Sink):
    """A sink that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self.plays: list[str] = []

    def book(self, project: int, key: str, body: bytes) -> str:
        """Keep the envelope, and book it."""
        self.bodies.append(body)
        return super().book(project, key, body)

    def envelopes(self) -> list[Any]:
        """Return each envelope without its times; client reports are counts."""
        found = []
        for header, items in map(parse_envelope, self.bodies):
            parts = [(i.kind, json.loads(i.payload)) for i in items]
            if [kind for kind, _ in parts] != ["client_report"]:
                found.append(_timeless([header, parts]))
        return sorted(found, key=json.dumps)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: _timeless(v) for k, v in value.items() if k not in TIMES}
        return {k: v for k, v in kept.items() if not k.startswith("thread.")}
    return (
        [_timeless(one) for one in value] if isinstance(value, list | tuple) else value
    )


@pytest.fixture
def sink() -> Iterator[Whole]:
    with Whole() as running:
        yield running


@pytest.fixture
def play(run: Run, sink: Whole, volume: str) -> Callable[..., Any]:
    """Run a script one way; return what it said, and the envelopes it sent."""

    def played(way: str, mode: str, script: str, **environ: str) -> Any:
        sink.bodies.clear()
        sink.plays.append(way)
        ran = run(
            PROGRAM + script,
            WAY=way,
            MODE=mode,
            A=sink.dsn(1),
            RESENTRY_DIR=f"{volume}-{len(sink.plays)}",
            **environ,
        )
        return ran.said, sink.envelopes()

    return played


RATES = {
    "unset": "",
    "0": "SENTRY_TRACES_SAMPLE_RATE=0.0",
    "1": "SENTRY_TRACES_SAMPLE_RATE=1.0",
}
ENABLED = "options['enable_tracing'] = True"
SAMPLED = "options['traces_sampler'] = lambda context: {}"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("rate", "options"),
    [
        *((rate, "") for rate in RATES),
        ("unset", ENABLED),
        ("0", "options['enable_tracing'] = False"),
        ("unset", SAMPLED.format("0.3")),
    ],
)
@pytest.mark.parametrize("rules", ["", "(Rule('other', 1.0),)"], ids=["none", "rules"])
def test_what_no_rule_matches_is_as_if_there_were_none(
    play: Callable[..., Any], mode: str, rate: str, options: str, rules: str
) -> None:
    """Whole envelopes and headers are those of sentry-sdk alone, whoever began the trace."""
    plain = play("plain", mode, f"start({RATES[rate]})" + TRACES, OPTIONS=options)
    start = f"start({rules or '()'}, {RATES[rate]})"
    ours = play("ours", mode, start + TRACES, OPTIONS=options)
    assert ours[0] == plain[0]
    assert ours[1] == plain[1]
    assert len(plain[1]) >= 12, "each error"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("matched", ["1.0", "0.0", "0.3"])
def test_what_a_rule_matches_is_traced_by_its_rate(
    play: Callable[..., Any], mode: str, rate: str, matched: str
) -> None:
    """All of it is as with a `traces_sampler` that returns the rate."""
    plain = play(
        "plain", mode, f"start({RATES[rate]})" + TRACES, OPTIONS=SAMPLED.format(matched)
    )
    start = f"start((Rule('check*', {matched}),), {RATES[rate]})"
    assert play("ours", mode, start + TRACES) == plain
    assert len(plain[1]) >= (16 if matched == "1.0" else 12), "each error, each trace"


NO = "\nHEADERS = {'no': HEADERS['no']}" + TRACES
DECIDED = "\nHEADERS = {n: HEADERS[n] for n in ('yes', 'no')}" + TRACES
YES = "\nHEADERS.pop('no')" + TRACES
ONE = "\nHEADERS = {'yes': HEADERS['yes']}" + TRACES
ONE_RARE = (
    "\nHEADERS['yes']['baggage'] = HEADERS['yes']['baggage'].replace('0.01337', '0.9')"
    + ONE
)
OFF = "options['enable_tracing'] = False"
OTHERS = "\nHEADERS = {n: HEADERS[n] for n in ('deferred', 'none')}" + TRACES
BOUNDS = "{'ceilings': (Ceiling(traces=0.3),), 'budgets': (Budget(transactions=600),)}"
RULE = "(Rule('check*', {}),)"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("rules", "rate", "options", "as_if"),
    [
        (RULE.format("1.0"), "unset", "", "0.3"),
        (RULE.format("0.0"), "1", "", "0.0"),
        (RULE.format("1.0, parent='keep'"), "0", "", "0.3"),
        ("()", "1", "", "0.3"),
        ("()", "unset", SAMPLED.format("1.0"), "0.3"),
        ("()", "unset", SAMPLED.format("0.01"), "0.01"),
    ],
)
def test_a_ceiling_bounds_what_decides(
    play: Callable[..., Any], mode: str, rules: str, rate: str, options: str, as_if: str
) -> None:
    """All of it is as with a `traces_sampler` that returns the lower rate.

    A caller's no, where it counts, stays as the SDK alone leaves it. The rate of a caller's
    yes stays, if it is the lower one.
    """
    rated = RATES[rate]
    sampled = SAMPLED.format(as_if)
    start = f"start({rules}, {BOUNDS}, {rated})"
    is_parents = not options and ("keep" in rules or rules == "()")
    all_callers = ((ONE, "0.01337"), (ONE_RARE, "0.9"), (OTHERS, ""))
    for callers, by in all_callers if is_parents else ((YES, ""),):
        said, sent = play("plain", mode, f"start({rated})" + callers, OPTIONS=sampled)
        expected: Any = [said, sent]
        if by:
            expected = _at_rate(expected, as_if, str(min(float(as_if), float(by))))
        assert [*play("ours", mode, start + callers, OPTIONS=options)] == expected, by
    if is_parents:
        no = play("plain", mode, f"start({rated})" + NO)
        assert play("ours", mode, start + NO) == no


def _at_rate(found: Any, rate: str, other: str) -> Any:
    """Return what was found with another sample rate of the trace."""
    text = json.dumps(found)
    for form in ("sample_rate={}", '"sample_rate": "{}"'):
        text = text.replace(form.format(rate), form.format(other))
    return json.loads(text)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", ["", OFF], ids=["unset", "off"])
def test_a_bound_turns_no_tracing_on(
    play: Callable[..., Any], mode: str, options: str
) -> None:
    """Where tracing is off nothing is decided; a trace that a bound leaves is as before."""
    rules = RULE.format("1.0") if options else "()"
    plain = play("plain", mode, "start()" + TRACES, OPTIONS=options)
    assert (
        play("ours", mode, f"start({rules}, {BOUNDS})" + TRACES, OPTIONS=options)
        == plain
    )


MANY = """
def sampled(name):
    count = 0
    for _ in range(20):
        with sentry_sdk.isolation_scope():
            with {} as began:
                count += bool(began.sampled)
    return count

start({}, {{
    "ceilings": (Ceiling(traces=0.001, match="closed"),),
    "budgets": (Budget(transactions=6),),
}}, {})
count = [sampled("closed"), sampled("few")]
sentry_sdk.flush(10)
say(count=count)
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("rate", "options"),
    [
        ("unset", ""),
        ("1", ""),
        ("1", OFF),
        ("unset", OFF + "\n" + SAMPLED.format("1.0")),
    ],
)
def test_no_yes_of_a_caller_passes_a_bound(
    play: Callable[..., Any], mode: str, rate: str, options: str
) -> None:
    """The SDK streams what a caller wants with tracing off, too: that is bounded."""
    script = MANY.format("begin(HEADERS['yes'], name)", "()", RATES[rate])
    said, sent = play("ours", mode, script, OPTIONS=options)
    closed, few = said["count"]
    assert closed == 0
    assert few <= 8
    assert _spans(sent) == few


def _spans(envelopes: Any) -> int:
    """Return the number of transactions or streamed spans."""
    return sum(
        len(body["items"]) if kind == "span" else kind == "transaction"
        for _, items in envelopes
        for kind, body in items
    )


@pytest.mark.parametrize(
    "options", ["", SAMPLED.format("0.0")], ids=["rate", "sampler"]
)
def test_a_forced_transaction_is_bounded(
    play: Callable[..., Any], options: str
) -> None:
    """`sampled=True` beats rules and rates, but no ceiling and no budget."""
    force = "sentry_sdk.start_transaction(name=name, sampled=True)"
    script = MANY.format(force, RULE.format("0.0"), RATES["1"])
    said, sent = play("ours", "static", script, OPTIONS=options)
    closed, few = said["count"]
    assert closed <= 1  # one of 1000 traces
    assert 6 <= few <= 8
    assert _spans(sent) == closed + few


DROPS = """
def before_send_transaction(event, hint):
    return None if event["transaction"] == "health" else event

options["before_send_transaction"] = before_send_transaction
options["trace_ignore_status_codes"] = {404}
start((), {'budgets': (Budget(transactions=6),)}, SENTRY_TRACES_SAMPLE_RATE=1.0)
dropped = 0
for _ in range(50):
    with sentry_sdk.isolation_scope(), begin({}, "health") as began:
        dropped += began.sampled
    with sentry_sdk.isolation_scope(), begin({}, "lost") as began:
        began.set_data("http.response.status_code", 404)
        dropped += began.sampled
count = 0
for _ in range(5):
    with sentry_sdk.isolation_scope(), begin({}, "checkout") as began:
        count += began.sampled
sentry_sdk.flush(10)
say(count=count, dropped=dropped)
"""


@pytest.mark.skipif(
    "trace_ignore_status_codes" not in DEFAULT_OPTIONS, reason="a later SDK's option"
)
def test_what_is_not_sent_uses_up_no_budget(play: Callable[..., Any]) -> None:
    """A hook of the application or its status codes may drop most transactions."""
    said, sent = play("ours", "static", DROPS)
    assert said == {"count": 5, "dropped": 100}
    assert _spans(sent) == 5


BOOST = "{{'boosts': (Boost('b', {}, '2999-01-01T00:00:00Z', match='check*'{}),)}}"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rate", ["unset", "1"])
@pytest.mark.parametrize(
    ("rules", "boost", "as_if"),
    [
        ("()", BOOST.format("1.0", ""), "1.0"),
        ("()", BOOST.format("0.3", ""), "0.3"),
        (RULE.format("0.0"), BOOST.format("1.0", ""), "1.0"),
        (RULE.format("1.0, parent='keep'"), BOOST.format("0.3", ""), "0.3"),
    ],
    ids=["on", "some", "above a rule", "above a rule that keeps"],
)
def test_a_boost_stands_above_rule_parent_and_rate(
    play: Callable[..., Any], mode: str, rate: str, rules: str, boost: str, as_if: str
) -> None:
    """All of it is as with a `traces_sampler` that returns the boost's rate."""
    rated, sampled = RATES[rate], SAMPLED.format(as_if)
    plain = play("plain", mode, f"start({rated})" + TRACES, OPTIONS=sampled)
    assert play("ours", mode, f"start({rules}, {boost}, {rated})" + TRACES) == plain


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("rules", "boost"),
    [
        (RULE.format("0.3, parent='keep'"), "{}"),
        (RULE.format("1.0"), BOOST.format("0.3", ", parent='keep'")),
    ],
    ids=["rule", "boost"],
)
def test_a_parent_that_is_kept_decides(
    play: Callable[..., Any], mode: str, rules: str, boost: str
) -> None:
    """A caller's yes and no stand; the rate decides on the other traces alone."""
    script = f"start({rules}, {boost}, SENTRY_TRACES_SAMPLE_RATE=1.0)"
    sampled = "0.3 if context['parent_sampled'] is None else context['parent_sampled']"
    begin = "start(SENTRY_TRACES_SAMPLE_RATE=1.0)"
    for callers, options in ((OTHERS, SAMPLED.format(sampled)), (DECIDED, "")):
        plain = play("plain", mode, begin + callers, OPTIONS=options)
        assert play("ours", mode, script + callers) == plain


BURST = """
start((), {'budgets': (Budget(transactions=600),)}, SENTRY_TRACES_SAMPLE_RATE=1.0)
decided = []
for _ in range(1000):
    with sentry_sdk.isolation_scope(), begin({}, "checkout"):
        decided.append(outgoing()[0].endswith("-1"))
sentry_sdk.flush(10)
say(first=sum(decided[:10]), all=sum(decided))
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "options", ["", SAMPLED.format("1.0")], ids=["rate", "sampler"]
)
def test_a_burst_is_cut_by_what_was_sampled(
    play: Callable[..., Any], mode: str, options: str
) -> None:
    """Whichever way the SDK decides. Ten at once are not touched."""
    said, _ = play("ours", mode, BURST, OPTIONS=options)
    assert said["first"] == 10
    assert 10 < said["all"] < 100


NESTED = """
with begin(HEADERS["yes"], "other"):
    found = [outgoing()[0]]
    with sentry_sdk.isolation_scope(), begin({}, "checkout"):
        found.append(outgoing()[0])
    found.append(outgoing()[0])
    sentry_sdk.flush(10)
say(found=[text.split("-")[2:] for text in found])
"""


@pytest.mark.parametrize("mode", MODES)
def test_tracing_is_on_in_a_matched_trace_alone(
    play: Callable[..., Any], mode: str
) -> None:
    """Around it, where the rate is unset, nothing is decided."""
    said, envelopes = play("ours", mode, "start((Rule('checkout', 1.0),))" + NESTED)
    assert said == {"found": [[], ["1"], []]}
    spans = [kind for _, items in envelopes for kind, _ in items]
    assert spans.count("transaction" if mode == "static" else "span") >= 1


FRAMES = """
def sampler(context):
    sentry_sdk.capture_message("deciding")
    return 1.0

options["attach_stacktrace"] = True
options["traces_sampler"] = sampler
start((Rule("other", 1.0),), SENTRY_TRACES_SAMPLE_RATE=1.0)
with begin({}, "checkout"):
    pass
sentry_sdk.flush(10)
say()
"""


@pytest.mark.parametrize("mode", MODES)
def test_no_frame_of_ours_is_in_what_a_sampler_captures(
    play: Callable[..., Any], mode: str
) -> None:
    """The application's own sampler runs within ours."""
    _, envelopes = play("ours", mode, FRAMES)
    (event,) = [
        body for _, items in envelopes for kind, body in items if kind == "event"
    ]
    frames = event["threads"]["values"][0]["stacktrace"]["frames"]
    assert "sampler" in [frame["function"] for frame in frames]
    ours = {"resentry.sampling", "resentry.sdk.tracing"}
    assert not ours & {frame["module"] for frame in frames}
