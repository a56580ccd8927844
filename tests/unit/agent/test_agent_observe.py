"""Status, metrics, logs and HTTP: what others see, and never a secret."""

import contextlib
import gc
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.domain.outcome import Outcome
from agent.domain.rollout import Target, assess
from agent.errors import SettingsError, SourceDenied, SourceDown
from agent.observe.http import Page, serve
from agent.observe.metrics import CONTENT_TYPE, Metrics
from agent.observe.status import Status, decode_state, document
from lab.process import free_port
from resentry.contract import Boost, Holder, Receipt, Snapshot

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


def status(**seconds: float) -> Status:
    return Status(
        **{
            "poll_seconds": 60.0,
            "startup_seconds": 20.0,
            "pass_seconds": 15.0,
            **seconds,
        }
    )


@pytest.mark.parametrize(
    ("outcomes", "ready"),
    [([], False), ([PUBLISHED], True), ([UNCHANGED], True), ([NEVER], False)],
)
def test_ready_is_a_snapshot_and_a_source_that_was_read(
    outcomes: list[Outcome], *, ready: bool
) -> None:
    """Without either the agent is not ready, and says which it lacks."""
    seen = status()
    for outcome in outcomes:
        seen.passed(outcome)
    assert ready is seen.ready()[0]
    assert seen.ready()[1]


def test_a_snapshot_of_an_earlier_agent_alone_is_not_ready() -> None:
    """What stands on the volume may be old: the source was not read yet."""
    seen = status(has_snapshot=True)
    assert seen.ready() == (
        False,
        "published by an earlier agent; the source was not read yet",
    )
    seen.passed(FAILED)
    assert seen.ready()[0] is False


def test_readiness_ends_when_the_source_was_not_read_for_long() -> None:
    """Three intervals and half a minute without success are too long."""
    seen = status()
    seen.passed(PUBLISHED)
    seen.passed(FAILED)
    assert seen.ready()[0] is True
    seen._last_read = time.monotonic() - 3 * 60 - 31
    assert seen.ready()[0] is False


def test_an_agent_lives_while_passes_end_well_or_not() -> None:
    """An agent whose Vault is away for a year is healthy."""
    seen = status()
    assert seen.live()[0] is True
    seen._last_pass = time.monotonic() - 3 * 60 - 2 * 15 - 1
    assert seen.live()[0] is False
    seen.passed(NEVER)
    assert seen.live()[0] is True


def test_an_agent_that_was_asked_to_wait_lives() -> None:
    """A Retry-After of five minutes may be longer than three intervals."""
    seen = status()
    seen.passed(Outcome.kept(SourceDown("slow down", retry_after=300.0), CURRENT))
    seen._last_pass = time.monotonic() - 3 * 60 - 2 * 15 - 299
    assert seen.live()[0] is True
    seen._last_pass = time.monotonic() - 3 * 60 - 2 * 15 - 301
    assert seen.live()[0] is False


@pytest.mark.parametrize(
    ("values", "started", "says"),
    [
        ({"has_snapshot": True}, True, "a snapshot is published"),
        ({}, False, "waiting for the first snapshot"),
        ({"startup_seconds": 0.0}, True, "environment variables serve"),
    ],
)
def test_applications_may_start_with_a_snapshot_or_after_a_while(
    values: dict[str, Any], *, started: bool, says: str
) -> None:
    """The wait for the first snapshot is bounded, and the answer says which it is."""
    answer = status(**values).started()
    assert started is answer[0]
    assert says in answer[1]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([PUBLISHED], [True]),
        ([PUBLISHED, UNCHANGED, UNCHANGED], [True, True, False]),
        ([FAILED, FAILED, UNCHANGED], [True, False, True]),
    ],
)
def test_the_same_outcome_twice_is_no_news(
    outcomes: list[Outcome], expected: list[bool]
) -> None:
    """An outage of a night is one line in the log, not thousands."""
    seen = status()
    assert expected == [seen.passed(outcome) for outcome in outcomes]


def test_an_outage_has_one_beginning_for_each_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However often it alternates with another: else no alert would ever be due."""
    seen, since = status(), []
    for at, outcome in enumerate(
        (PUBLISHED, FAILED, DENIED, FAILED, DENIED, UNCHANGED)
    ):
        monkeypatch.setattr("agent.observe.status.time.time", lambda at=at: float(at))
        seen.passed(outcome)
        since.append(seen.since)
    assert since == [0, 1, 2, 1, 2, 5]


def test_the_end_of_an_outage_says_since_when_it_lasted() -> None:
    """Once, with the first good pass."""
    seen, said = status(), []
    for outcome in (PUBLISHED, FAILED, DENIED, UNCHANGED, UNCHANGED):
        seen.passed(outcome)
        said.append(seen.outage)
    began = seen.source()["since"][:16]
    assert said[3].startswith(f"passes had failed since {began}")
    assert [*said[:3], said[4]] == [""] * 4


def test_a_restart_does_not_begin_an_outage_anew() -> None:
    """The next agent knows since when the same error stands, and the last success."""
    before = status()
    before.passed(PUBLISHED)
    before.passed(FAILED)
    read, since = before.source()["last_success_at"], before.source()["since"]
    time.sleep(0.01)

    after = status()
    after.resume(decode_state(json.dumps(before.source()).encode()))
    assert after.source()["last_success_at"] == read
    after.passed(FAILED)

    assert (after.source()["last_success_at"], after.source()["since"]) == (read, since)
    assert after.ready()[0] is False
    after.passed(UNCHANGED)
    assert since in after.outage


@pytest.mark.parametrize(
    "state",
    [
        None,
        b"",
        b"{",
        b"[1]",
        b"7",
        b'{"last_success_at": 7}',
        b'{"last_success_at": "yesterday"}',
        b'{"error": "SourceDown", "failures": 1, "since": null}',
        b'{"error": ["x"], "failures": 1, "since": "2026-11-24T06:00:00Z"}',
    ],
)
def test_a_state_that_cannot_be_read_is_no_state(state: bytes | None) -> None:
    """An agent starts on any volume."""
    seen = status()
    seen.resume(decode_state(state))
    seen.passed(FAILED)
    assert seen.since > time.time() - 10


def test_failures_are_counted_until_the_next_success() -> None:
    """The count drives the back-off."""
    seen, counts = status(), []
    for outcome in (FAILED, FAILED, UNCHANGED, FAILED):
        seen.passed(outcome)
        counts.append(seen.failures)
    assert counts == [1, 2, 0, 1]


def test_the_document_shows_no_key(receipt: Callable[..., Receipt]) -> None:
    """DSNs, also those of roles, are shown as host, project and the last four."""
    seen = status()
    seen.passed(PUBLISHED)
    target = Target(receipt(revision="a" * 12, sequence=7), 0, main=True)
    shown = document(CURRENT, assess([target], CURRENT, late=False), seen.source())
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
    holding = Target(
        receipt(
            revision=CURRENT.revision,
            sequence=CURRENT.sequence,
            dsn="a" * 12,
            holders=(Holder("otlp", "b" * 12),),
            ignored=("rules.parent",),
        ),
        0,
    )
    silent = Target.unreadable("f" * 16, 0, "the receipt is not JSON")
    rollout = assess([holding, silent], CURRENT, late=False, unknown="too many files")
    shown = document(CURRENT, rollout, status().source())["rollout"]
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
    shown = document(current, assess([], current, late=False), status().source())
    (row,) = shown["current"]["boosts"]
    assert row["id"] == "b1"
    assert 80 < row["left_seconds"] <= 90


def test_the_document_without_anything_is_whole() -> None:
    """Before the first pass every part is there, and empty."""
    shown = document(None, assess([], None, late=False), status().source())
    assert (shown["current"], shown["source"]["outcome"]) == (None, None)
    assert shown["rollout"]["state"] == "waiting"


@pytest.fixture
def metrics(receipt: Callable[..., Receipt]) -> Metrics:
    """Metrics in which every method was called."""
    made, seen = Metrics("1.2.3"), status()
    for outcome in (PUBLISHED, FAILED):
        seen.passed(outcome)
        made.passed(outcome, 0.02, seen)
    targets = [Target(receipt(role=role), 0) for role in ("api", "celery", "api")]
    made.rolled_out(assess(targets, CURRENT, late=False))
    made.confirmed(0.1)
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
    assert found["resentry_agent_info", "1.2.3"] == 1


def test_metrics_say_since_when_and_by_which_error(metrics: Metrics) -> None:
    """One series while it fails, none while it is good; the last success stays."""
    name, seen = "resentry_failing_since_timestamp_seconds", status()
    for outcome in (FAILED, DENIED):
        seen.passed(outcome)
        metrics.passed(outcome, 0.02, seen)
    found = samples(metrics)
    assert [key for key in found if key[0] == name] == [(name, "SourceDenied")]
    assert found[name, "SourceDenied"] == pytest.approx(time.time(), abs=10)
    success = found["resentry_last_success_timestamp_seconds",]
    assert success == pytest.approx(time.time(), abs=10)
    seen.passed(UNCHANGED)
    metrics.passed(UNCHANGED, 0.02, seen)
    assert not [key for key in samples(metrics) if key[0] == name]


def test_a_role_that_has_gone_leaves_no_series(metrics: Metrics) -> None:
    """The targets of now are shown, and none of those of yesterday."""
    metrics.rolled_out(assess([], CURRENT, late=False))
    assert not [name for name in samples(metrics) if name[0] == "resentry_targets"]


_PLANTED = """
import logging, sys
import structlog
from agent.observe import logs

dsn, token = sys.argv[2:]
logs.configure("info", sys.argv[1])
log = structlog.get_logger()
log.info(f"reading {dsn}", hint=f"token {token}", deep={"a": [dsn, {"b": (token,)}]})
log.error("failed", error=ValueError(dsn))
log.debug(f"not shown {dsn}")
try:
    raise RuntimeError(f"cannot use {dsn} with {token}")
except RuntimeError:
    log.exception("an exception")
logging.getLogger("urllib3").warning("Retrying %s", dsn)
logging.getLogger("apscheduler").warning("not shown")
logging.getLogger("odd").log(35, "a level of its own")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("odd").exception("their exception")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_planted_dsn_and_token_are_in_no_log(python: Any, form: str) -> None:
    """Sentence, fields at any depth, exceptions and other libraries' lines are masked."""
    ran = python(_PLANTED, form, DSN, TOKEN)
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


def test_each_json_line_is_one_object(python: Any) -> None:
    """Level, time and sentence stand in each, also in those of other libraries."""
    lines = python(_PLANTED, "json", DSN, TOKEN).stderr.splitlines()
    for line in lines:
        assert {"level", "timestamp", "event"} <= json.loads(line).keys()
    assert len(lines) == 6


def test_a_log_that_cannot_be_written_ends_nothing(python: Any) -> None:
    """A full disk loses lines, also those of an exception, and nothing else."""
    script = """
        import sys
        sys.stderr = open("/dev/full", "w")
        exec(sys.argv.pop())
        log.exception("the end", exc_info=ValueError("x" * 100000))
        print("lives")
    """
    ran = python(script, "json", DSN, TOKEN, _PLANTED)
    assert ran.stdout == "lives\n"


class Served:
    """The endpoints on two real sockets."""

    def __init__(self) -> None:
        self.http, self.probes = free_port(), free_port()
        self.status = status()
        page = Page(self.status, Metrics("1"), lambda: {"current": None})
        serve(page, f"127.0.0.1:{self.http}", f"127.0.0.1:{self.probes}")

    def ask(
        self, path: str, method: str = "GET", *, probes: bool = False
    ) -> tuple[int, dict[str, str], str]:
        port = self.probes if probes else self.http
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def served() -> Served:
    return Served()


PUBLIC = ["/livez", "/readyz", "/startupz", "/metrics"]


@pytest.mark.parametrize("probes", [False, True])
def test_probes_turn_with_the_status(served: Served, *, probes: bool) -> None:
    """200 or 503, with a sentence that says why."""
    served.status.passed(NEVER)
    codes = [served.ask(path, probes=probes)[0] for path in PUBLIC]
    assert codes == [200, 503, 503, 200]
    assert "nothing is published yet" in served.ask("/readyz", probes=probes)[2]
    served.status.passed(PUBLISHED)
    codes = [served.ask(path, probes=probes)[0] for path in PUBLIC]
    assert codes == [200, 200, 200, 200]


def test_metrics_come_in_prometheus_s_own_format(served: Served) -> None:
    """The content type and the text are what a scrape expects."""
    _, headers, body = served.ask("/metrics")
    assert headers["Content-Type"] == CONTENT_TYPE
    assert "resentry_passes_total" in body


def test_status_is_json_on_the_first_socket_alone(served: Served) -> None:
    """The socket decides what is served, never the caller's address."""
    code, headers, body = served.ask("/status")
    assert (code, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"current": None}
    assert served.ask("/status", probes=True)[0] == 404


def test_the_probes_socket_serves_four_paths_alone(served: Served) -> None:
    """It says which; everything else is 404."""
    code, _, body = served.ask("/", probes=True)
    assert (code, body.split()) == (404, PUBLIC)
    for path in ("/status", "/livez/", "/../status", "/%2e%2e/status", "//status"):
        assert served.ask(path, probes=True)[0] == 404, path


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


@pytest.mark.parametrize(
    "address", ["19464", "localhost", "127.0.0.1:", ":80", "127.0.0.1:99999", "a:b"]
)
def test_an_address_that_is_none_is_a_settings_error(address: str) -> None:
    """The form is named; nothing was started."""
    with pytest.raises(SettingsError, match="is not an address"):
        serve(Page(status(), Metrics("1"), dict), address, "")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_address_that_is_taken_is_a_settings_error(served: Served) -> None:
    """The address and the way out are named."""
    taken = f"127.0.0.1:{served.http}"
    with pytest.raises(SettingsError, match=f"cannot listen on {taken}"):
        serve(Page(status(), Metrics("1"), dict), taken, "")
    gc.collect()  # waitress leaves the socket that it could not bind to this


def test_idle_connections_keep_no_probe_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waitress takes no more than a hundred: they are closed within seconds."""
    monkeypatch.setattr("agent.observe.http.IDLE_SECONDS", 1)
    served = Served()
    with contextlib.ExitStack() as stack:
        for _ in range(110):
            address = "127.0.0.1", served.probes
            stack.enter_context(socket.create_connection(address))
        assert served.ask("/livez")[0] == 200
        assert served.ask("/livez", probes=True)[0] == 200


@pytest.mark.parametrize(
    ("first", "second"), [("off", ""), ("", "off"), ("off", "off")]
)
def test_both_addresses_can_be_off(first: str, second: str) -> None:
    """Then there is no socket and no thread."""
    before = threading.active_count()
    serve(Page(status(), Metrics("1"), dict), first, second)
    assert before == threading.active_count()
