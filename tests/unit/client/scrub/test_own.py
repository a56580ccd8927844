"""What the SDK itself makes is no personal data: it arrives as it was made."""

import json
import random
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from resentry.scrub import hooks, scrub_event, scrub_span, scrub_telemetry

CARD = "4111111111111111"
AMEX = "378282246310005"
EACH = 1_000_000
BATCH = 5_000
"""Spans in an event: its parts may hold 50,000 values."""


def luhn_sums(*, is_doubled_first: bool) -> list[int]:
    """Return what each five digits add to Luhn's sum."""
    plain, doubled = list(range(10)), [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    one, other = (doubled, plain) if is_doubled_first else (plain, doubled)
    return [
        one[n // 10000]
        + other[n // 1000 % 10]
        + one[n // 100 % 10]
        + other[n // 10 % 10]
        + one[n % 10]
        for n in range(100_000)
    ]


LUHN = (luhn_sums(is_doubled_first=True), luhn_sums(is_doubled_first=False))


def like_cards(dice: random.Random, count: int) -> Iterator[str]:
    """Yield span ids of sixteen decimal digits that have a card number's look."""
    first, second = LUHN
    for _ in range(count):
        bits = dice.getrandbits(60)
        a = 20_000 + (bits & 0xFFFFF) % 50_000
        b, c = (bits >> 20 & 0xFFFFF) % 100_000, (bits >> 40) % 100_000
        check = -(first[a] + second[b] + first[c]) % 10
        yield f"{a}{b:05}{c:05}{check}"


def batch(dice: random.Random, count: int) -> dict[str, Any]:
    """Return a transaction of ids and times that nobody has chosen, two each a span."""
    spans, tasks, times = [], [], []
    for card in like_cards(dice, count):
        bits = dice.getrandbits(256)
        one, other = (two := f"{bits:064x}")[:32], two[32:]
        for it in (one, other):
            tasks.append(f"{it[:8]}-{it[8:12]}-4{it[13:16]}-a{it[17:20]}-{it[20:]}")
            times.append(1_700_000_000_000_000_000 + bits % 10**17)
            bits >>= 64
        spans.append(
            {
                "trace_id": one,
                "span_id": card,
                "parent_span_id": two[16:32],
                "start_timestamp": f"2026-11-24T06:00:00.{bits % 1_000_000:06}Z",
                "timestamp": 1.7e9 + bits % 10**9 / 1000,
                "op": other,
            }
        )
    extra = {"job": {"ids": tasks}, "enqueued_ns": times}
    return {"type": "transaction", "spans": spans, "extra": extra}


@pytest.mark.slow
def test_a_million_ids_of_each_kind_stay_as_they_are() -> None:
    """Of spans (one half looks like card numbers), traces and tasks; times as well."""
    dice = random.Random(14)
    for _ in range(EACH // 2 // BATCH):
        event = batch(dice, BATCH)
        assert scrub_event(event) == event


IDS: dict[str, Callable[[random.Random], str]] = {
    "a span's that looks like a card": lambda dice: next(like_cards(dice, 1)),
    "a span's": lambda dice: f"{dice.getrandbits(64):016x}",
    "a trace's": lambda dice: f"{dice.getrandbits(128):032x}",
    "a task's": lambda dice: str(uuid.UUID(int=dice.getrandbits(128), version=4)),
}
Scrub = Callable[[Any], Any]
PLACES: dict[str, tuple[Scrub, Callable[[str], Any]]] = {
    "an event": (
        scrub_event,
        lambda one: {
            "contexts": {
                "trace": {
                    "span_id": one,
                    "parent_span_id": one,
                    "dynamic_sampling_context": {"trace_id": one, "replay_id": one},
                    "data": {
                        "thread.id": "140735340871680",
                        "http.route": "/{pin:int}",
                    },
                }
            },
            "request": {
                "headers": {
                    "sentry-trace": f"{'0a' * 16}-{one}-1",
                    "traceparent": f"00-{'0a' * 16}-{one}-01",
                }
            },
            "spans": [
                {"span_id": one, "op": "db", "data": {"thread.id": "4397956198400"}}
            ],
            "exception": {"values": [{"thread_id": 4397956198400, "type": "E"}]},
            "threads": [{"id": "4397956198400", "current": True}],
        },
    ),
    "a log": (
        scrub_telemetry,
        lambda one: {
            "body": "m",
            "trace_id": one,
            "span_id": one,
            "time_unix_nano": 4111111111111111,
            "attributes": {"sentry.trace.parent_span_id": one},
        },
    ),
    "a metric": (
        scrub_telemetry,
        lambda one: {
            "name": "auth.tokens",
            "value": 4111111111111111,
            "span_id": one,
            "attributes": {"sentry.segment.id": one},
        },
    ),
    "a streamed span": (
        scrub_span,
        lambda one: {
            "name": "GET /{token:str}",
            "span_id": one,
            "parent_span_id": one,
            "attributes": {"sentry.segment.id": one, "thread.id": "4397956198400"},
        },
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", IDS)
def test_an_id_stays_in_each_place_that_the_sdk_has_for_it(
    place: str, kind: str
) -> None:
    dice, (scrub, item_of) = random.Random(7), PLACES[place]
    for _ in range(500):
        item = item_of(IDS[kind](dice))
        assert scrub(item) == item


# Names


@pytest.mark.parametrize(
    "name",
    [
        *("GET /reset/{token:str}", "/reset/{api_key}", "/s/{session:path}"),
        *("/reset/<token>", "/s/<string(length=9):token>", "/s/<session:token>"),
        *("/{token:[a-z0-9]{20,40}}/x", r"/{pin:\d+}", "/<token:re:[0-9a-f]+>"),
        *("/a-{token:uuid}.{pin:int(4)}", "POST /v1/{secret:hex32}"),
        *("app.tasks.refresh_token", "tasks.session.cleanup"),
    ],
)
def test_a_route_names_a_secret_and_has_none(name: str) -> None:
    trace = {"description": name, "dynamic_sampling_context": {"transaction": name}}
    event = {
        "transaction": name,
        "contexts": {"trace": {**trace, "data": {"http.route": name}}},
        "spans": [{"description": name}],
    }
    assert scrub_event(event) == event
    span = {
        "name": name,
        "attributes": {"http.route": name, "sentry.segment.name": name},
    }
    assert scrub_span(span) == span


SCHEMA = [
    "SELECT a.id FROM a JOIN b ON a.session_id = b.session_id",
    'SELECT "a"."email" FROM "a" INNER JOIN "b" ON ("a"."token_id" = "b"."token_id")',
    "SELECT u.id FROM users u, emails e WHERE users.email = u.email AND u.token = %s",
    "UPDATE users SET password = $1, token = :token, pin = ?, otp = @p1 WHERE id = 7",
    "UPDATE users SET password = new_password, email=lower(mail) WHERE token = t.token",
    "SELECT * FROM t WHERE token = %(token_1)s AND session_id = $2::VARCHAR LIMIT 21",
    "INSERT INTO users (id, email, password) VALUES (%s, %s, %s) RETURNING users.id",
    "INSERT INTO courses (code, title) VALUES ('CS-101', 'Algebra')",
    "SELECT `u`.`email` FROM `u` WHERE `u`.`code` = 'CS-101' ORDER BY `u`.`token` LIMIT 5",
    "CREATE TABLE users (email VARCHAR(254), password VARCHAR(128))",
    "SELECT substr(token, 1, 5), count(*) FROM t GROUP BY token HAVING count(*) > 3",
    "DELETE FROM django_session WHERE django_session.expire_date < now() - 4",
    "WITH s AS (SELECT session_id FROM x) SELECT 1 FROM s WHERE s.kind IN ('a', 'b')",
]


def in_places(sql: str) -> list[tuple[Scrub, dict[str, Any]]]:
    """Return the items in which the SDK has the text of a query."""
    span = {"description": sql, "op": "db", "data": {"db.system": "postgresql"}}
    crumb = {"category": "query", "message": sql, "data": {"db.executemany": True}}
    return [
        (scrub_event, {"spans": [span], "contexts": {"trace": span}}),
        (scrub_event, {"breadcrumbs": {"values": [crumb]}}),
        (scrub_span, {"name": sql, "attributes": {"db.query.text": sql}}),
    ]


@pytest.mark.parametrize("sql", SCHEMA)
def test_code_and_schema_of_sql_stay(sql: str) -> None:
    for scrub, item in in_places(sql):
        assert scrub(item) == item


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE users SET password = '•', name = 'x' WHERE id = 7",
        "UPDATE users SET password = crypt('•', gen_salt('•')), name = 'x' WHERE id = 7",
        "UPDATE `users` SET `password` = '•' WHERE `id` = 7",
        'UPDATE users SET password = "•" WHERE id = 7',
        "UPDATE users SET password = N'•', pin = ◦ WHERE id = 7",
        "SELECT 1 FROM users WHERE token LIKE '•' OR code IN ('a', 'b')",
        "SELECT 1 FROM users WHERE session_id IN ('•', '•') AND code = 'CS-101'",
        "SELECT 1 FROM users WHERE UPPER(username) = UPPER('•') AND token != '•'",
        'SELECT 1 FROM users WHERE pin <> ◦ AND data = \'{"password": "•"}\' LIMIT 21',
        "INSERT INTO users (id, password) VALUES (◦, '•'), (◦, '•')",
        'INSERT INTO users (id, password) VALUES ("•", "•")',
        "ALTER ROLE lms WITH PASSWORD '•'",
        "SELECT 1 FROM t WHERE token = $$•$$",
        "SELECT 1 FROM t WHERE path = 'a\\', password = '•'",
        "SELECT 1 FROM t /* token=• */ WHERE a = 'token=•'",
    ],
)
def test_the_literals_of_sql_do_not(sql: str) -> None:
    given = sql.replace("•", "hunter2-planted").replace("◦", "9124")
    for scrub, item in in_places(given):
        shown = json.dumps(scrub(item))
        assert "planted" not in shown
        assert "9124" not in shown
        assert scrub(scrub(item)) == scrub(item)
    expected = re.sub("[•◦]", "[Filtered]", sql)
    assert scrub_span({"name": given}) == {"name": expected}


def test_sql_in_a_message_keeps_its_joins_and_hides_its_literals() -> None:
    text = (
        "(psycopg.errors.UndefinedColumn) no column x [SQL: SELECT 1 FROM a JOIN b ON "
        "a.session_id = b.session_id AND u.email = v.email WHERE token = %(token_1)s "
        "AND pin = '•'] [parameters: {'token_1': '•'}]"
    )
    event = {"exception": {"values": [{"value": text.replace("•", "1234-planted")}]}}
    expected = {"exception": {"values": [{"value": text.replace("•", "[Filtered]")}]}}
    assert scrub_event(event) == expected


@pytest.mark.parametrize("number", [CARD, int(CARD), "20931", 7, AMEX], ids=repr)
def test_a_users_number_stays_whatever_it_looks_like(number: str | int) -> None:
    assert scrub_event({"user": {"id": number}}) == {"user": {"id": number}}
    span = {"name": "n", "attributes": {"user.id": number}}
    assert scrub_span(span) == span


def test_what_else_the_sdk_names_stays() -> None:
    event = {
        "fingerprint": ["session-expired", "{{ default }}"],
        "measurements": {"session.duration": {"value": 41.5, "unit": "second"}},
        "check_in_id": "0a" * 16,
        "monitor_slug": "session:cleanup",
        "spans": [
            {
                "op": "gen_ai.chat",
                "data": {
                    "gen_ai.response.time_to_first_token": 0.25,
                    "gen_ai.usage.input_tokens": 7,
                },
                "measurements": {"token.count": {"value": 4111111111111111}},
            }
        ],
        "_meta": {
            "extra": {
                "password": {"": {"rem": [["!config", "s"]]}},
                "tokens": {"": {"len": 20}, "0": {"secret": {"": {"len": 2000}}}},
            }
        },
    }
    assert scrub_event(event) == event
    log = {"body": "m", "attributes": {"sentry.release": "lms@3fa9b2.main"}}
    assert scrub_telemetry(log) == log


# Nothing is left only because of where it stands


EVENTS: list[dict[str, Any]] = [
    {"transaction": "•", "level": "•", "logger": "•"},
    {"transaction": "GET /x?•", "check_in_id": "•"},
    {"transaction": "/x/{id:int}/•", "event_id": "•"},
    {"transaction": "Update •", "transaction_info": {"source": "•"}, "type": "•"},
    {"spans": [{"op": "•", "origin": "•", "status": "•"}]},
    {"spans": [{"span_id": "•", "description": "•"}]},
    {
        "spans": [
            {"parent_span_id": ["•", {"a": "•"}], "description": "Select • please"}
        ]
    },
    {"spans": [{"data": {"http.route": "•", "thread.id": "•", "user.id": "•"}}]},
    {"spans": [{"data": {"sentry.segment.id": "•", "db.statement": "•"}}]},
    {"spans": [{"measurements": {"•": {"value": "•"}}}]},
    {"contexts": {"trace": {"data": {"thread.name": "•"}, "span_id": "•"}}},
    {"contexts": {"trace": {"description": "•", "op": "•", "status": "•"}}},
    {"contexts": {"otel": {"attributes": {"a": "•"}, "resource": {"b": "•"}}}},
    {"contexts": {"trace": {"dynamic_sampling_context": {"transaction": "•"}}}},
    {"tags": {"trace_id": "•"}, "extra": {"span_id": "•", "event_id": "•"}},
    {"measurements": {"•": {"value": 1}, "a": {"value": "•", "unit": "•"}}},
    {"monitor_slug": "•", "fingerprint": ["x", "•"]},
    {"breadcrumbs": [{"category": "query", "message": "•"}]},
    {"breadcrumbs": {"values": [{"category": "query", "data": {"db.params": "•"}}]}},
    {"_meta": {"extra": {"•": {"": {"len": 9}}}}},
    {"threads": [{"id": "•", "name": "•"}], "exception": [{"thread_id": "•"}]},
    {"user": {"id": "•"}},
]
TELEMETRY: list[dict[str, Any]] = [
    {"name": "•", "unit": "•", "attributes": {"sentry.release": "•"}},
    {"body": "•", "attributes": {"thread.name": "•", "thread.id": "•"}},
    {"body": "m", "attributes": {"sentry.trace.parent_span_id": "•"}},
]
SPANS: list[dict[str, Any]] = [
    {"name": "•", "attributes": {"sentry.segment.name": "•"}},
    {"name": "/x/•", "attributes": {"db.query.text": "•", "http.route": "/•/{id:int}"}},
    {"name": "n", "attributes": {"sentry.op": "•", "sentry.origin": "•"}},
]


@pytest.mark.parametrize(
    ("scrub", "item"),
    [
        *((scrub_event, item) for item in EVENTS),
        *((scrub_telemetry, item) for item in TELEMETRY),
        *((scrub_span, item) for item in SPANS),
    ],
)
@pytest.mark.parametrize(
    "secret", ["token=hunter2-planted", "hvs.CAESIJplantedVaultToken0123456789abcdef"]
)
def test_a_secret_in_a_place_of_the_sdks_is_hidden(
    scrub: Scrub, item: dict[str, Any], secret: str
) -> None:
    given = json.dumps(item, ensure_ascii=False).replace("•", secret)
    assert "planted" not in json.dumps(scrub(json.loads(given)))


@pytest.mark.parametrize(
    "item",
    [
        {"tags": {"trace_id": CARD, "span_id": CARD}},
        {"extra": {"span_id": CARD, "thread.id": int(CARD)}},
        {"contexts": {"trace": {"data": {"span_id": CARD, "thread.id": CARD}}}},
        {"contexts": {"mine": {"span_id": CARD}}},
        {"spans": [{"tags": {"span_id": CARD}, "data": {"parent_span_id": CARD}}]},
        {"user": {"id": "m@planted.io", "card": CARD, "span_id": CARD}},
        {"breadcrumbs": [{"data": {"span_id": CARD}, "message": f"paid by {CARD}"}]},
    ],
)
def test_a_card_number_under_the_name_of_an_id_is_hidden(item: dict[str, Any]) -> None:
    shown = json.dumps(scrub_event(item))
    assert CARD not in shown
    assert "planted" not in shown


# With the SDK itself


WHEN = datetime.fromisoformat("2026-11-24T06:00:00+00:00")


class Kept(Transport):
    """A transport that keeps what it is given."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.payloads: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.payloads += [item.payload.json for item in envelope.items]


def sent(options: dict[str, Any], program: Callable[[], None]) -> list[Any]:
    """Return what a program sends with these options."""
    with sentry_sdk.isolation_scope() as scope:
        client = sentry_sdk.Client(
            dsn="http://key@127.0.0.1/1",
            transport=Kept,
            auto_enabling_integrations=False,
            default_integrations=False,
            traces_sample_rate=1.0,
            **options,
        )
        scope.set_client(client)
        program()
        client.flush()
        transport = client.transport
        client.close()
    assert isinstance(transport, Kept)
    return transport.payloads


def scrubbing(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with ours behind the application's own hooks."""
    names = ["before_send", "before_send_transaction"]
    if "trace_lifecycle" in options:
        names.append("before_send_span")
    return {**options, **hooks(options, dict.fromkeys(names, True))}


@pytest.mark.process
def test_a_trace_of_ids_like_cards_is_sent_as_the_sdk_sends_it() -> None:
    """Whole: a transaction with spans and an error in it."""

    def program() -> None:
        transaction = sentry_sdk.tracing.Transaction(
            trace_id="0a" * 16,
            span_id=CARD,
            parent_span_id="5500000000000004",
            name="GET /reset/{token:str}",
            source="route",
            op="http.server",
            start_timestamp=WHEN,
        )
        with sentry_sdk.start_transaction(transaction):
            query = "SELECT 1 FROM a JOIN b ON a.session_id = b.session_id"
            with sentry_sdk.start_span(
                op="db", name=query, span_id="6011000000000004", start_timestamp=WHEN
            ) as span:
                span.set_data("thread.id", "4397956198400")
                sentry_sdk.capture_event({"event_id": "0b" * 16, "timestamp": WHEN})
                span.finish(end_timestamp=WHEN)
            transaction.finish(end_timestamp=WHEN)

    plain, ours = sent({}, program), sent(scrubbing({}), program)
    assert len(plain) == 2
    for one in (*plain, *ours):
        one.pop("event_id")
        one["contexts"]["trace"].pop("data", None)
    assert ours == plain
    assert CARD in json.dumps(plain)


HOOKS: dict[str, Callable[[Any], Any]] = {
    "raises": lambda _span: 1 / 0,
    "returns nothing": lambda _span: None,
    "returns no span": lambda _span: {"attributes": {"a": 1}},
    "returns it": lambda span: span,
    "returns it without attributes": lambda span: {"name": span["name"]},
}


@pytest.mark.process
@pytest.mark.skipif(
    not hasattr(sentry_sdk, "traces"), reason="no streamed spans in this sentry-sdk"
)
@pytest.mark.parametrize("how", HOOKS)
def test_a_hook_for_spans_keeps_and_loses_what_it_does_without_ours(how: str) -> None:
    def hook(span: Any, _hint: Any) -> Any:
        span["name"] = "changed"
        span["attributes"]["changed"] = "yes"
        span["attributes"].pop("course", None)
        return HOOKS[how](span)

    def program() -> None:
        with sentry_sdk.traces.start_span(name="enrol", attributes={"course": "CS-1"}):
            pass

    options = {"trace_lifecycle": "stream", "before_send_span": hook}
    both = []
    for given in (options, scrubbing(options)):
        (payload,) = sent(given, program)
        (span,) = payload["items"]
        own = {"course", "changed"} & set(span.get("attributes") or {})
        both.append((span["name"], own))
    assert both[0] == both[1]
