"""What the bridge does while it is killed, attacked, or left alone by an Alertmanager."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import socket
import sqlite3
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
from on_duty import shipped

from agent.bridge.receive import BODY_SECONDS
from agent.bridge.store import RIVAL_SECONDS
from bench import proc
from lab import alertmanager
from lab import bridge as sentry
from lab.alertmanager import Alertmanager
from lab.bridge import Bridge
from lab.process import Process, eventually, free_port
from lab.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process

KILLS = 8
SENDERS = 8
MIB = 1024 * 1024
RESEND = {"RESENTRY_BRIDGE_RESEND_SECONDS": "1"}


class Sentry:
    """Sends webhooks without an end, and remembers what the bridge has acknowledged."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.opened: set[str] = set()
        self.closing: set[str] = set()
        self.closed: set[str] = set()
        self._is_over = threading.Event()

    def send(self, first: int) -> None:
        """Open one issue after the other, and close every second one."""
        number = first
        while not self._is_over.is_set():
            number += SENDERS
            name = str(number)
            if self._is_taken("event_alert", sentry.event_alert(name)):
                self.opened.add(name)
                if number % 16 < 8:
                    self.closing.add(name)
                    if self._is_taken("issue", sentry.issue(name)):
                        self.closed.add(name)

    def _is_taken(self, kind: str, payload: dict[str, Any]) -> bool:
        """Whether this webhook was acknowledged; Sentry itself does not try again."""
        try:
            return self.bridge.send(kind, payload).status_code == 202
        except requests.RequestException:
            time.sleep(0.01)
            return False

    @property
    def acknowledged(self) -> int:
        return len(self.opened) + len(self.closed)

    def stop(self) -> None:
        self._is_over.set()


def test_killed_at_any_moment_it_loses_nothing_that_it_acknowledged(
    tmp_path: Path,
) -> None:
    """SIGKILL under load, again and again: each 202 is in the store, and arrives."""
    if why := alertmanager.missing():
        pytest.skip(why)
    chance = random.Random(19)
    with (
        Alertmanager(tmp_path, shipped()) as manager,
        Bridge(tmp_path / "bridge", [manager.address], **RESEND) as bridge,
        ThreadPoolExecutor(SENDERS) as pool,
    ):
        load = Sentry(bridge)
        for first in range(SENDERS):
            pool.submit(load.send, first)
        try:
            for _ in range(KILLS):
                enough = load.acknowledged + chance.randint(1, 40)
                eventually(lambda n=enough: load.acknowledged >= n, 60)  # type: ignore[misc]
                bridge.kill()
                bridge.start()
        finally:
            load.stop()
        pool.shutdown()

        assert len(load.opened) > KILLS
        assert load.closed
        status = bridge.status()
        is_open = {alert["labels"]["issue"] for alert in status["alerts"]}
        # An end that was not acknowledged may be stored, or not.
        assert load.opened - load.closing <= is_open
        assert not is_open & load.closed

        def arrived() -> bool:
            found = {alert["labels"]["issue"] for alert in manager.alerts()}
            return found == is_open

        eventually(arrived, 60)


def test_one_bridge_for_each_store_and_each_address(tmp_path: Path) -> None:
    """A second one ends, and says what to do: beside a store once it has waited."""

    def second(bridge: Bridge, **settings: str) -> tuple[int | None, str]:
        with Process(bridge.args, env=bridge.env | settings) as process:
            eventually(lambda: not process.alive, 2 * RIVAL_SECONDS)
        return process.returncode, process.log_text()

    with Bridge(tmp_path, ["http://127.0.0.1:1"]) as bridge:
        free = f"127.0.0.1:{free_port()}"
        code, text = second(bridge, RESENTRY_BRIDGE_LISTEN=free)
        assert (code, "another bridge uses the store" in text) == (74, True), text
        other = str(tmp_path / "other.db")
        code, text = second(bridge, RESENTRY_BRIDGE_STORE=other)
        assert (code, "set RESENTRY_BRIDGE_LISTEN" in text) == (78, True), text
        code, text = second(bridge, RESENTRY_BRIDGE_ALERTMANAGERS="")
        assert (code, "set RESENTRY_BRIDGE_ALERTMANAGERS" in text) == (78, True), text
        assert bridge.status()["open"] == 0


def test_the_next_bridge_waits_for_the_end_of_the_one_before(tmp_path: Path) -> None:
    """It takes the store over without a restart, with all that is open."""
    with Bridge(tmp_path, ["http://127.0.0.1:1"]) as bridge:
        bridge.send("event_alert", sentry.event_alert())
        after = Bridge(tmp_path, ["http://127.0.0.1:1"])
        after.ready = lambda: "waits for its end" in after.log_text()
        with after:
            assert bridge.stop() == 0
            eventually(lambda: "receives webhooks" in after.log_text())
            assert after.status()["open"] == 1


def test_each_alertmanager_has_a_back_off_of_its_own(tmp_path: Path) -> None:
    """One hangs, one rejects an alert, one comes later: the fourth waits for nobody.

    What was closed while one was away is open nowhere when it comes back.
    """
    if why := alertmanager.missing():
        pytest.skip(why)
    late = tmp_path / "late"
    late.mkdir()
    with Receiver("hang") as hanging, Receiver(400) as rejecting:
        later = Alertmanager(late, shipped())
        with Alertmanager(tmp_path, shipped()) as good:
            urls = [f"http://{each.address}" for each in (hanging, rejecting)]
            urls += [later.address, good.address]
            with Bridge(tmp_path / "bridge", urls, **RESEND) as bridge:
                bridge.send("event_alert", sentry.event_alert("1"))
                bridge.send("event_alert", sentry.event_alert("2"))
                bridge.send("event_alert", sentry.event_alert("3"))
                eventually(lambda: len(good.alerts()) == 3, 10)
                eventually(lambda: "rejects an alert" in bridge.log_text())
                bridge.send("issue", sentry.issue("1"))
                bridge.send("issue", sentry.issue("3"))
                eventually(lambda: len(good.alerts()) == 1, 10)
                states = eventually(lambda: _states(bridge, failing=2), 40)
                assert [state["behind"] > 0 for state in states] == [
                    *(True, False, True, False)
                ]
                assert states[3]["reason"] == ""
                eventually(lambda: _splits(rejecting), what="each alert alone")
                with later:
                    eventually(lambda: len(later.alerts()) == 1, 90)
                    (alert,) = later.alerts()
                    assert alert["labels"]["issue"] == "2"


def _splits(receiver: Receiver) -> bool:
    """Whether several alerts came in one post, and then each of them alone.

    How many come together is chance: those that are sent in one moment.
    """
    posts = [
        [alert["labels"] for alert in json.loads(each.body)]
        for each in list(receiver.requests)
        if each.start[0] == "POST"
    ]
    return any(
        len(post) > 1 and posts[at + 1 :][: len(post)] == [[alert] for alert in post]
        for at, post in enumerate(posts)
    )


def _states(bridge: Bridge, failing: int) -> list[dict[str, Any]] | None:
    """Return how it goes with each Alertmanager, once so many fail."""
    states: list[dict[str, Any]] = bridge.status()["alertmanagers"]
    return states if sum(bool(each["reason"]) for each in states) == failing else None


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A bridge that nobody kills. It has no Alertmanager, and one issue."""
    folder = tmp_path_factory.mktemp("attacked")
    with Bridge(folder, [f"http://127.0.0.1:{free_port()}"]) as bridge:
        assert bridge.send("event_alert", sentry.event_alert("1")).status_code == 202
        yield bridge


EVENT = json.dumps(sentry.event_alert("1")).encode()
SIGNED = sentry.headers("event_alert", EVENT)


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in SIGNED.items() if key != name}


def signed(body: bytes, kind: str = "event_alert", **other: str) -> Any:
    return body, sentry.headers(kind, body, **other)


OLD = str(int(time.time()) - 7200)
ANSWERS: dict[str, tuple[int, tuple[bytes, dict[str, str]]]] = {
    "another secret": (401, (EVENT, sentry.headers("event_alert", EVENT, "other"))),
    "another body": (401, (EVENT + b" ", SIGNED)),
    "no form": (401, signed(EVENT, Sentry_Hook_Signature="x" * 64)),
    "upper case": (
        401,
        signed(EVENT, Sentry_Hook_Signature=SIGNED["Sentry-Hook-Signature"].upper()),
    ),
    "no signature": (400, (EVENT, without("Sentry-Hook-Signature"))),
    "no Request-ID": (400, (EVENT, without("Request-ID"))),
    "no resource": (400, (EVENT, without("Sentry-Hook-Resource"))),
    "of yesterday": (400, signed(EVENT, Sentry_Hook_Timestamp=OLD)),
    "an odd time": (400, signed(EVENT, Sentry_Hook_Timestamp="now")),
    "a huge time": (400, signed(EVENT, Sentry_Hook_Timestamp="9" * 190)),
    "empty": (422, signed(b"")),
    "no JSON": (422, signed(b"{")),
    "deep": (422, signed(b"[" * 100_000)),
    "wrong types": (422, signed(b'{"data":{"event":[],"triggered_rule":{}}}')),
    "no identity": (422, signed(b'{"data":{"event":{"title":"x"}}}')),
    "an unknown resource": (200, signed(b"{", "seer")),
    "a resource that nobody signed": (200, signed(b"{", "x" * 100)),
    "an unknown action": (
        200,
        signed(json.dumps(sentry.issue("1", "of 2031")).encode(), "issue"),
    ),
}


@pytest.mark.parametrize(("status", "request_"), ANSWERS.values(), ids=ANSWERS)
def test_each_bad_request_has_its_answer(
    attacked: Bridge, status: int, request_: tuple[bytes, dict[str, str]]
) -> None:
    """And changes nothing."""
    body, headers = request_
    answer = requests.post(attacked.url, body, headers=headers, timeout=30)
    assert answer.status_code == status, answer.text
    (alert,) = attacked.status()["alerts"]
    assert alert["webhooks"] == 1
    assert set(attacked.status()["webhooks"]) <= {"event_alert", "issue", "other"}


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (f"Content-Length: {4 * MIB + 1}\r\n", b" 413 "),
        (f"Content-Length: {'9' * 5000}\r\n", b" 4"),
        (f"Content-Length: 2\r\nX-More: {'x' * 200_000}\r\n", b" 400 "),
        ("Content-Length: 2\r\nContent-Length: 3\r\n", b" 400 "),
        ("Transfer-Encoding: odd\r\n", b" 400 "),
    ],
    ids=["body", "number", "header", "two lengths", "encoding"],
)
def test_what_is_too_large_or_odd_is_refused_by_its_header(
    attacked: Bridge, more: str, status: bytes
) -> None:
    """No body is read."""
    head = "".join(f"{name}: {value}\r\n" for name, value in SIGNED.items())
    with _connect(attacked) as connection:
        with contextlib.suppress(OSError):  # it may be ended before all is sent
            connection.sendall(
                f"POST /sentry HTTP/1.1\r\nHost: x\r\n{more}{head}\r\n".encode()
            )
        with contextlib.suppress(ConnectionResetError):
            answer = connection.recv(4096)
            assert status in answer.partition(b"\r\n")[0]


def test_a_replay_changes_nothing(attacked: Bridge) -> None:
    """By its Request-ID, or by the body of its event."""
    body = json.dumps(sentry.event_alert("replayed")).encode()
    headers = sentry.headers("event_alert", body)

    def send(**other: str) -> tuple[int, str]:
        sent = headers | {
            name.replace("_", "-"): value for name, value in other.items()
        }
        answer = requests.post(attacked.url, body, headers=sent, timeout=30)
        return answer.status_code, answer.text

    assert send() == (202, "opened\n")
    assert send() == (200, "duplicate\n")
    assert send(Request_ID=uuid.uuid4().hex) == (200, "duplicate\n")
    end = json.dumps(sentry.issue("replayed")).encode()
    ended = requests.post(
        attacked.url, end, headers=sentry.headers("issue", end), timeout=30
    )
    assert ended.text == "closed\n"
    assert send() == (200, "duplicate\n")
    assert len(attacked.status()["alerts"]) == 1


def test_a_store_that_cannot_be_written_acknowledges_nothing(tmp_path: Path) -> None:
    """A full disk, then a foreign lock: 503 and no loss; and it goes on by itself."""
    event = sentry.event_alert("1")
    with Bridge(tmp_path, [f"http://127.0.0.1:{free_port()}"]) as bridge:
        assert bridge.send("event_alert", event).status_code == 202
        end = sentry.issue("1")
        full = (tmp_path / "bridge.db-wal").stat().st_size
        _, hard = resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE, (full, hard))
        answer = bridge.send("issue", end)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert requests.get(f"{bridge.http}/readyz", timeout=10).status_code == 503
        assert requests.get(f"{bridge.http}/livez", timeout=10).ok
        assert "resentry_bridge_store_failing 1.0" in bridge.metrics()
        assert bridge.status()["open"] == 1
        resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert bridge.send("issue", end).text == "closed\n"
        assert requests.get(f"{bridge.http}/readyz", timeout=10).ok

        foreign = sqlite3.connect(bridge.store, isolation_level=None)
        foreign.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(10) as pool:
            sent = [
                pool.submit(bridge.send, "event_alert", sentry.event_alert(f"{each}"))
                for each in range(10)
            ]
            assert {each.result().status_code for each in sent} == {503}
        foreign.execute("ROLLBACK")
        foreign.close()

        def is_taken() -> bool:
            return (
                bridge.send("event_alert", sentry.event_alert("2")).status_code == 202
            )

        eventually(is_taken)
        line = "cannot write its store"
        eventually(lambda: line in bridge.log_text(), what="the line of the log")


def _connect(bridge: Bridge) -> socket.socket:
    at = urlsplit(bridge.url)
    return socket.create_connection((at.hostname or "", at.port or 0), timeout=30)


def test_what_comes_late_opens_nothing(attacked: Bridge) -> None:
    """An event that was sent before the end of its issue, and comes after it."""
    before = str(int(time.time()) - 60)
    assert attacked.send("issue", sentry.issue("late")).text == "ignored\n"
    event = sentry.event_alert("late")
    late = attacked.send("event_alert", event, Sentry_Hook_Timestamp=before)
    assert (late.status_code, late.text) == (200, "older\n")
    assert "late" not in {
        each["labels"]["issue"] for each in attacked.status()["alerts"]
    }


def queued(*pids: int) -> float:
    """Return for how many seconds these have waited for a processor: others had it."""
    stats = [Path(f"/proc/{pid}/schedstat").read_text().split() for pid in pids]
    return sum(int(waited) for _, waited, _ in stats) / 1e9


def test_slow_senders_keep_nobody_waiting(attacked: Bridge) -> None:
    """Hundreds of idle and slow connections: a webhook is acknowledged, each slow one ends."""
    head = "".join(f"{name}: {value}\r\n" for name, value in SIGNED.items())
    slow = f"POST /sentry HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n{head}\r\n{{"
    starts = [b"", b"POST /sentry HT", slow.encode()]
    with contextlib.ExitStack() as stack:
        sockets = []
        both = attacked.pid, os.getpid()
        began = time.monotonic() - queued(*both)
        for number in range(900):
            with contextlib.suppress(OSError):  # it may have been ended already
                connection = stack.enter_context(_connect(attacked))
                sockets.append(connection)
                connection.sendall(starts[number % 3])
        payload = sentry.event_alert("slow")

        def is_taken() -> bool:
            with contextlib.suppress(requests.ConnectionError):
                return attacked.send("event_alert", payload).status_code in (200, 202)
            return False

        eventually(is_taken, 20)
        assert time.monotonic() - queued(*both) - began < BODY_SECONDS
        assert requests.get(f"{attacked.http}/livez", timeout=10).ok
        with contextlib.suppress(OSError):
            for each in sockets:
                each.settimeout(60)
                while each.recv(4096):
                    pass
    attacked.send("issue", sentry.issue("slow"))


def test_neither_memory_nor_log_grows_with_what_strangers_send(
    attacked: Bridge,
) -> None:
    """Large bodies without a right signature, and many small ones: it stays as it was."""

    def send(size: int) -> int:
        body = b"[" * size
        headers = sentry.headers("event_alert", body, secret="other")
        try:
            return requests.post(
                attacked.url, body, headers=headers, timeout=60
            ).status_code
        except requests.ConnectionError:
            return 0

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, [4 * MIB] * 8))
        before = proc.memory(attacked.pid).rss
        assert set(pool.map(send, [4 * MIB] * 40)) <= {401, 503}
        lines = attacked.log_text().count("\n")
        assert set(pool.map(send, [100] * 500)) == {401}
    assert proc.memory(attacked.pid).rss - before < 16 * 1024
    assert attacked.log_text().count("\n") - lines < 100
    after = sentry.event_alert("after")
    assert attacked.send("event_alert", after).status_code == 202
    assert attacked.send("issue", sentry.issue("after")).text == "closed\n"
