"""A new DSN's server is asked before the DSN is published."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lab.bugsink import Bugsink
from lab.process import eventually
from lab.sink import key_of
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from lab.sink import Sink
    from lab.system import System

pytestmark = pytest.mark.process


QUICK = {"RESENTRY_DSN_CHECK_SECONDS": "5"}
"""Accepted after 1 s, rejected after 2 s, and no patience after 5 s."""
ENFORCE = {**QUICK, "RESENTRY_DSN_CHECK": "enforce"}


def dsn_check(system: System) -> dict[str, Any]:
    """What is known of the DSN that was checked last."""
    found = system.status()["dsn_checks"]
    return dict(found[-1]) if found else {}


def await_verdict(system: System, verdict: str, of: str = "") -> dict[str, Any]:
    return eventually(
        lambda: (
            (now := dsn_check(system)).get("verdict") == verdict
            and now["settled"]
            and now["dsn"].startswith(of)
            and now
        ),
        20,
        f"the verdict {verdict}",
    )


def await_sequence(system: System, sequence: int) -> dict[str, Any]:
    return eventually(
        lambda: (
            (now := system.status())["current"]
            and now["current"]["sequence"] == sequence
            and now
        ),
        what=f"sequence {sequence}",
    )


def await_outcome(system: System, outcome: str, says: str = "") -> dict[str, Any]:
    return eventually(
        lambda: (
            (now := system.status()["source"])["outcome"] == outcome
            and says in now["sentence"]
            and now
        ),
        20,
        f"{outcome} {says}",
    )


@pytest.mark.parametrize(
    ("how", "verdict"),
    [
        ("ok", "accepted"),
        (403, "rejected"),
        (401, "config_error"),
        (429, "limited"),
        (500, "unknown"),
        ("hang", "unknown"),
    ],
)
def test_warn_publishes_whatever_the_check_says(
    system: System, sink: Sink, how: Any, verdict: str
) -> None:
    """Within two seconds; the verdict settles afterwards, in status, metrics and log."""
    system.write(SENTRY_DSN=sink.dsn(1))
    agent = system.start_agent(**QUICK)
    await_sequence(system, 1)
    sink.answer(2, how)

    system.write(SENTRY_DSN=sink.dsn(2))
    await_sequence(system, 2)

    text = system.get("/metrics").text
    seconds = float(text.partition("resentry_pass_seconds_sum ")[2].split()[0])
    assert seconds < 3
    found = await_verdict(system, verdict, of=f"{sink.address}/2 ")
    assert found["dsn"] == f"{sink.address}/2 (key …{key_of(2)[-4:]})"
    mark = fingerprint(sink.dsn(2))
    metric = f'resentry_dsn_check_verdict{{dsn="{mark}",verdict="{verdict}"}} 1.0'
    eventually(lambda: metric in system.get("/metrics").text, what=metric)

    def settled() -> list[str]:
        return [
            line
            for line in agent.log_text().splitlines()
            if '"settled": true' in line and f"{sink.address}/2" in line
        ]

    assert len(eventually(settled, what="the line of the log")) == 1, settled()
    assert key_of(2) not in agent.log_text() + text + system.get("/status").text


def test_enforce_publishes_nothing_of_a_candidate_before_the_verdict(
    system: System, sink: Sink
) -> None:
    """All of it waits, its rates too, while the last good stays; then all of it comes."""
    first = {"SENTRY_DSN": sink.dsn(1), "SENTRY_TRACES_SAMPLE_RATE": "0.1"}
    system.write(**first)
    # Between two polls of the source, each answer brings a pass.
    system.start_agent(**ENFORCE, RESENTRY_POLL_SECONDS="3600")
    await_outcome(system, "published")
    status = await_sequence(system, 1)
    assert status["dsn_checks"][0]["verdict"] == "accepted"
    sink.answer(2, 500)
    system.write(SENTRY_DSN=sink.dsn(2), SENTRY_TRACES_SAMPLE_RATE="0.7")
    system.poll_now()

    found = await_outcome(system, "checking")
    second = f"{sink.address}/2 (key …{key_of(2)[-4:]})"
    eventually(
        lambda: (now := dsn_check(system))["dsn"] == second and now["answers"] >= 2,
        what="two answers",
    )
    assert "waits" in found["sentence"]
    assert system.status()["current"]["sequence"] == 1
    assert system.get("/readyz").status_code == 200
    rate = system.directory / "SENTRY_TRACES_SAMPLE_RATE"
    assert rate.read_text() == "0.1"

    sink.answer(2, "ok")
    await_sequence(system, 2)
    assert rate.read_text() == "0.7"
    assert sink.answered(200, 2) >= 3


@pytest.mark.parametrize(
    ("how", "says"),
    [(403, "rejected"), (400, "does not understand"), (500, "no answer that says")],
)
def test_enforce_refuses_what_is_not_accepted(
    system: System, sink: Sink, how: int, says: str
) -> None:
    """Rejected, wrong, or unknown to the end: the last good stays."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent(**ENFORCE)
    await_sequence(system, 1)
    sink.answer(2, how)

    system.write(SENTRY_DSN=sink.dsn(2))

    found = await_outcome(system, "refused", says)
    assert f"{sink.address}/2 (key …" in found["sentence"]
    assert system.status()["current"]["sequence"] == 1
    code, printed = system.run("resentry-agent", "refresh")
    assert (code, says in printed) == (65, True)

    system.write(SENTRY_DSN=sink.dsn(1))
    eventually(lambda: "/2 " not in str(system.status()["dsn_checks"]), what="its end")


def test_a_refused_dsn_that_is_mended_is_published_by_itself(
    system: System, sink: Sink
) -> None:
    """Somebody enables the key at the server; the source need not change."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent(**ENFORCE)
    await_sequence(system, 1)
    sink.answer(2, 403)
    system.write(SENTRY_DSN=sink.dsn(2))
    await_outcome(system, "refused", "rejected")

    sink.answer(2, "ok")

    eventually(lambda: system.status()["current"]["sequence"] == 2, 20, "sequence 2")


def test_an_operator_s_boost_does_not_wait_and_takes_nothing_along(
    system: System, sink: Sink
) -> None:
    """While a candidate waits, a boost is laid over the last good one."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent(RESENTRY_DSN_CHECK="enforce", **QUICK)
    await_sequence(system, 1)
    sink.answer(2, 500)
    system.write(SENTRY_DSN=sink.dsn(2), SENTRY_TRACES_SAMPLE_RATE="0.7")
    await_outcome(system, "checking")

    code, printed = system.run(
        "resentry-agent", "boost", "--traces", "1", "--for", "60s"
    )

    current = system.status()["current"]
    assert code == 0, printed
    assert len(current["boosts"]) == 1
    assert "/1 (key" in current["settings"]["SENTRY_DSN"]
    assert "SENTRY_TRACES_SAMPLE_RATE" not in current["settings"]


def test_a_rejected_dsn_is_not_rolled_back_to(system: System, sink: Sink) -> None:
    """Warn let it through; once it has been replaced, nobody brings it back."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent(**QUICK)
    await_sequence(system, 1)
    sink.answer(2, 403)
    system.write(SENTRY_DSN=sink.dsn(2))
    await_verdict(system, "rejected")
    bad = system.status()["current"]["revision"]
    system.write(SENTRY_DSN=sink.dsn(3))
    await_sequence(system, 3)

    code, printed = system.run("resentry-agent", "rollback", bad)

    assert code == 1
    assert f"was rejected by its server: {sink.address}/2 (key …" in printed
    assert key_of(2) not in printed
    state = (system.directory / "agent" / "state.json").read_text()
    assert key_of(2) not in state
    assert json.loads(state)["rejections"]["dsns"]


def test_once_waits_for_the_verdict_with_enforce(system: System, sink: Sink) -> None:
    """It ends with what the source holds published, or with why not."""
    system.write(SENTRY_DSN=sink.dsn(1))
    code, printed = system.run("resentry-agent", "once", **ENFORCE)
    assert code == 0, printed
    assert sink.answered(200, 1) >= 3

    sink.answer(2, 401)
    system.write(SENTRY_DSN=sink.dsn(2))
    code, printed = system.run("resentry-agent", "once", **ENFORCE)
    assert code == 65
    assert "does not understand" in printed
    assert system.status()["current"]["sequence"] == 1


def test_once_warns(system: System, sink: Sink) -> None:
    """What it saw is printed with what it did."""
    sink.answer(1, 403)
    system.write(SENTRY_DSN=sink.dsn(1))
    code, printed = system.run("resentry-agent", "once")
    assert code == 0
    assert "rejected once (403), to be confirmed" in printed


def test_only_a_new_dsn_is_checked(system: System, sink: Sink) -> None:
    """Not one that is published already, wherever it moves; `off` checks none."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.run("resentry-agent", "once", RESENTRY_DSN_CHECK="off")
    assert sink.answered(200) == 0
    role = {"celery": {"SENTRY_DSN": sink.dsn(1)}}
    system.write(SENTRY_DSN=sink.dsn(1), RESENTRY_ROLES=role)
    system.run("resentry-agent", "once")
    assert sink.answered(200) == 0

    role["celery"]["SENTRY_DSN"] = sink.dsn(2)
    system.write(SENTRY_DSN=sink.dsn(1), RESENTRY_ROLES=role)
    system.run("resentry-agent", "once")
    assert system.status()["current"]["sequence"] == 3
    assert (sink.answered(200, 1), sink.answered(200, 2)) == (0, 1)


def test_glitchtip_s_project_in_use_is_not_checked(system: System, sink: Sink) -> None:
    """One wrong key would block the keys that work: published, with a note."""
    system.write(SENTRY_DSN=sink.dsn(1))
    settings = {"RESENTRY_DSN_CHECK_BACKEND": "glitchtip", **ENFORCE}
    assert system.run("resentry-agent", "once", **settings)[0] == 0
    before = sink.answered(200)

    system.write(SENTRY_DSN=sink.dsn(1, key_of(1, 2)))
    code, printed = system.run("resentry-agent", "once", **settings)

    assert code == 0
    assert "not asked" in printed
    assert sink.answered(200) == before


@pytest.mark.timeout(400)
@pytest.mark.parametrize("mode", ["warn", "enforce"])
def test_on_bugsink_no_event_and_no_issue_is_created(system: System, mode: str) -> None:
    """A real server accepts a good key, rejects a wrong one, and stores nothing."""
    with Bugsink() as bugsink:
        good = bugsink.project("good")
        key = good.partition("//")[2].partition("@")[0]
        wrong = good.replace(key, key[::-1])
        system.write(SENTRY_DSN=good)
        agent = system.start_agent(**QUICK, RESENTRY_DSN_CHECK=mode)
        await_sequence(system, 1)
        await_verdict(system, "accepted")

        system.write(SENTRY_DSN=wrong)
        await_verdict(system, "rejected")
        if mode == "enforce":
            await_outcome(system, "refused", "rejected")
        expected = 1 if mode == "enforce" else 2
        assert system.status()["current"]["sequence"] == expected

        assert bugsink.events("good") == []
        assert bugsink.issues("good") == []
        for secret in (key, key[::-1]):
            assert secret not in agent.log_text()
            assert secret not in system.get("/status").text


def test_a_flapping_source_makes_no_flood(system: System, sink: Sink) -> None:
    """Each of two DSNs is asked at its pace, however often the source turns."""
    system.write(SENTRY_DSN=sink.dsn(1))
    system.start_agent()
    await_sequence(system, 1)
    for turn in range(2, 10):
        system.write(SENTRY_DSN=sink.dsn(2 - turn % 2))
        system.poll_now()
        await_sequence(system, turn)
    assert sink.answered(200, 1) == 1
    assert sink.answered(200, 2) == 1
