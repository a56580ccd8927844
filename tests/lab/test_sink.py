"""The sink accounts for everything that the real sentry-sdk sends."""

import json
import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import sentry_sdk
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from sentry_sdk import logger
from sentry_sdk.sessions import track_session

from lab.process import Process, eventually
from lab.sink import Sink, key_of


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


def new_client(dsn: str, **options: Any) -> sentry_sdk.Client:
    """Return a client that says where it is from."""
    return sentry_sdk.Client(
        dsn=dsn,
        environment="production",
        release="lms@1",
        default_integrations=False,
        traces_sample_rate=1.0,
        enable_backpressure_handling=False,
        **options,
    )


def post(sink: Sink, body: bytes, project: int = 1, encoding: str = "") -> int:
    """Send one envelope without the SDK; return the status."""
    headers = {"X-Sentry-Auth": f"Sentry sentry_key={key_of(project)}"}
    if encoding:
        headers["Content-Encoding"] = encoding
    url = f"http://{sink.address}/api/{project}/envelope/"
    return requests.post(url, data=body, headers=headers, timeout=5).status_code


def envelope(event_id: str, kind: str = "event") -> bytes:
    """Return the smallest envelope around one event."""
    lines = [{"event_id": event_id}, {"type": kind}, {"event_id": event_id}]
    return "\n".join(json.dumps(line) for line in lines).encode()


@pytest.mark.parametrize("algorithm", ["gzip", "br"])
def test_everything_that_the_sdk_sends_is_counted(sink: Sink, algorithm: str) -> None:
    """Events, transactions, sessions and logs arrive in either compression."""
    client = new_client(
        sink.dsn(1),
        enable_logs=True,
        _experiments={"transport_compression_algo": algorithm},
    )
    with sentry_sdk.new_scope() as scope, sentry_sdk.isolation_scope() as isolation:
        scope.set_client(client)
        isolation.set_client(client)
        isolation.set_tag("tenant", "a")
        event_id = sentry_sdk.capture_message("hello")
        sentry_sdk.capture_exception(ValueError("seven"))
        with sentry_sdk.start_transaction(name="work"):
            pass
        with track_session(isolation, session_mode="request"):
            pass
        logger.info("a line")
        logger.info("another line")
        client.close()
    message, error = sink.events()
    assert (message.event_id, message.message) == (event_id, "hello")
    assert (message.environment, message.release) == ("production", "lms@1")
    assert (message.project, message.key) == (1, key_of(1))
    assert (message.tags, message.trace_key) == ({"tenant": "a"}, key_of(1))
    assert error.message == "ValueError: seven"
    assert [one.message for one in sink.transactions()] == ["work"]
    counts = {kind: sink.count(kind) for kind in ("event", "session", "log")}
    assert counts == {"event": 2, "session": 1, "log": 2}
    assert sink.duplicates() == 0


def test_projects_and_keys_are_told_apart(sink: Sink) -> None:
    """A report for a project or key holds nothing of another."""
    second_key = key_of(1, 2)
    dsns = [sink.dsn(1), sink.dsn(1, second_key), sink.dsn(2)]
    sent = []
    for dsn in dsns:
        client = new_client(dsn)
        sent.append(client.capture_event({"message": "hello"}))
        client.close()
    assert sink.event_ids(1) == sent[:2]
    assert sink.event_ids(1, second_key) == sent[1:2]
    assert sink.event_ids(2) == sent[2:]
    assert sink.count("event", 1, key_of(1)) == 1


def test_a_second_delivery_is_a_duplicate(sink: Sink) -> None:
    """The same id counts in another project too, not in another item type."""
    post(sink, envelope("a"))
    post(sink, envelope("a", kind="transaction"))
    assert sink.duplicates() == 0
    post(sink, envelope("a"), project=2)
    assert sink.duplicates() == 1
    sink.reset()
    assert (sink.duplicates(), sink.events(), sink.count("event")) == (0, [], 0)


def test_deflate_and_broken_bodies(sink: Sink) -> None:
    """A deflated envelope is booked, a broken one answers 400, booking nothing."""
    assert post(sink, zlib.compress(envelope("a")), encoding="deflate") == 200
    assert post(sink, b"\x00\x01", encoding="deflate") == 400
    assert post(sink, b"no envelope") == 400
    assert post(sink, b'{}\n{"type":"event","length":9000}\n{}') == 400
    assert sink.event_ids() == ["a"]


def test_a_session_with_updates_counts_once(sink: Sink) -> None:
    """The start and the end of a session carry one id."""
    for status in ("ok", "exited"):
        update = json.dumps({"sid": "s", "status": status}).encode()
        post(sink, b'{}\n{"type":"session"}\n' + update)
    assert sink.count("session") == 1


def test_spans_of_opentelemetry_are_booked(sink: Sink) -> None:
    """Each span's id, with project and key; a broken export answers 400."""
    exporter = OTLPSpanExporter(
        endpoint=f"http://{sink.address}/api/1/integration/otlp/v1/traces/",
        headers={"X-Sentry-Auth": f"Sentry sentry_key={key_of(1)}"},
        compression=Compression.Gzip,
    )
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    with provider.get_tracer("lms").start_as_current_span("outer") as outer:
        outer.add_event("said", {"text": "x" * 300, "number": 7, "part": 0.5})
        with provider.get_tracer("lms").start_as_current_span("inner") as inner:
            pass
    provider.shutdown()
    made = [f"{span.get_span_context().span_id:016x}" for span in (inner, outer)]
    assert sink.spans(1, key_of(1)) == made
    assert (sink.count("otlp"), sink.duplicates()) == (2, 0)
    for broken in (b"\x0a\x7f", b"\x0a", b"\x0f", b"\xff" * 12):
        answer = requests.post(exporter._endpoint, data=broken, timeout=5)
        assert answer.status_code == 400


def test_client_reports_are_summed_up(sink: Sink) -> None:
    """What a client says it lost is counted by reason and category."""
    lost = {"reason": "queue_overflow", "category": "error", "quantity": 3}
    report = json.dumps({"discarded_events": [lost]})
    for _ in range(2):
        post(sink, b'{}\n{"type":"client_report"}\n' + report.encode())
    assert sink.client_reports() == {("queue_overflow", "error"): 6}


def test_a_project_answers_as_it_is_told(sink: Sink) -> None:
    """A refused envelope is not booked, and the refusal is counted."""
    sink.answer(1, 429, headers={"Retry-After": "7"})
    assert post(sink, envelope("a")) == 429
    sink.answer(1, 403, key=key_of(1))
    assert post(sink, envelope("b")) == 403
    assert post(sink, envelope("c"), project=2) == 200
    sink.answer(1, "ok", key=key_of(1), seconds=0.2)
    begin = time.monotonic()
    assert post(sink, envelope("d")) == 200
    assert time.monotonic() - begin >= 0.2
    assert sink.event_ids() == ["c", "d"]
    assert [sink.answered(status, 1) for status in (429, 403, 200)] == [1, 1, 1]


def test_a_hung_project_never_answers_and_the_sink_still_stops() -> None:
    """A client times out, another project is served, and the end is prompt."""
    with Sink() as sink:
        sink.answer(1, "hang")
        url = f"http://{sink.address}/api/1/envelope/"
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.post(url, data=envelope("a"), timeout=0.2)
        assert post(sink, envelope("b"), project=2) == 200
        begin = time.monotonic()
    assert time.monotonic() - begin < 1
    assert sink.event_ids() == ["b"]


def test_a_strict_sink_refuses_what_it_does_not_know() -> None:
    """Only keys that `dsn` has named are welcome."""
    with Sink(strict=True) as sink:
        assert post(sink, envelope("a")) == 403
        sink.dsn(1)
        assert post(sink, envelope("a")) == 200


def test_the_sink_keeps_connections() -> None:
    """Many envelopes of one client need one connection."""
    with Sink() as sink, requests.Session() as session:
        url = f"http://{sink.address}/api/1/envelope/?sentry_key=k"
        for number in range(20):
            session.post(url, data=envelope(str(number)), timeout=5)
        assert (sink.count("event", key="k"), sink.connections) == (20, 1)


@pytest.mark.process
def test_the_sink_runs_alone() -> None:
    """`python -m lab.sink` prints a DSN first, and at its end what it received."""
    with Process([sys.executable, "-m", "lab.sink"]) as process:
        dsn = eventually(process.log_text, what="a DSN").strip()
        client = new_client(dsn)
        client.capture_event({"message": "hello"})
        client.close()
        assert process.stop() == 0
        counts = json.loads(process.log_text().splitlines()[1])
        assert (counts["event"], counts["duplicates"]) == (1, 0)
