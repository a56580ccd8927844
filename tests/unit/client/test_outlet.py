"""One outlet on its own, against a receiver that refuses: what it keeps, what it counts."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from arrivals import messages

from lab.process import eventually
from lab.sink import Sink
from resentry import parking
from resentry.outlet import Outlet
from resentry.process import here
from resentry.sdk import items
from resentry.tally import Tally

pytestmark = pytest.mark.process


def make(dsn: str, **options: Any) -> sentry_sdk.Client:
    return sentry_sdk.Client(
        dsn=dsn,
        environment="here",
        transport=Outlet,
        default_integrations=False,
        auto_enabling_integrations=False,
        **options,
    )


@pytest.fixture
def client(sink: Sink) -> Iterator[sentry_sdk.Client]:
    """A client that is not current; its DSN answers 403."""
    sink.answer(1, 403)
    here().tally = Tally()
    client = make(sink.dsn(1))
    yield client
    client.close()


@pytest.fixture
def current(sink: Sink) -> Iterator[sentry_sdk.Client]:
    """The client after it, of the same environment, and current."""
    scope = sentry_sdk.get_global_scope()
    before = scope.client
    after = make(sink.dsn(2))
    scope.set_client(after)
    yield after
    scope.set_client(before)
    after.close()


def capture(client: sentry_sdk.Client, *messages: str) -> None:
    for message in messages:
        client.capture_event({"message": message})
    client.flush(5)


def retire(client: sentry_sdk.Client, current: sentry_sdk.Client) -> None:
    assert isinstance(client.transport, Outlet)
    client.transport.retire()
    current.flush(5)


def test_parked_envelopes_are_limited_by_their_bytes(
    client: sentry_sdk.Client,
    current: sentry_sdk.Client,
    sink: Sink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest make room (the limit is lowered: 10 MiB take long to fill)."""
    monkeypatch.setattr(parking, "PARKED_BYTES", 30_000)
    large = [f"{number} {'x' * 9000}" for number in range(5)]
    capture(client, *large)

    retire(client, current)

    assert large[-3:] == messages(sink, 2)
    assert (here().tally.parked, here().tally.dropped, here().tally.rerouted) == (
        5,
        2,
        3,
    )


def test_one_envelope_that_is_larger_than_all_that_may_be_parked_is_dropped(
    client: sentry_sdk.Client,
    current: sentry_sdk.Client,
    sink: Sink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is parked beyond the limit, and later ones are parked as before."""
    monkeypatch.setattr(parking, "PARKED_BYTES", 5_000)
    capture(client, "small", "x" * 9000, "last")

    retire(client, current)

    assert messages(sink, 2) == ["last"]
    assert (here().tally.parked, here().tally.dropped, here().tally.rerouted) == (
        3,
        2,
        1,
    )


@pytest.fixture
def expired(client: sentry_sdk.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An envelope has been parked too long (the limit is lowered: 15 minutes)."""
    monkeypatch.setattr(parking, "PARKED_SECONDS", 0.1)
    capture(client, "old")
    then = time.monotonic() + 0.1
    eventually(lambda: time.monotonic() > then)
    monkeypatch.setattr(parking, "PARKED_SECONDS", 60)


@pytest.mark.usefixtures("expired")
def test_what_was_parked_too_long_is_dropped_when_more_is_parked(
    client: sentry_sdk.Client,
) -> None:
    """It does not occupy memory for longer."""
    capture(client, "young")

    assert isinstance(client.transport, Outlet)
    assert len(client.transport._line.parking.take()) == 1
    assert (here().tally.parked, here().tally.dropped) == (2, 1)


@pytest.mark.usefixtures("expired")
def test_what_was_parked_too_long_is_dropped_at_the_swap(
    client: sentry_sdk.Client, current: sentry_sdk.Client, sink: Sink
) -> None:
    """An event of long ago would surprise the new project."""
    retire(client, current)

    assert messages(sink, 2) == []
    assert (here().tally.rerouted, here().tally.dropped) == (0, 1)


def test_losses_of_the_application_count_while_a_dsn_refuses(
    client: sentry_sdk.Client, current: sentry_sdk.Client, sink: Sink
) -> None:
    """What is parked is no loss to report; what the application drops is one."""
    capture(client, "refused")
    assert client.transport is not None
    client.transport.record_lost_event("before_send", data_category="error")
    sink.answer(1, "ok")
    client.flush(5)

    retire(client, current)

    assert sink.client_reports() == {("before_send", "error"): 1}


def test_a_client_report_is_neither_parked_nor_sent_to_another_project(
    client: sentry_sdk.Client, current: sentry_sdk.Client, sink: Sink
) -> None:
    """It tells one project what was lost on the way there."""
    assert client.transport is not None
    client.transport.record_lost_event("before_send", data_category="error")
    client.flush(5)
    client.transport.record_lost_event("before_send", data_category="error")

    retire(client, current)
    client.flush(5)

    assert sink.count("client_report") == 0
    assert (here().tally.parked, here().tally.rerouted, here().tally.dropped) == (
        0,
        0,
        0,
    )


def test_a_client_report_that_a_hung_dsn_holds_goes_nowhere(
    client: sentry_sdk.Client, current: sentry_sdk.Client, sink: Sink
) -> None:
    """Not to the new project either, and it is no event that is dropped."""
    sink.answer(1, "hang")
    assert isinstance(client.transport, Outlet)
    client.capture_event({"message": "in flight"})
    eventually(lambda: sink.connections)
    client.transport.record_lost_event("before_send", data_category="error")

    retire(client, current)
    client.transport.hand_over_queue()
    current.flush(5)

    assert sink.count("client_report") == 0
    assert (here().tally.rerouted, here().tally.dropped) == (0, 0)
    sink.drop_connections()


def send_test(client: sentry_sdk.Client, kind: str = "message") -> list[Any]:
    """Hand a test item over; return the list of what becomes of it."""
    became: list[Any] = []
    options = client.options
    item = items.make(kind, "0" * 12, options, lambda *answer: became.append(answer))
    assert isinstance(client.transport, Outlet)
    client.transport.capture_envelope(item)
    return became


@pytest.fixture
def small(sink: Sink) -> Iterator[sentry_sdk.Client]:
    """A client with a queue of four, whose server hangs at the first event."""
    client = make(sink.dsn(3), transport_queue_size=4)
    sink.answer(3, "hang")
    client.capture_event({"message": "first"})
    eventually(lambda: sink.connections)
    yield client
    sink.drop_connections()
    client.close()


def test_test_items_take_no_place_of_the_application_s_events(
    small: sentry_sdk.Client, sink: Sink
) -> None:
    """They enter a queue that is less than half full, and no more than one of each kind."""
    became = [send_test(small) for _ in range(6)]
    assert became == [[], [], [], [], [], [("busy", None)]]
    for number in range(2):
        small.capture_event({"message": f"own {number}"})
    assert send_test(small) == [("busy", None)]
    for number in range(2, 4):
        small.capture_event({"message": f"own {number}"})
    assert not small.transport.is_healthy()
    sink.answer(3, "ok")
    sink.drop_connections()
    small.flush(5)
    assert messages(sink, 3)[-4:] == [f"own {number}" for number in range(4)]
    assert became[:5] == [[("accepted", 200)]] * 5
    assert send_test(small) == []


def test_a_test_item_goes_to_no_other_dsn(
    small: sentry_sdk.Client, current: sentry_sdk.Client, sink: Sink
) -> None:
    """Neither with the queue that a swap hands over, nor at the retired client."""
    assert isinstance(small.transport, Outlet)
    queued = send_test(small)
    small.capture_event({"message": "own"})
    small.transport.retire()
    small.transport.hand_over_queue()
    assert queued == [("swapped", None)]
    assert send_test(small) == [("swapped", None)]
    current.flush(5)
    assert messages(sink, 2) == ["own"]


@pytest.mark.parametrize(
    "limit", [{"Retry-After": "60"}, {"X-Sentry-Rate-Limits": "60::organization"}]
)
def test_a_rate_limit_for_a_test_item_keeps_no_event_back(
    sink: Sink, limit: dict[str, str]
) -> None:
    """The server limits what the operator asked for; the application sends on."""
    client = make(sink.dsn(4, uuid.uuid4().hex))
    sink.answer(4, 429, headers=limit)
    became = send_test(client, "log")
    client.flush(5)
    assert became == [("limited", 429)]
    sink.answer(4, "ok")
    capture(client, "own")
    assert messages(sink, 4) == ["own"]
    sink.answer(4, 429, headers=limit)
    capture(client, "limits the events")
    sink.answer(4, "ok")
    capture(client, "kept back")
    assert send_test(client) == []
    client.flush(5)
    assert messages(sink, 4) == ["own"]
    client.close()
