"""Status, metrics, logs and HTTP: what others see, and never a secret."""

import gc
import http.client
import json
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.cli.status_lines import status_lines
from agent.domain.outcome import Outcome
from agent.domain.passes import Moment, Passes
from agent.domain.rollout import LiveTarget, assess
from agent.domain.value import replace
from agent.domain.view import Known, View
from agent.errors import SettingsError, SourceDenied, SourceDown
from agent.observe.changes import count_changes
from agent.observe.document import state, status, whole
from agent.observe.http import METRICS, Sources, serve
from agent.observe.metrics import Metrics
from agent.observe.target_metrics import ROLES_LIMIT
from agent.settings import load
from agent.settings.parse import Address
from lab.process import free_port
from resentry.contract import (
    Boost,
    Budget,
    Ceiling,
    ErrorRule,
    Holder,
    Receipt,
    Rule,
    Snapshot,
)

PROGRAMS = Path(__file__).parent / "programs"
KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
DSN = f"https://{KEY}@sentry.example.org/42"
TOKEN = "hvs.CAESIJplantedVaultToken0123456789abcdefghijkl"
CURRENT = Snapshot(
    {"SENTRY_DSN": DSN, "SENTRY_SAMPLE_RATE": 0.5},
    roles={"celery": {"SENTRY_DSN": DSN}},
    revision="a" * 12,
    sequence=7,
    published_at="2026-11-24T06:00:00.000Z",
)
PUBLISHED = Outcome.published(CURRENT, ())
UNCHANGED = Outcome.unchanged(CURRENT, ())
FAILED = Outcome.kept(SourceDown("Vault is sealed"), CURRENT)
DENIED = Outcome.kept(SourceDenied("Vault refuses it"), CURRENT)
NEVER = Outcome.kept(SourceDown("Vault is sealed"), None)


pytestmark = pytest.mark.server


def view(*outcomes: Outcome, **known: Any) -> View:
    """What is known after these passes, a second apart."""
    passes = Passes(0.0)
    for at, outcome in enumerate(outcomes):
        passes = passes.after(outcome, Moment(float(at), float(at)), 0.02)
        known["current"] = CURRENT if outcome.revision else None
    return View(Known(**known), passes, 0.0, assess([], None, late=False))


def plain(document: Any) -> dict[str, Any]:
    """The document as a program reads it."""
    return dict(json.loads(msgspec.json.encode(document)))


def test_the_document_shows_no_key(receipt: Callable[..., Receipt]) -> None:
    """DSNs, also those of roles, are shown as host, project and the last four."""
    target = LiveTarget(receipt(revision="a" * 12, sequence=7), 0, main=True)
    rollout = assess([target], CURRENT, late=False)
    shown = plain(whole(replace(view(PUBLISHED), rollout=rollout)))["result"]
    assert KEY not in json.dumps(shown)
    expected = "sentry.example.org/42 (key …ee00)"
    assert expected == shown["current"]["settings"]["SENTRY_DSN"]
    assert expected == shown["current"]["roles"]["celery"]["SENTRY_DSN"]
    assert (shown["rollout"]["state"], shown["source"]["outcome"]) == (
        "drained",
        "published",
    )
    assert shown["rollout"]["targets"][0]["main"] is True


def test_the_document_tells_of_every_live_process(
    receipt: Callable[..., Receipt],
) -> None:
    """Of one without a readable receipt too, and who holds an older DSN."""
    holding = LiveTarget(
        receipt(
            revision=CURRENT.revision,
            sequence=CURRENT.sequence,
            dsn="a" * 12,
            holders=(Holder("otlp", "b" * 12),),
            ignored=("rules.parent",),
        ),
        0,
    )
    silent = LiveTarget.unreadable("f" * 16, 0, "the receipt is not JSON")
    rollout = assess([holding, silent], CURRENT, late=False, unknown="too many files")
    shown = plain(status("running", CURRENT, rollout, state(view())))["rollout"]
    one, two = shown["targets"]
    assert shown["unknown"] == "too many files"
    assert (one["readable"], one["state"], one["dsn"]) == (True, "confirmed", "a" * 12)
    assert one["holders"] == [{"kind": "otlp", "dsn": "b" * 12}]
    assert one["ignored"] == ["rules.parent"]
    assert len(one["notes"]) == 2
    assert (two["readable"], two["state"], two["pid"]) == (False, "waiting", None)
    assert two["error"] == "the receipt is not JSON"
    json.dumps(shown)


def test_the_document_shows_boosts_with_what_is_left() -> None:
    """The running ones, each with its seconds."""
    ends = datetime.now(UTC) + timedelta(seconds=90)
    boosts = (
        Boost("b1", 1.0, ends.isoformat()),
        Boost("b2", 1.0, "2026-01-01T00:00:00Z"),
    )
    current = replace(CURRENT, boosts=boosts)
    shown = plain(
        status("running", current, assess([], current, late=False), state(view()))
    )
    (row,) = shown["current"]["boosts"]
    assert row["id"] == "b1"
    assert 80 < row["left_seconds"] <= 90


def test_the_document_without_anything_is_whole() -> None:
    """Before the first pass every part is there, and empty."""
    shown = plain(status("running", None, assess([], None, late=False), state(view())))
    assert (shown["current"], shown["source"]["outcome"]) == (None, None)
    assert shown["rollout"]["state"] == "waiting"


@pytest.fixture
def metrics(receipt: Callable[..., Receipt]) -> Metrics:
    """Metrics in which every method was called."""
    made, before = Metrics("1.2.3"), view()
    for after in (view(PUBLISHED), view(PUBLISHED, FAILED)):
        count_changes(before, after, made)
        before = after
    targets = [LiveTarget(receipt(role=role), 0) for role in ("api", "celery", "api")]
    rollout = assess(targets, CURRENT, late=False)
    count_changes(before, replace(before, rollout=rollout, confirmed_at=0.1), made)
    return made


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_metric_is_ours_or_the_process_s(metrics: Metrics) -> None:
    """No metric of Python's runtime, none without help."""
    families = list(text_string_to_metric_families(metrics.render().decode()))
    assert len(families) > 7
    for family in families:
        assert family.name.startswith(("resentry_", "process_")), family.name
        assert family.documentation.endswith("."), family.name
        assert not family.name.endswith("_created")


def test_metrics_count_what_happened(metrics: Metrics) -> None:
    """Passes by outcome, failures in a row, the sequence, and targets by state."""
    found = samples(metrics)
    assert found["resentry_passes_total", "published"] == 1
    assert found["resentry_passes_total", "failed"] == 1
    assert found["resentry_passes_total", "refused"] == 0
    assert found["resentry_consecutive_failures",] == 1
    assert found["resentry_current_sequence",] == 7
    assert found["resentry_targets", "api", "waiting"] == 2
    assert found["resentry_targets", "celery", "drained"] == 0
    assert found["resentry_confirm_seconds_count",] == 1
    python = ".".join(map(str, sys.version_info[:3]))
    assert found["resentry_agent_info", "", python, "1.2.3"] == 1


def test_metrics_say_since_when_and_by_which_error(metrics: Metrics) -> None:
    """One series while it fails, none while it is good; the last success stays."""
    name = "resentry_failing_since_timestamp_seconds"
    failing, good = view(PUBLISHED, FAILED, DENIED), view(UNCHANGED)
    count_changes(view(), failing, metrics)
    found = samples(metrics)
    assert [key for key in found if key[0] == name] == [(name, "SourceDenied")]
    assert found[name, "SourceDenied"] == 2
    assert found["resentry_last_success_timestamp_seconds",] == 0
    count_changes(failing, good, metrics)
    assert not [key for key in samples(metrics) if key[0] == name]


def test_a_role_that_has_gone_leaves_no_series(metrics: Metrics) -> None:
    """The targets of now are shown, and none of those of yesterday."""
    count_changes(view(), view(), metrics)
    assert not [name for name in samples(metrics) if name[0] == "resentry_targets"]


def test_a_role_that_no_process_has_is_named(receipt: Callable[..., Receipt]) -> None:
    """A typing error in it would have no effect, and nobody would know."""
    rule = Rule(match="GET /*", traces=1.0, role="wokrer")
    current = replace(
        CURRENT,
        rules=(rule,),
        ceilings=(Ceiling(traces=0.1, role="a"),),
        errors=(ErrorRule(exception="ValueError", rate=0.1, role="b"),),
        budgets=(Budget(errors=60, role="c"),),
    )
    targets = [LiveTarget(receipt(role="api"), 0)]
    rollout = assess(targets, current, late=False)
    assert rollout.idle_roles == ("a", "b", "c", "celery", "wokrer")
    current = replace(CURRENT, rules=(rule,))
    rollout = assess(targets, current, late=False)
    shown = status("running", current, rollout, state(view()))
    assert shown.rollout.idle_roles == ["celery", "wokrer"]
    line = f"{'':15}no process here has the role wokrer, which the snapshot names"
    assert line in status_lines(shown, "")
    blind = [*targets, LiveTarget.unreadable("0" * 16, 7, "why")]
    assert assess(blind, current, late=False).idle_roles == ()


def test_an_option_of_the_application_that_decides_is_named(
    receipt: Callable[..., Receipt],
) -> None:
    """Or the one that does not; only beside a value that is published."""
    own = ("enable_logs", "error_sampler", "traces_sampler")
    origins = {
        "SENTRY_SAMPLE_RATE": "snapshot",
        "SENTRY_TRACES_SAMPLE_RATE": "environment",
        "SENTRY_ENABLE_LOGS": "role",
    }
    assert LiveTarget(receipt(own=own, origins=origins), 0).notes == [
        "SENTRY_ENABLE_LOGS decides in place of its own option enable_logs",
        "its own error_sampler decides in place of SENTRY_SAMPLE_RATE",
    ]
    for none in ({}, {"own": own}, {"own": (), "origins": origins}):
        assert LiveTarget(receipt(**none), 0).notes == []


def test_roles_without_end_are_a_bounded_number_of_series(
    metrics: Metrics, receipt: Callable[..., Receipt]
) -> None:
    """A stranger's receipts may name any role: those that came first keep their label."""
    strangers = [
        LiveTarget(receipt(id=f"{n:016}", role=f"a{n:04}"), 0) for n in range(500)
    ]
    api = LiveTarget(receipt(role="api"), 0)
    for targets in ([api], [*strangers, api]):
        rollout = assess(targets, CURRENT, late=False)
        count_changes(view(), replace(view(), rollout=rollout), metrics)
    shown = {
        name[1:]: value
        for name, value in samples(metrics).items()
        if name[0] == "resentry_targets"
    }
    # celery keeps the label that it got in the fixture.
    assert len({role for role, _ in shown} - {"other"}) == ROLES_LIMIT - 1
    assert shown["api", "waiting"] == 1
    assert shown["other", "waiting"] == 500 - ROLES_LIMIT + 2


@pytest.mark.process
@pytest.mark.parametrize("form", ["json", "text"])
def test_a_planted_dsn_and_token_are_in_no_log(python: Any, form: str) -> None:
    """Sentence, fields at any depth, exceptions and other libraries' lines are masked."""
    ran = python(PROGRAMS / "planted.py", form, DSN, TOKEN)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    assert KEY not in ran.stderr
    assert TOKEN not in ran.stderr
    for expected in (
        "reading https://…@sentry.example.org/42",
        "an exception",
        "RuntimeError: cannot use https://…@sentry.example.org/42 with …",
        "Retrying https://…@sentry.example.org/42",
        "a level of its own",
        "their exception",
        "ZeroDivisionError: division by zero",
    ):
        assert expected in ran.stderr.replace("\\u2026", "…")
    assert "not shown" not in ran.stderr


@pytest.mark.process
def test_a_text_line_shows_a_list_as_text(python: Any) -> None:
    """People read it, not Python."""
    lines = python(PROGRAMS / "planted.py", "text", DSN, TOKEN).stderr.splitlines()
    (line,) = [line for line in lines if "notes follow" in line]
    assert "[notes=one note; https://…@sentry.example.org/42" in line


@pytest.mark.process
def test_each_json_line_is_one_object(python: Any) -> None:
    """Level, time and sentence stand in each, also in those of other libraries."""
    lines = python(PROGRAMS / "planted.py", "json", DSN, TOKEN).stderr.splitlines()
    for line in lines:
        assert {"level", "timestamp", "event"} <= json.loads(line).keys()
    assert len(lines) == 7


@pytest.mark.process
@pytest.mark.parametrize(
    ("before", "after"),
    [("info", "debug"), ("debug", "error"), ("error", "warning"), ("info", "info")],
)
def test_the_level_of_the_log_can_change(python: Any, before: str, after: str) -> None:
    """At once, and the change itself is logged, whatever the levels are."""
    ran = python(PROGRAMS / "level.py", before, after)
    events = [json.loads(line)["event"] for line in ran.stderr.splitlines()]
    levels = ("debug", "info", "warning", "error")
    for word, lowest in (("before", before), ("after", after)):
        shown = [level for level in levels if f"{word} {level}" in events]
        assert shown == [*levels[levels.index(lowest) :]]
        assert f"{word} exception" in events
    (change,) = [event for event in events if "log level" in event]
    assert f"is {after} now" in change
    assert ran.stdout.splitlines() == [after]


@pytest.mark.process
def test_a_log_that_cannot_be_written_ends_nothing(python: Any) -> None:
    """A full disk loses lines, also those of an exception, and nothing else."""
    ran = python(PROGRAMS / "full.py", "json", DSN, TOKEN)
    assert ran.stdout == "lives\n"


def page(served: Any) -> Sources:
    settings = load({"config": ""}, {}).settings
    return Sources(
        lambda: served.view,
        lambda: whole(view()),
        Metrics("1").render,
        settings,
        lambda: {"sequence": served.view.passes.failures},
    )


class Served:
    """The endpoints on two real sockets."""

    def __init__(self) -> None:
        self.http, self.probes = free_port(), free_port()
        now = time.monotonic()
        self.view = replace(view(), passes=Passes(now), began_at=now)
        serve(
            page(self),
            Address("127.0.0.1", self.http),
            Address("127.0.0.1", self.probes),
        )

    def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        probes: bool = False,
        host: str | None = None,
    ) -> tuple[int, dict[str, str], str]:
        port = self.probes if probes else self.http
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            headers = {} if host is None else {"Host": host}
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def served() -> Served:
    return Served()


PUBLIC = ["/livez", "/readyz", "/startupz", "/metrics", "/fleet"]


@pytest.mark.parametrize("probes", [False, True])
def test_probes_turn_with_the_status(served: Served, *, probes: bool) -> None:
    """200 or 503, with a sentence that says why."""
    now = time.monotonic()
    passes = Passes(now).after(NEVER, Moment(0.0, now), 0.02)
    served.view = replace(served.view, passes=passes, known=Known())
    codes = [served.ask(path, probes=probes)[0] for path in PUBLIC]
    assert codes == [200, 503, 503, 200, 200]
    assert "nothing is published yet" in served.ask("/readyz", probes=probes)[2]
    passes = passes.after(PUBLISHED, Moment(0.0, now), 0.02)
    served.view = replace(served.view, passes=passes, known=Known(CURRENT))
    codes = [served.ask(path, probes=probes)[0] for path in PUBLIC]
    assert codes == [200] * 5


def test_metrics_come_in_prometheus_s_own_format(served: Served) -> None:
    """The content type and the text are what a scrape expects."""
    _, headers, body = served.ask("/metrics")
    assert headers["Content-Type"] == METRICS
    assert "resentry_passes_total" in body


def test_status_is_json_on_the_first_socket_alone(served: Served) -> None:
    """The socket decides what is served, never the caller's address."""
    code, headers, body = served.ask("/status")
    assert (code, headers["Content-Type"]) == (200, "application/json")
    envelope = json.loads(body)
    assert (envelope["command"], envelope["ok"]) == ("status", False)
    assert envelope["error"]["code"] == "NotConfirmed"
    assert envelope["result"]["agent"] == "running"
    assert served.ask("/status", probes=True)[0] == 404


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:19464", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:19464", 200),
        ("10.1.2.3", 200),
        ("", 200),
        ("evil.example.org", 403),
        ("localhost.evil.example.org", 403),
        ("127.0.0.1.evil.example.org", 403),
        ("[::1", 403),
        ("[::1].evil.example.org", 403),
        ("[::1]evil", 403),
        ("[::ffff:127.0.0.1]:1", 200),
        ("evil.example.org@127.0.0.1", 403),
        ("127.0.0.1/evil", 403),
        ("127.0.0.1#evil", 403),
        ("localhost:1:2", 403),
        ("1.2.3.4.5", 403),
        ("a b", 403),
    ],
)
def test_the_status_is_for_who_names_an_address(
    served: Served, host: str, code: int
) -> None:
    """A browser that shows a foreign page names the page's host."""
    for path in ("/status", "/findings", "/"):
        assert served.ask(path, host=host)[0] == code
    assert served.ask("/livez", host=host)[0] == 200


def test_the_probes_socket_serves_five_paths_alone(served: Served) -> None:
    """It says which; everything else is 404."""
    code, _, body = served.ask("/", probes=True)
    assert (code, body.split()) == (404, PUBLIC)
    for path in ("/status", "/livez/", "/../status", "/%2e%2e/status", "//status"):
        assert served.ask(path, probes=True)[0] == 404, path


def test_the_page_is_on_the_first_socket_alone(served: Served) -> None:
    """With a policy that lets a browser do nothing else, and with what `doctor` finds."""
    code, headers, body = served.ask("/")
    assert (code, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert body.startswith("<!doctype html>")
    assert served.ask("/findings")[0] == 200
    assert "sequence" in json.loads(served.ask("/findings")[2])
    assert served.ask("/findings", probes=True)[0] == 404


@pytest.mark.parametrize("path", ["/nothing", "/metrics/x", "/livezz"])
def test_an_unknown_path_is_404(served: Served, path: str) -> None:
    """The answer names what there is."""
    code, _, body = served.ask(path)
    assert code == 404
    assert "/status" in body


@pytest.mark.parametrize("probes", [False, True])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(served: Served, method: str, *, probes: bool) -> None:
    """Every method but GET and HEAD is refused, on every path."""
    for path in ("/livez", "/status", "/nothing"):
        assert served.ask(path, method, probes=probes)[0] == 405


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/status", "/nothing"])
def test_head_is_get_without_a_body(served: Served, path: str) -> None:
    """Code, type and length are those of GET."""
    get, head = served.ask(path), served.ask(path, "HEAD")
    assert get[0] == head[0]
    assert get[1]["Content-Type"] == head[1]["Content-Type"]
    assert head[2] == ""
    assert int(head[1]["Content-Length"]) > 0


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/status", "/nothing"])
def test_no_answer_names_the_server_or_may_be_kept(served: Served, path: str) -> None:
    """A cached probe would be a lie."""
    headers = served.ask(path)[1]
    assert headers["Cache-Control"] == "no-store"
    assert "Server" not in headers


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_address_that_is_taken_is_a_settings_error(served: Served) -> None:
    """The address and the way out are named."""
    taken = Address("127.0.0.1", served.http)
    with pytest.raises(SettingsError, match=f"cannot listen at {taken}"):
        serve(page(None), taken, None)
    gc.collect()  # waitress leaves the socket that it could not bind to this


def test_both_addresses_can_be_off() -> None:
    """Then there is no socket and no thread."""
    before = threading.active_count()
    serve(page(None), None, None)
    assert before == threading.active_count()
