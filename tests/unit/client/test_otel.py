"""OpenTelemetry's spans are sampled by the running snapshot, as the SDK's traces are."""

import random
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip(
    "opentelemetry.sdk.trace",
    reason="OpenTelemetry is in no environment of `make test-versions`",
)

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
)
from sentry_sdk.integrations.opentelemetry import SentryPropagator

from lab.sink import Sink
from resentry import fallback
from resentry.contract import Boost, Budget, Ceiling, Rule, Snapshot
from resentry.formats import time_text
from resentry.otel import Sampler
from resentry.process import here
from resentry.sampling import Sampler as Engine
from resentry.target import target

KINDS = {Rule: "rules", Boost: "boosts", Ceiling: "ceilings", Budget: "budgets"}
TRACE, SPAN = 0x0123456789ABCDEF0123456789ABCDEF, 0x0123456789ABCDEF


def _in(minutes: float) -> str:
    return time_text(time.time() + 60 * minutes, "seconds")


LATER, BEFORE = _in(600), _in(-15)
PARENTS = (None, "keep")


class Ids(RandomIdGenerator):
    """Gives the trace id whose random number is the given one."""

    number = 0.5

    def generate_trace_id(self) -> int:
        return (1 << 64) + int(self.number * (1 << 64))


class Traced:
    """A real provider of OpenTelemetry with our sampler, and what it exports."""

    def __init__(self) -> None:
        self.exported = InMemorySpanExporter()
        self.ids = Ids()
        provider = TracerProvider(
            sampler=Sampler(), id_generator=self.ids, shutdown_on_exit=False
        )
        provider.add_span_processor(SimpleSpanProcessor(self.exported))
        self.tracer = provider.get_tracer("test")

    def span(self, name: str = "checkout", **given: Any) -> bool:
        """Make a span with a child; return whether both are exported. Never one alone."""
        self.exported.clear()
        with (
            self.tracer.start_as_current_span(name, **given),
            self.tracer.start_as_current_span("a part"),
        ):
            pass
        found = [span.name for span in self.exported.get_finished_spans()]
        assert found in ([], ["a part", name])
        return bool(found)


@pytest.fixture
def traced() -> Traced:
    return Traced()


Runs = Callable[..., Engine]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Let a snapshot of these run in this process."""

    def run(*items: Any, rate: float | None = 0.0) -> Engine:
        lists: dict[str, Any] = {
            name: tuple(item for item in items if isinstance(item, kind))
            for kind, name in KINDS.items()
        }
        engine = Engine(Snapshot({}, **lists), "api")
        client = SimpleNamespace(options={"traces_sample_rate": rate}, sampling=engine)
        monkeypatch.setattr(target, "running", SimpleNamespace(client=client))
        return engine

    return run


def remote(
    *, sampled: bool, state: str = "", context: Context | None = None
) -> Context:
    """Return the context of a request whose caller has sent W3C's headers."""
    parent = SpanContext(
        TRACE,
        SPAN,
        is_remote=True,
        trace_flags=TraceFlags(sampled),
        trace_state=TraceState.from_header([state]) if state else None,
    )
    return trace.set_span_in_context(NonRecordingSpan(parent), context or Context())


def of_sentry(decision: str, rand: str | None = None) -> Context:
    """Return the context of a request whose caller has sent Sentry's headers."""
    carrier = {"sentry-trace": f"{TRACE:032x}-{SPAN:016x}{decision}"}
    if rand is not None:
        carrier["baggage"] = f"sentry-trace_id={TRACE:032x},sentry-sample_rand={rand}"
    return SentryPropagator().extract(carrier, Context())


@pytest.mark.parametrize(
    ("items", "rate", "number"),
    [
        ([], 0.4, 0.4),
        ([], 1.0, 1.0),
        ([], 0.0, 0.0),
        ([], None, 0.0),
        ([Rule("check*", 0.3)], None, 0.3),
        ([Rule("check*", 0.3), Rule("*", 0.9)], 0.1, 0.3),
        ([Rule("other", 0.3)], 0.1, 0.1),
        ([Rule("check*", 0.3), Boost("b", 0.8, LATER)], 0.1, 0.8),
        ([Rule("check*", 0.3), Boost("b", 0.8, BEFORE)], 0.1, 0.3),
        ([Boost("b", 1.0, LATER), Ceiling(traces=0.2)], 0.1, 0.2),
        ([Ceiling(traces=0.2, until=BEFORE)], 0.6, 0.6),
        ([Ceiling(traces=0.2, until=LATER, match="check*")], 0.6, 0.2),
    ],
)
def test_each_step_decides_by_the_traces_own_number(
    traced: Traced, runs: Runs, items: list[Any], rate: float | None, number: float
) -> None:
    """Just below the rate a trace is sampled, from the rate on it is not."""
    runs(*items, rate=rate)
    for own in (0.0, number - 0.001, number, 0.999):
        if 0 <= own < 1:
            traced.ids.number = own
            assert traced.span() == (own < number), own


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_a_callers_decision_stands_unless_something_matches(
    traced: Traced, runs: Runs, rate: float
) -> None:
    """The same for W3C's headers and for Sentry's, whose propagator flags each parent."""
    yes = [remote(sampled=True), of_sentry("-1"), of_sentry("-1", "0.999")]
    no = [remote(sampled=False), of_sentry("-0"), of_sentry("-0", "0.0")]
    runs(rate=rate)
    assert [traced.span(context=context) for context in yes + no] == [True] * 3 + [
        False
    ] * 3
    runs(Rule("check*", 0.0), rate=rate)
    assert not any(traced.span(context=context) for context in yes)
    runs(Boost("b", 1.0, LATER), rate=rate)
    assert all(traced.span(context=context) for context in no)
    for kept in (
        Rule("check*", 0.0, parent="keep"),
        Boost("b", 1.0, LATER, parent="keep"),
    ):
        runs(kept, rate=rate)
        assert all(traced.span(context=context) for context in yes)
        assert not any(traced.span(context=context) for context in no)
    runs(rate=None)  # tracing is off, whatever a caller says
    assert not any(traced.span(context=context) for context in yes)


def test_a_ceiling_and_a_budget_never_turn_a_no_into_a_yes(
    traced: Traced, runs: Runs
) -> None:
    """And a caller's yes is bounded."""
    runs(Ceiling(traces=0.9), Budget(transactions=1e6), rate=1.0)
    assert not traced.span(context=of_sentry("-0", "0.0"))
    assert not traced.span(context=remote(sampled=False))
    assert traced.span(context=of_sentry("-1", "0.89"))
    assert not traced.span(context=of_sentry("-1", "0.91"))


def test_all_services_of_a_trace_use_one_number(traced: Traced, runs: Runs) -> None:
    """`sample_rand` of Sentry's baggage, by either propagator; else that of the trace id."""
    runs(rate=0.3)
    assert traced.span(context=of_sentry("", "0.29")), "a caller that left it open"
    assert not traced.span(context=of_sentry("", "0.31"))
    runs(Rule("check*", 0.3))
    of_id = (TRACE & ((1 << 64) - 1)) / (1 << 64)  # 0.004
    assert of_id < 0.3
    other = baggage.set_baggage("sentry-sample_rand", "0.31", Context())
    own = baggage.set_baggage("sentry-trace_id", f"{TRACE:032x}", other)
    assert not traced.span(context=remote(sampled=True, context=own))
    assert traced.span(context=remote(sampled=True, context=other)), "of another trace"
    for wrong in ("x", "1.0", "-0.5", "nan", ""):
        assert traced.span(context=of_sentry("-0", wrong)), "then the trace id's"
    runs(rate=0.3)
    for number in (0.2, 0.4):  # OpenTelemetry's own ratio sampler says the same
        traced.ids.number = number
        assert traced.span() == (number < 0.3)


def test_the_tracestate_goes_on(runs: Runs) -> None:
    """Without the caller's sampling threshold once something else has decided."""
    state = "ot=th:c;rv:0123456789abcd,vendor=1"
    context = remote(sampled=True, state=state)
    runs(rate=0.0)
    result = Sampler().should_sample(context, TRACE, "checkout", attributes={"a": 1})
    assert result.trace_state is not None
    assert result.trace_state.to_header() == state
    assert dict(result.attributes or {}) == {"a": 1}
    runs(Rule("check*", 0.0))
    result = Sampler().should_sample(context, TRACE, "checkout", attributes={"a": 1})
    assert result.trace_state is not None
    assert dict(result.trace_state) == {"ot": "rv:0123456789abcd", "vendor": "1"}
    assert not result.attributes
    alone = remote(sampled=True, state="ot=th:c,vendor=1")
    result = Sampler().should_sample(alone, TRACE, "checkout")
    assert dict(result.trace_state or {}) == {"vendor": "1"}


@pytest.mark.parametrize(
    ("match", "given"),
    [
        (
            "GET /users/*",
            {
                "name": "GET /users/{id}",
                "kind": SpanKind.SERVER,
                "attributes": {
                    "http.request.method": "GET",
                    "url.path": "/users/7",
                },
            },
        ),
        (
            "GET /users/7",
            {
                "name": "GET",
                "kind": SpanKind.SERVER,
                "attributes": {"http.method": "GET", "http.target": "/users/7?a=1"},
            },
        ),
        (
            "GET /lms/users/7",
            {
                "name": "GET /users/7",
                "kind": SpanKind.SERVER,
                "attributes": {
                    "http.method": "GET",
                    "http.url": "http://[::1/lms/users/7?a=//b",
                },
            },
        ),
        ("app.tasks.*", {"name": "run/app.tasks.grade", "kind": SpanKind.CONSUMER}),
        ("nightly", {"name": "nightly"}),
    ],
)
def test_a_rule_sees_the_name_the_request_and_the_task(
    traced: Traced, runs: Runs, match: str, given: dict[str, Any]
) -> None:
    """The same names as in the SDK's traces; `doctor` learns which rules have matched."""
    engine = runs(Rule("never", 1.0), Rule(match, 1.0))
    assert traced.span(**given)
    assert engine.counts == (1, "2"), "a span with a parent here is not decided anew"


def test_it_decides_as_the_engine_does_in_the_sdk(traced: Traced, runs: Runs) -> None:
    """For a thousand random snapshots, parents and numbers."""
    draw = random.Random(20)
    rates = (0.0, 0.25, 0.5, 1.0)
    matches = ("*", "check*", "other")
    for _ in range(1000):
        items: list[Any] = [
            Rule(draw.choice(matches), draw.choice(rates), parent=draw.choice(PARENTS))
            for _ in range(draw.randrange(3))
        ]
        if draw.random() < 0.3:
            until, rate = draw.choice((LATER, BEFORE)), draw.choice(rates)
            items.append(Boost("b", rate, until, parent=draw.choice(PARENTS)))
        if draw.random() < 0.4:
            items.append(Ceiling(traces=draw.choice(rates), match=draw.choice(matches)))
        plain = draw.choice((None, *rates))
        parent = draw.choice((None, True, False))
        number = round(draw.random(), 6)
        engine = runs(*items, rate=plain)
        rate = engine.before(fallback.traces_sampler(plain))(
            {
                "transaction_context": {"name": "checkout"},
                "parent_sampled": parent,
            }
        )
        flag = {None: "", True: "-1", False: "-0"}[parent]
        got = traced.span(context=of_sentry(flag, str(number)))
        assert got == (number < rate), (items, plain, parent, number)


def test_a_budget_is_spent_by_traces_and_cuts_a_burst(
    traced: Traced, runs: Runs
) -> None:
    """A minute's 600 hold 30 at once; the spans inside a trace cost nothing."""
    runs(Budget(transactions=600), rate=1.0)
    draw = random.Random(1)
    passed = 0
    for _ in range(2000):
        traced.ids.number = draw.random()
        passed += traced.span()
    assert 10 <= passed < 1000


def test_without_a_client_or_after_a_fault_nothing_is_sampled(
    traced: Traced, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application's request goes on, and the fault is counted."""
    monkeypatch.setattr(target, "running", None)
    assert not traced.span()
    assert not traced.span(context=remote(sampled=True))
    runs(rate=1.0)
    before = here().tally.faults
    monkeypatch.setattr("resentry.otel._names", None)
    assert not traced.span()
    assert here().tally.faults == before + 1


@pytest.mark.process
def test_the_spans_of_a_real_process_follow_snapshot_and_dsn(
    run: Callable[..., Any], sink: Sink, volume: str
) -> None:
    """With the SDK's OTLPIntegration: rate, rule, ceiling and DSN change without a restart.

    The SDK itself makes no transaction, because the application has turned that off.
    """
    environ = {"A": sink.dsn(1), "B": sink.dsn(2), "RESENTRY_DIR": volume}
    said = run(
        """
import warnings
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from sentry_sdk.integrations.otlp import OTLPIntegration
from resentry.contract import Ceiling
from resentry.otel import Sampler
warnings.simplefilter("ignore", DeprecationWarning)  # of `enable_tracing`

trace.set_tracer_provider(TracerProvider(sampler=Sampler()))

def spans(name):
    made = []
    for _ in range(20):
        with trace.get_tracer("test").start_as_current_span(name) as span:
            if span.is_recording():
                made.append(format(span.get_span_context().span_id, "016x"))
            with sentry_sdk.start_transaction(name=name):
                pass
    trace.get_tracer_provider().force_flush()
    return made

early = spans("pay")
first = {"SENTRY_DSN": os.environ["A"], "SENTRY_TRACES_SAMPLE_RATE": 1.0}
publish(first)
resentry.init(integrations=[OTLPIntegration()], enable_tracing=False, **QUICK)
a = spans("pay")
second = {"SENTRY_DSN": os.environ["B"], "SENTRY_TRACES_SAMPLE_RATE": 0.0}
take_up(second, rules=(Rule("pay", 1.0),))
b, other = spans("pay"), spans("other")
take_up(second, rules=(Rule("pay", 1.0),), ceilings=(Ceiling(traces=0.0),))
say(early=early, a=a, b=b, other=other, under=spans("pay"))
""",
        **environ,
    ).said
    assert said["early"] == said["other"] == said["under"] == []
    assert len(said["a"]) == len(said["b"]) == 20
    assert sorted(sink.spans(1)) == sorted(said["a"])
    assert sorted(sink.spans(2)) == sorted(said["b"])
    assert not sink.transactions()
