"""OpenTelemetry's exporters follow the DSN, and those that can't are named."""

from collections.abc import Callable
from typing import Any

import pytest

from lab.sink import Sink
from resentry.contract import fingerprint
from resentry.span import encode_span
from resentry.verification import FINGERPRINT, TAG

Run = Callable[..., Any]

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http",
    reason="OpenTelemetry is in no environment of `make test-versions`",
)

FIRST = """
os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "20"
import sys
import time
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from sentry_sdk.integrations.otlp import OTLPIntegration
from sentry_sdk.utils import Dsn
from resentry import holders, otlp
from resentry.contract import fingerprint

A, B = os.environ["A"], os.environ["B"]
OURS = {fingerprint(A), fingerprint(B)}

def init(dsn, **options):
    holders.note_clients()
    sentry_sdk.init(dsn=dsn, integrations=[OTLPIntegration(**options)], **QUICK)
    otlp.follow(dsn, OURS)

def address(dsn, signal="traces"):
    auth = Dsn(dsn).to_auth("app/1")
    url = f"{auth.scheme}://{auth.host}/api/{auth.project_id}/integration/otlp/v1/{signal}"
    return {"endpoint": url, "headers": {"x-sentry-auth": auth.to_header()}}

def provider(*processors):
    made = TracerProvider()
    for processor in processors:
        made.add_span_processor(processor)
    trace.set_tracer_provider(made)

def spans(number=3):
    made = []
    for _ in range(number):
        with trace.get_tracer("test").start_as_current_span("span") as span:
            made.append(format(span.get_span_context().span_id, "016x"))
    return made

def flush():
    trace.get_tracer_provider().force_flush()

def found(current=None):
    return holders.find(OURS, fingerprint(B if current is None else current), lambda c: True)
"""


@pytest.fixture
def look(run: Run, sink: Sink) -> Run:
    """Run a script that has two DSNs of ours, a strange one, and OpenTelemetry."""
    environ = {"A": sink.dsn(1), "B": sink.dsn(2), "C": sink.dsn(3)}
    sink.strict = True

    def look(script: str, **more: str) -> dict[str, Any]:
        said: dict[str, Any] = run(f"{FIRST}\n{script}", **environ, **more).said
        return said

    return look


@pytest.mark.process
def test_what_is_queued_goes_to_the_new_dsn(look: Run, sink: Sink) -> None:
    """Address and key change together; what was sent before stays where it is."""
    said = look("""
init(A)
before = spans()
flush()
queued = spans()
otlp.follow(B, OURS)
after = spans()
flush()
say(before=before, queued=queued, after=after, found=found())
""")
    assert sorted(sink.spans(1)) == sorted(said["before"])
    assert sorted(sink.spans(2)) == sorted(said["queued"] + said["after"])
    assert (sink.duplicates(), said["found"]) == (0, [])


@pytest.mark.process
def test_a_request_under_way_is_a_holder_until_it_is_answered(
    look: Run, sink: Sink
) -> None:
    """It goes where it goes; only then nothing sends by the old DSN any more."""
    sink.answer(1, "ok", seconds=0.5)
    said = look("""
init(A)
sent = spans()
under_way = lambda: found() == [("otlp", fingerprint(A))]
eventually(under_way)
otlp.follow(B, OURS)
during = found()
eventually(lambda: not found())
say(sent=sent, during=during)
""")
    assert said["during"] == [["otlp", fingerprint(sink.dsn(1))]]
    assert sorted(sink.spans(1)) == sorted(said["sent"])
    assert sink.spans(2) == []


@pytest.mark.process
def test_what_a_revoked_dsn_refused_goes_to_the_next(look: Run, sink: Sink) -> None:
    """Before the swap it is kept, at the swap it is sent anew, each span once."""
    sink.answer(1, 403)
    said = look("""
init(A)
refused = spans()
flush()
refused += spans()
flush()
otlp.follow(B, OURS)
after = spans()
flush()
from resentry.process import here
eventually(lambda: here().tally.rerouted == 2)
say(sent=refused + after, tally=here().tally.as_dict())
""")
    assert sorted(sink.spans(2)) == sorted(said["sent"])
    assert (sink.spans(1), sink.duplicates()) == ([], 0)
    assert (said["tally"]["parked"], said["tally"]["dropped"]) == (2, 0)


@pytest.mark.process
def test_a_retry_goes_to_the_new_dsn(look: Run, sink: Sink) -> None:
    """The old server is overloaded: the exporter tries again, where spans belong now."""
    sink.answer(1, 503)
    said = look("""
import logging
class Seen(logging.Handler):
    text = ""
    def emit(self, record):
        self.text += record.getMessage()
seen = Seen()
logging.getLogger().addHandler(seen)
init(A)
sent = spans()
eventually(lambda: "Transient error" in seen.text)
otlp.follow(B, OURS)
flush()
say(sent=sent)
""")
    assert sorted(sink.spans(2)) == sorted(said["sent"])
    assert sink.answered(503, 1) == 1


@pytest.mark.process
def test_switched_off_nothing_is_sent_and_on_again_it_comes_back(
    look: Run, sink: Sink
) -> None:
    """What is made while there is no DSN is dropped, as events are."""
    said = look("""
init(A)
before = spans()
flush()
otlp.follow("", OURS)
spans()
flush()
off = found("")
otlp.follow(B, OURS)
after = spans()
flush()
say(before=before, after=after, off=off)
""")
    assert sorted(sink.spans(1)) == sorted(said["before"])
    assert sorted(sink.spans(2)) == sorted(said["after"])
    assert said["off"] == []


@pytest.mark.process
@pytest.mark.parametrize("dsn", [None, ""], ids=["none", "empty"])
def test_without_a_dsn_at_first_it_follows_once_there_is_one(
    look: Run, sink: Sink, dsn: str | None
) -> None:
    """Until then it sends as plain SDK does: where OpenTelemetry's own settings say."""
    with Sink() as collector:
        url = f"http://{collector.address}/api/9/integration/otlp/v1/traces"
        script = f"""
init({dsn!r} or "")
before = spans()
flush()
otlp.follow(A, OURS)
after = spans()
flush()
say(before=before, after=after)
"""
        said = look(script, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=url)
        assert sorted(collector.spans()) == sorted(said["before"])
    assert sorted(sink.spans()) == sorted(sink.spans(1)) == sorted(said["after"])


@pytest.mark.process
def test_a_collector_of_the_applications_stays(look: Run, sink: Sink) -> None:
    """With `collector_url`, or an exporter of its own that goes elsewhere."""
    with Sink() as collector:
        url = f"http://{collector.address}/api/9/integration/otlp/v1/traces"
        said = look(f"""
provider(SimpleSpanProcessor(OTLPSpanExporter(**address(os.environ["C"]))))
init(A, collector_url={url!r})
otlp.follow(B, OURS)
say(sent=spans(), flushed=flush(), found=found())
""")
        assert sorted(collector.spans()) == sorted(said["sent"])
    assert sorted(sink.spans()) == sorted(sink.spans(3)) == sorted(said["sent"])
    assert said["found"] == []


@pytest.mark.process
def test_an_exporter_of_the_applications_with_our_key_follows(
    look: Run, sink: Sink
) -> None:
    """It is found by what it carries, also where it was made long after the swap."""
    said = look("""
provider(SimpleSpanProcessor(OTLPSpanExporter(**address(A))))
otlp.follow(A, OURS)
before = spans()
otlp.follow(B, OURS)
trace.get_tracer_provider().add_span_processor(
    BatchSpanProcessor(OTLPSpanExporter(**address(A), compression=None))
)
late = found()
after = spans()
flush()
say(before=before, after=after, late=late)
""")
    assert sorted(sink.spans(1)) == sorted(said["before"])
    assert sorted(sink.spans(2)) == sorted(said["after"] * 2)
    assert said["late"] == []


@pytest.mark.process
def test_what_cannot_follow_is_named(look: Run, sink: Sink) -> None:
    """An exporter of another make, and one of the SDK's whose names have changed."""
    said = look("""
from opentelemetry.sdk.trace.export import SpanExporter

class Other(SpanExporter):
    def __init__(self, dsn):
        made = address(dsn)
        self._endpoint, self._headers = made["endpoint"], tuple(made["headers"].items())

provider(SimpleSpanProcessor(Other(A)))
other = [found(A), found(B)]
processors = trace.get_tracer_provider()._active_span_processor
processors._span_processors = ()
none = found()
otlp.SESSION = otlp.ADDRESS = otlp.HEADERS = otlp.EXPORTER = ("changed",)
init(A)
otlp.follow(B, OURS)
changed = [found(A), found(B)]
exporter = processors._span_processors[0].span_exporter
exporter.shutdown()
say(other=other, none=none, changed=changed, ended=found())
""")
    named = ["otlp", fingerprint(sink.dsn(1))]
    assert said["other"] == said["changed"] == [[], [named]]
    assert said["none"] == said["ended"] == []


@pytest.mark.process
def test_logs_and_metrics_follow_too(look: Run, sink: Sink) -> None:
    """Their exporters are found under the names that OpenTelemetry gives them."""
    said = look("""
from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry._logs import set_logger_provider

logs = OTLPLogExporter(**address(A, "logs"))
figures = OTLPMetricExporter(**address(A, "metrics"))
logger = LoggerProvider()
logger.add_log_record_processor(BatchLogRecordProcessor(logs))
set_logger_provider(logger)
metrics.set_meter_provider(
    MeterProvider([PeriodicExportingMetricReader(figures, 1e6)])
)
listed = [exporter in (logs, figures) for exporter in otlp.exporters()]
asked = []
for one in (logs, figures):
    session = otlp._first(one, otlp.SESSION)
    session.request = lambda method, url, **more: asked.append((url, more["headers"]))
otlp.follow(B, OURS)
for one in (logs, figures):
    address_of = otlp._first(one, otlp.ADDRESS)
    try:
        otlp._first(one, otlp.SESSION).request("POST", address_of, headers={})
    except AttributeError:  # our answer is no response
        pass
urls = [url for url, _ in asked]
keys = [Dsn(B).public_key in headers["X-Sentry-Auth"] for _, headers in asked]
say(listed=listed, urls=urls, keys=keys, found=found())
""")
    base = f"http://{sink.address}/api/2/integration/otlp/v1"
    assert said["urls"] == [f"{base}/logs", f"{base}/metrics"]
    assert said["listed"] == said["keys"] == [True, True]
    assert said["found"] == []


@pytest.mark.process
def test_exporters_before_1_45_follow(look: Run, sink: Sink) -> None:
    """They keep their session, and the key in it, under other names."""
    said = look("""
import requests
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

class Before(SpanExporter):
    def __init__(self, endpoint, headers):
        self._endpoint, self._headers = endpoint, headers
        self._session = requests.Session()
        self._session.headers.update(headers)
        self._session.headers.update({"Content-Type": "application/x-protobuf"})

    def export(self, spans):
        data = encode_spans(spans).SerializePartialToString()
        answer = self._session.post(url=self._endpoint, data=data, timeout=5)
        return SpanExportResult.SUCCESS if answer.ok else SpanExportResult.FAILURE

processor = SimpleSpanProcessor(Before(**address(A)))
provider(processor)
otlp.follow(A, OURS)
before = spans()
otlp.follow(B, OURS)
after = spans()
otlp.follow("", OURS)
spans()
say(before=before, after=after)
""")
    assert sink.spans(1) == said["before"]
    assert sink.spans(2) == said["after"]


@pytest.mark.process
@pytest.mark.parametrize("fork", ["os.fork", "ctypes.PyDLL(None).fork"])
def test_a_forked_child_sends_what_is_its_own(look: Run, sink: Sink, fork: str) -> None:
    """It has a connection of its own, not its parent's, and follows by itself.

    So it has after a fork that runs no hook. OpenTelemetry's own thread sends nothing
    meanwhile: it might hold its lock at such a fork, which the child would wait for.
    """
    said = look(f"""
import ctypes
os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "60000"
init(A)
sent = spans()
flush()
reader, writer = os.pipe()
child = {fork}()
if not child:
    mine = spans()
    flush()
    otlp.follow(B, OURS)
    last = spans()
    flush()
    os.write(writer, json.dumps([mine, last]).encode())
    os._exit(0)
os.waitpid(child, 0)
sent += spans()
flush()
childs = json.loads(os.read(reader, 10_000))
say(sent=sent, first=childs[0], last=childs[1])
""")
    assert sorted(sink.spans(1)) == sorted(said["sent"] + said["first"])
    assert sorted(sink.spans(2)) == sorted(said["last"])
    assert sink.connections == 2  # the parent's, and the child's


@pytest.mark.process
def test_its_server_s_answers_are_those_of_its_dsn(look: Run, sink: Sink) -> None:
    """A revoked DSN shows, also in a process that sends spans alone."""
    sink.answer(1, 403)
    said = look("""
from resentry.process import here
init(A)
spans()
flush()
otlp.follow(B, OURS)
spans()
flush()
say(answers=[[each.dsn, each.kind] for each in here().answers.shown()])
""")
    refused, accepted = said["answers"]
    assert refused == [fingerprint(sink.dsn(1)), "refused"]
    assert accepted == [fingerprint(sink.dsn(2)), "accepted"]


@pytest.mark.process
def test_a_child_resends_nothing_of_its_parents(look: Run, sink: Sink) -> None:
    """What was refused before the fork is the parent's to send, once."""
    sink.answer(1, 403)
    said = look("""
from resentry.process import here
init(A)
refused = spans()
flush()
reader, writer = os.pipe()
child = os.fork()
if not child:
    refused = spans()
    flush()
otlp.follow(B, OURS)
eventually(lambda: here().tally.rerouted == 1)
if not child:
    os.write(writer, json.dumps(refused).encode())
    os._exit(0)
os.waitpid(child, 0)
say(refused=refused + json.loads(os.read(reader, 10_000)))
""")
    assert sorted(sink.spans(2)) == sorted(said["refused"])


@pytest.mark.process
def test_a_reload_leaves_what_follows(look: Run, sink: Sink) -> None:
    """What was made to follow before follows on, and nothing is wrapped twice."""
    said = look("""
import importlib
from resentry import exporter
init(A)
make = sys.modules["sentry_sdk.integrations.otlp"].OTLPSpanExporter
importlib.reload(exporter)
importlib.reload(otlp)
otlp.note_exporters()
otlp.follow(B, OURS)
sent = spans()
flush()
say(sent=sent, same=sys.modules["sentry_sdk.integrations.otlp"].OTLPSpanExporter is make)
""")
    assert said["same"]
    assert sorted(sink.spans(2)) == sorted(said["sent"])


def test_all_names_that_are_not_public_are_there() -> None:
    """Of the newest OpenTelemetry: else its exporters could not be found."""
    import opentelemetry._logs._internal  # noqa: PLC0415
    import opentelemetry.metrics._internal  # noqa: PLC0415
    import opentelemetry.trace  # noqa: PLC0415
    import sentry_sdk.integrations.otlp as integration  # noqa: PLC0415

    assert hasattr(integration, "OTLPSpanExporter")
    assert hasattr(opentelemetry.trace, "_TRACER_PROVIDER")
    assert hasattr(opentelemetry._logs._internal, "_LOGGER_PROVIDER")
    assert hasattr(opentelemetry.metrics._internal, "_METER_PROVIDER")


@pytest.mark.process
def test_a_test_span_goes_to_the_current_dsn_once(look: Run, sink: Sink) -> None:
    """Whatever the sampler says; a revoked DSN's answer is told, and nothing is parked."""
    said = look("""
import queue
from resentry.span import encode_span

def send(nonce):
    answers = queue.Queue()
    body = encode_span("c" * 32, nonce, {"environment": "staging", "release": "1"})
    answered = lambda *became: answers.put(became)
    return otlp.send_test(body, answered) and answers.get(timeout=20)

nobody = send("a" * 12)
init(A)
otlp.follow(B, OURS)
accepted, held = send("b" * 12), found()
otlp.follow("", OURS)
say(nobody=nobody, accepted=accepted, held=held, off=send("c" * 12))
""")
    assert said == {
        "nobody": False,
        "accepted": ["accepted", 200],
        "held": [],
        "off": False,
    }
    assert len(sink.spans(2)) == 1
    assert sink.spans(1) == []


def test_a_test_span_is_what_opentelemetry_reads() -> None:
    """Environment and release belong to its resource, the nonce to the span."""
    from opentelemetry.proto.collector.trace.v1 import (  # noqa: PLC0415 - see above
        trace_service_pb2,
    )

    release = "1.0.0" * 40
    body = encode_span("c" * 32, "b" * 12, {"environment": "test", "release": release})
    export = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
    (spans,) = export.resource_spans
    assert {
        each.key: each.value.string_value for each in spans.resource.attributes
    } == {
        "deployment.environment.name": "test",
        "service.version": release,
    }
    (span,) = spans.scope_spans[0].spans
    assert (span.name, span.trace_id.hex()) == (FINGERPRINT, "c" * 32)
    assert len(span.span_id) == 8
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 1e9
    assert [(each.key, each.value.string_value) for each in span.attributes] == [
        (TAG, "b" * 12)
    ]


@pytest.mark.process
def test_a_test_span_that_is_refused_is_not_kept(look: Run, sink: Sink) -> None:
    """The next DSN does not get it."""
    sink.answer(1, 403)
    said = look("""
import queue
from resentry.span import encode_span
init(A)
answers = queue.Queue()
span = encode_span("c" * 32, "b" * 12, {})
otlp.send_test(span, lambda *became: answers.put(became))
from resentry.process import here
say(became=answers.get(timeout=20), parked=here().tally.parked)
""")
    assert said == {"became": ["refused", 403], "parked": 0}
    assert sink.spans() == []
