"""Notify over HTTP, and signals that are repeated: newest only, and nobody waits."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent.domain.passes import Passes
from agent.domain.receiver import Delivery, is_expected, receiver_names
from agent.domain.rollout import assess
from agent.domain.value import replace
from agent.domain.view import Known, View
from agent.errors import SettingsError
from agent.notify.http import Receivers
from agent.notify.signal import Reminders, Signals
from agent.observe.changes import log_changes
from agent.settings import load, parse
from lab.process import eventually
from resentry.contract import Snapshot

PLANTED = "Bearer planted-secret-0123456789"
ONE, TWO = "http://one.example/hook", "http://two.example/hook"


pytestmark = pytest.mark.server


def snapshot(sequence: int) -> Snapshot:
    return Snapshot({}, revision=f"{sequence:012}", sequence=sequence)


class Post:
    """Answers by URL with a status or an error, or hangs; remembers the sequences."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = answers
        self.told: dict[str, list[int]] = {"one": [], "two": []}
        self.release = threading.Event()

    def __call__(self, url: str, headers: Mapping[str, str]) -> int:
        name = url.partition("//")[2].partition(".")[0]
        self.told[name].append(int(headers["Resentry-Sequence"]))
        answer = self.answers.get(name, 200)
        if answer == "hang":
            self.release.wait(20)
            answer = 200
        if isinstance(answer, Exception):
            raise answer
        return int(answer)


class Pauses:
    """Takes the place of the back-off: remembers each, and is as long as told."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked: list[tuple[int, float]] = []
        self.seconds = seconds

    def __call__(self, failures: int, cap: float) -> float:
        self.asked.append((failures, cap))
        return self.seconds


@contextmanager
def receivers(
    post: Post, pauses: Pauses | None = None, expected: str = "2xx"
) -> Iterator[Receivers]:
    """Give two receivers; the threads have nothing left to do afterwards."""
    made = Receivers([ONE, TWO], post, expected, pauses or Pauses())
    yield made
    post.answers = {"one": expected.replace("xx", "00"), "two": 200}
    post.release.set()


def sequences(made: Receivers) -> list[int]:
    return [delivery.sequence for delivery in made.report()]


def test_every_receiver_is_told_once() -> None:
    """The same snapshot again is nothing new."""
    post = Post()
    with receivers(post) as made:
        for _ in range(3):
            made.notify(snapshot(1))
            eventually(lambda: sequences(made) == [1, 1], what="both")
        assert post.told == {"one": [1], "two": [1]}
        assert made.report()[0].revision == f"{1:012}"


def test_it_is_repeated_until_it_succeeds() -> None:
    """With the count of failures as the back-off's measure, and one cap."""
    post, pauses = Post(one=500), Pauses()
    with receivers(post, pauses) as made:
        made.notify(snapshot(1))
        eventually(lambda: made.report()[0].failures >= 3, what="three failures")
        post.answers = {}
        eventually(lambda: sequences(made) == [1, 1], what="success")
    assert pauses.asked[:3] == [(1, 60.0), (2, 60.0), (3, 60.0)]
    assert made.report()[0].failures == 0
    assert made.report()[0].error is None


def test_the_report_says_since_when_it_fails_and_what_was_delivered_last() -> None:
    """The first failure's time stays; the delivered revision, too."""
    post = Post()
    with receivers(post, Pauses(0.05)) as made:
        made.notify(snapshot(1))
        eventually(lambda: sequences(made) == [1, 1], what="the first")
        post.answers["one"] = 503
        made.notify(snapshot(2))
        first = eventually(lambda: made.report()[0].error and made.report()[0])
        later = eventually(
            lambda: made.report()[0].failures > 3 and made.report()[0], what="more"
        )
        assert isinstance(first, Delivery)
        assert isinstance(later, Delivery)
        assert (later.sequence, later.error) == (1, "status 503 instead of 2xx")
        assert later.since == first.since


def test_only_the_newest_is_delivered() -> None:
    """What came in while one was under way replaces what is still waiting."""
    post = Post(one="hang")
    with receivers(post) as made:
        made.notify(snapshot(1))
        eventually(lambda: post.told["one"] == [1], what="the first")
        for sequence in range(2, 50):
            made.notify(snapshot(sequence))
        post.release.set()
        eventually(lambda: sequences(made)[0] == 49, what="the newest")
        assert post.told["one"] == [1, 49]


def test_something_newer_does_not_wait_for_the_pause_to_end() -> None:
    """A receiver that has failed for an hour hears of the next one at once."""
    post = Post(one=500)
    with receivers(post, Pauses(3600)) as made:
        made.notify(snapshot(1))
        eventually(lambda: made.report()[0].failures == 1, what="the failure")
        post.answers = {}
        made.notify(snapshot(2))
        eventually(lambda: sequences(made)[0] == 2, what="the newer one")
        assert post.told["one"] == [1, 2]


def test_one_that_hangs_holds_up_neither_the_other_nor_the_pass() -> None:
    """Telling returns at once; the other is told meanwhile."""
    post = Post(one="hang")
    with receivers(post) as made:
        began = time.monotonic()
        made.notify(snapshot(1))
        assert time.monotonic() - began < 0.5
        eventually(lambda: sequences(made) == [0, 1], what="the other")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (301, "status 301 instead of 2xx"),
        (404, "status 404 instead of 2xx"),
        (OSError("Connection refused"), "Connection refused"),
        (TimeoutError("no answer within 5 s"), "no answer within 5 s"),
        (RuntimeError(PLANTED), "unexpected internal error (RuntimeError)"),
    ],
)
def test_what_went_wrong_is_said_without_a_quote(answer: Any, said: str) -> None:
    """Status, system error, or our own mistake: the thread goes on."""
    post = Post(one=answer)
    with receivers(post) as made:
        made.notify(snapshot(1))
        eventually(lambda: made.report()[0].error == said, what=said)
        post.answers = {}
        eventually(lambda: sequences(made)[0] == 1, what="success")


def test_a_process_that_ends_soon_waits_for_one_try() -> None:
    """Whether it succeeds or not, and no longer than told."""
    post = Post(one=500, two="hang")
    with receivers(post, Pauses(3600)) as made:
        made.wait(5)  # nobody is to be told
        made.notify(snapshot(1))
        began = time.monotonic()
        made.wait(0.2)
        assert time.monotonic() - began < 2
        assert made.report()[0].failures == 1


@pytest.mark.parametrize(
    ("status", "expected", "good"),
    [
        (200, "2xx", True),
        (204, "2xx", True),
        (302, "2xx", False),
        (202, "202", True),
        (200, "202", False),
        (302, "302", True),
    ],
)
def test_the_expected_status(status: int, expected: str, *, good: bool) -> None:
    """Any success, or exactly one."""
    assert good is is_expected(status, expected)


def test_a_receiver_is_named_by_its_host_alone() -> None:
    """The path may be the secret; two at one host are told apart."""
    urls = [f"https://hooks.example:8443/T0/{PLANTED}", "https://hooks.example:8443/b"]
    assert receiver_names(urls) == ["hooks.example:8443", "hooks.example:8443 2"]


@pytest.mark.parametrize(
    "url",
    [
        "hooks.example",
        "ftp://h/",
        "https://",
        "http://h:0/",
        "http://h:x/",
        "http://h/\x01",
        f"https://user:{PLANTED.split()[1]}@h/",
    ],
)
def test_a_url_that_is_none_is_refused_without_a_quote(url: str) -> None:
    """It is named by its place."""
    with pytest.raises(ValueError, match="number 2 is not") as caught:
        parse.urls(["http://h/", url])
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (f"Authorization: {PLANTED}", {"Authorization": PLANTED}),
        ("A: b: c\n\n  D:e;f, g|h \n", {"A": "b: c", "D": "e;f, g|h"}),
    ],
)
def test_headers_stand_one_a_line(text: str, expected: dict[str, str]) -> None:
    """A value may hold anything but a line's end."""
    assert expected == parse.headers(text)


@pytest.mark.parametrize(
    "text", [PLANTED, f"A b: {PLANTED}", f": {PLANTED}", f"A: {PLANTED}\r\x0bB", "A: ü"]
)
def test_headers_that_are_none_are_refused_without_a_quote(text: str) -> None:
    """The setting's error names the line."""
    with pytest.raises(SettingsError, match="line 1 is not") as caught:
        load({}, {"RESENTRY_NOTIFY_HEADERS": text})
    assert "planted" not in caught.value.what


@pytest.mark.parametrize("status", ["", "2XX", "20", "600", "ok"])
def test_a_status_that_is_none_is_refused(status: str) -> None:
    """A code, or 2xx."""
    with pytest.raises(SettingsError, match="status code"):
        load({}, {"RESENTRY_NOTIFY_STATUS": status})


def test_headers_are_secret() -> None:
    """The settings show that there are some."""
    settings = load({}, {"RESENTRY_NOTIFY_HEADERS": f"A: {PLANTED}"}).settings
    assert settings.notify_headers.headers == {"A": PLANTED}
    assert "planted" not in repr(settings)


def test_targets_that_wait_are_signalled_again_with_growing_pauses() -> None:
    """At 1, 3, 7, 15 ... s after the snapshot, then once a minute; anew for the next."""

    def doubling(failures: int, cap: float) -> float:
        return float(min(cap, 2.0 ** (failures - 1)))

    reminders = Reminders(Signals(is_on=False), doubling)
    first = [at for at in range(300) if reminders.is_due("first", float(at))]
    assert first == [1, 3, 7, 15, 31, 63, 123, 183, 243]
    second = [at for at in range(300, 310) if reminders.is_due("second", float(at))]
    assert second == [301, 303, 307]


def test_each_change_of_a_delivery_is_one_line() -> None:
    """A night of failures is one warning, whatever each try says."""
    steps = [
        Delivery("h"),
        Delivery("h", failures=1, error="refused"),
        Delivery("h", failures=2, error="answered 500"),
        Delivery("h", "a" * 12, 1),
        Delivery("h", "a" * 12, 1),
    ]
    seen = View(Known(), Passes(0.0), 0.0, assess([], None, late=False))
    with capture_logs() as lines:
        for step in steps:
            before, seen = seen, replace(seen, deliveries=(step,))
            log_changes(before, seen)
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "notification to h failed; it is repeated: refused"),
        ("info", f"notified h of revision {'a' * 12}"),
    ]
