"""The page in a real browser: what a person sees in each state, live and on a phone."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent.domain.passes import Passes
from agent.domain.rollout import assess
from agent.domain.view import Known, View
from agent.observe.document import whole
from agent.observe.http import Sources, serve
from agent.observe.metrics import Metrics
from agent.settings import load
from agent.settings.parse import Address
from lab.browser import Browser, obstacle
from lab.process import eventually, free_port
from lab.system import System

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.sink import Sink

if why := obstacle():
    pytest.skip(f"there is no browser: {why}", allow_module_level=True)

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

TARGET = """
import time
import resentry, sentry_sdk
resentry.init(
    role="api", default_integrations=False, auto_enabling_integrations=False
)
while True:
    sentry_sdk.capture_message("here")
    time.sleep(0.5)
"""
NASTY = "</p><img src=x onerror=document.title='owned'><script>document.title='owned'"
WIDTHS = ((360, False), (360, True), (1280, False))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def fits(browser: Browser) -> bool:
    """Whether nothing is wider than the page, on a phone and on a desk."""
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for width, is_dark in WIDTHS:
        browser.size(width, is_dark=is_dark)
        if browser.run(wide) > 0:
            return False
    return True


def test_the_page_tells_each_state_without_a_reload(
    sink: Sink, browser: Browser
) -> None:
    """Healthy, refused, overdue, a held rollback, Vault away, the agent away."""
    with System(
        ENVIRONMENT="staging",
        RESENTRY_CONFIRM_SECONDS="2",
        RESENTRY_DSN_CHECK="off",
    ) as system:
        system.write(SENTRY_DSN=sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="0.1")
        system.start_agent()
        target = system.spawn("python", "-c", TARGET)
        system.converge(1, 1)
        browser.open(f"http://127.0.0.1:{system.http_port}/")
        browser.await_text("Everything works", "#verdict")
        assert "live" in browser.text("#live")
        for stage in ("source", "values", "publish", "confirm", "drain", "arrive"):
            assert stage in browser.text("#chain")
        assert "first broken link" not in browser.text("#chain")
        assert f"pid {target.pid}" in browser.text("#processes")
        assert "traces, all roles: 0.1" in browser.text("#rates")
        assert "SENTRY_TRACES_SAMPLE_RATE 0.1, snapshot" in browser.text("#rates")
        assert "nothing was refused" in browser.text("#refusals")
        assert fits(browser)

        system.write(SENTRY_DSN=sink.dsn(1), SENTRY_SAMPLE_RATE="0")
        browser.await_text("Broken at arrive", "#verdict")
        system.write(SENTRY_DSN=sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="0.1")
        browser.await_text("Everything works", "#verdict")
        system.write(SENTRY_DSN=sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="7")
        browser.await_text("Broken at values", "#verdict")
        assert "SENTRY_TRACES_SAMPLE_RATE" in browser.text("#refusals")
        assert "refused" in browser.text("#timeline")
        assert "first broken link" in browser.text("#chain .broken")
        browser.await_text("RSN302", "#findings")

        target.pause()
        system.write(SENTRY_DSN=sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="0.5")
        browser.await_text("Broken at confirm", "#verdict")
        assert "overdue" in browser.text("#processes")
        assert fits(browser)
        target.resume()
        browser.await_text("Everything works", "#verdict")

        assert system.run("resentry-agent", "rollback")[0] == 0
        browser.await_text("A rollback is in force", "#verdict")
        browser.await_text("rollback", "#timeline")
        assert "rollback --resume" in browser.text("#verdict")

        assert system.run("resentry-agent", "rollback", "--resume")[0] == 0
        system.vault.stop()
        browser.await_text("Broken at source", "#verdict")
        assert "source" in browser.text("#chain .broken")

        assert system.agent is not None
        system.agent.signal(signal.SIGKILL)
        browser.await_text("does not answer", "#live")
        browser.await_text("The agent does not answer", "#verdict")
        assert f"pid {target.pid}" in browser.text("#processes")  # what was seen last
        assert browser.run("document.body.className") == "lost"
        assert browser.complaints == []


def nasty(value: Any, key: str = "") -> Any:
    """Return a document in which each text that others may write is markup."""
    if isinstance(value, dict):
        return {name: nasty(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [nasty(item) for item in value]
    words = ("state", "kind", "outcome", "agent", "verdict", "severity")
    is_time = isinstance(value, str) and value.startswith("2026")
    return (
        NASTY if isinstance(value, str) and key not in words and not is_time else value
    )


def test_what_others_wrote_is_shown_as_text(browser: Browser) -> None:
    """Markup in any field is read as it was written, and does nothing."""
    event = {"kind": "refused", "at": "x", "sentence": "x", "revision": "x"}
    published = {**event, "kind": "published", "state": "refused", "changed": ["x"]}
    rates: dict[str, Any] = {"x": {"SENTRY_TRACES_SAMPLE_RATE": 0.1}, "": {}}
    drawn = published | {"rates": rates, "at": "2026-11-24T06:00:00Z"}
    target = {
        "role": "x",
        "name": "x",
        "state": "refused",
        "readable": True,
        "notes": ["x"],
        "error": "x",
        "since": "x",
        "revision": "x",
        "sequence": 1,
        "dsn": "x",
        "library": "x",
        "sdk": "x",
        "main": True,
        "swap_ms": 1.0,
    }
    nobody = assess([], None, late=False)
    view = View(Known(), Passes(0.0), 0.0, nobody)
    plain = msgspec.to_builtins(whole(view))
    result = plain["result"]
    result["rollout"]["targets"] = [target]
    result["timeline"] = [drawn, published | {"rates": rates}, event]
    result["chain"][0] |= {"first_broken": True, "hint": "x", "since": "x"}
    result["dsn_checks"] = [{"verdict": "rejected", "sentence": "x", "since": "x"}]
    boost = {"id": "x", "traces": 1, "match": "x", "role": "x", "until": "x"}
    ceiling = {**boost, "errors": None}
    result["current"] = {
        "boosts": [boost],
        "ceilings": [ceiling],
        "settings": {"SENTRY_ENVIRONMENT": "x"},
    }
    result["source"]["where"] = {"address": "x", "path": "x"}
    rate = {"setting": "x", "value": 1.0, "origin": "x"}
    result["roles"] = [{"role": "x", "processes": ["x"], "off": "", "rates": [rate]}]
    result["roles"].append({**result["roles"][0], "off": "x"})
    finding = {
        "id": "x",
        "title": "x",
        "severity": "error",
        "verdict": "problem",
        "subject": "x",
        "detail": "x",
        "fix": "x",
        "follows_from": None,
    }
    unknown = finding | {"verdict": "unknown", "severity": "warning"}
    answers = nasty(plain), nasty({"findings": [finding, unknown]})
    port = free_port()
    sources = Sources(
        lambda: view,
        lambda: answers[0],
        Metrics("1").render,
        load({"config": ""}, {}).settings,
        lambda: answers[1],
    )
    serve(sources, Address("127.0.0.1", port), None)
    browser.open(f"http://127.0.0.1:{port}/")
    for part in ("verdict", "chain", "processes", "timeline", "refusals", "findings"):
        browser.await_text("<img src=x onerror", f"#{part}")
    assert "<img" in browser.text("#rates")
    assert f"ceiling {NASTY}: traces at most 1 for {NASTY}" in browser.text("#rates")
    assert f"could not be examined: {NASTY}" in browser.text("#findings")
    assert browser.run("document.querySelectorAll('main img, main script').length") == 0
    assert "owned" not in browser.run("document.title").replace(NASTY, "")
    assert fits(browser)
    assert browser.complaints == []
    # The browser itself would not let it happen.
    browser.run("document.body.innerHTML = '<img src=x>'")
    assert browser.run("document.querySelectorAll('img').length") == 0


def test_the_headline_is_green_without_an_error_alone(browser: Browser) -> None:
    """A finding that no stage shows makes it red. A check that goes on is a note."""
    view = View(Known(), Passes(0.0), 0.0, assess([], None, late=False))
    plain = msgspec.to_builtins(whole(view))
    for stage in plain["result"]["chain"]:
        waits = stage["stage"] == "checks"
        stage |= {"state": "waiting" if waits else "ok", "sentence": stage["stage"]}
    finding = {
        "id": "RSN801",
        "title": "No errors",
        "subject": "role api",
        "detail": "0",
        "severity": "error",
        "verdict": "problem",
        "fix": "x",
        "follows_from": None,
    }
    findings = {"findings": [finding]}
    port = free_port()
    sources = Sources(
        lambda: view,
        lambda: plain,
        Metrics("1").render,
        load({"config": ""}, {}).settings,
        lambda: findings,
    )
    serve(sources, Address("127.0.0.1", port), None)
    browser.open(f"http://127.0.0.1:{port}/")
    browser.await_text("RSN801 No errors", "#verdict")
    findings["findings"] = [finding | {"verdict": "unknown", "severity": "warning"}]
    browser.await_text("Everything works", "#verdict")
    browser.await_text("Not everything could be examined", "#verdict")
    assert "checks" in browser.text("#verdict")
    problem = {"setting": "RESENTRY_TUNING_PATH", "what": "not in force", "hint": ""}
    plain["result"]["problems"] = [problem]
    browser.await_text("A problem with RESENTRY_TUNING_PATH", "#verdict")
    browser.await_text("not in force", "#refusals")
    plain["result"]["source"]["outcome"] = "checking"
    browser.await_text("Not finished at checks", "#verdict")


def test_what_could_not_be_examined_is_shown_as_unknown(browser: Browser) -> None:
    """The page says that `doctor` finds nothing only if everything was examined."""
    view = View(Known(), Passes(0.0), 0.0, assess([], None, late=False))
    unknown = {
        "id": "RSN508",
        "title": "A process holds an older DSN",
        "severity": "warning",
        "verdict": "unknown",
        "subject": "",
        "detail": "not all receipts were read",
        "fix": "",
        "follows_from": None,
    }
    findings: list[Any] = []
    port = free_port()
    sources = Sources(
        lambda: view,
        lambda: whole(view),
        Metrics("1").render,
        load({"config": ""}, {}).settings,
        lambda: {"findings": findings},
    )
    serve(sources, Address("127.0.0.1", port), None)
    browser.open(f"http://127.0.0.1:{port}/")
    browser.await_text("doctor finds nothing", "#findings")
    findings.append(unknown)
    browser.open(f"http://127.0.0.1:{port}/?again")
    browser.await_text("not all receipts were read", "#findings")
    assert "?" in browser.text("#findings .mark")
    assert "finds nothing" not in browser.text("#findings")


def test_a_page_that_gets_no_answer_says_so(browser: Browser) -> None:
    """An agent that hangs is not shown as live; when it answers again, it is."""
    view = View(Known(), Passes(0.0), 0.0, assess([], None, late=False))
    hangs = {"seconds": 0.0}

    def answer() -> Any:
        time.sleep(hangs["seconds"])
        return whole(view)

    port = free_port()
    settings = load({"config": ""}, {}).settings
    serve(
        Sources(lambda: view, answer, Metrics("1").render, settings),
        Address("127.0.0.1", port),
        None,
    )
    browser.open(f"http://127.0.0.1:{port}/")
    browser.await_text("live", "#live")
    assert "Everything works" not in browser.text("#verdict")
    hangs["seconds"] = 8.0
    browser.await_text("does not answer", "#live")
    hangs["seconds"] = 0.0
    browser.await_text("live", "#live")
    eventually(
        lambda: "does not answer" not in browser.text("#verdict"), 30, "a verdict again"
    )
    assert json.loads(browser.run("JSON.stringify(document.body.className)")) == ""
