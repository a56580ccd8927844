"""What pods tell a fleet, and what counts when one says nothing."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.domain.rollout import LiveTarget, assess
from agent.domain.summary import (
    SUMMARY_BYTES,
    PodProcess,
    Summary,
    decode_summary,
    encode_summary,
    summarize,
)
from agent.errors import SettingsError, SourceDown
from agent.fleet import by_api, judge
from agent.fleet.ask import Answer, ask, distinct
from agent.fleet.pods import Pod, listed, resolved
from agent.rotation.world import fleet_of
from lab.paths import REPOSITORY
from lab.proxy import Faults, Proxy
from resentry.answers import Answer as Answered
from resentry.contract import Ceiling, Holder, Receipt, Snapshot, fingerprint

OLD = fingerprint("https://old@sentry.example.org/1")
NEW = fingerprint("https://new@sentry.example.org/1")


def receipt(**more: Any) -> Receipt:
    made = Receipt(id="0" * 16, role="api", pid=7, pidns=1, start_time=1, dsn=NEW)
    return made._replace(**more)


def process_of(target: LiveTarget) -> PodProcess:
    rollout = assess([target], None, late=False)
    (process,) = summarize("1", None, rollout).processes
    return process


@pytest.mark.parametrize(
    ("more", "proves", "holds"),
    [
        ({}, True, ()),
        ({"phase": "running"}, False, ()),
        ({"foreign": True}, False, ()),
        ({"holders": (Holder("client", OLD),)}, True, (OLD,)),
        ({"holders": (Holder("client", ""),)}, False, ()),
    ],
)
def test_what_a_process_proves(
    more: dict[str, Any],
    *,
    proves: bool,
    holds: tuple[str, ...],
) -> None:
    """Not drained, or with a client that nobody knows: it may hold any DSN."""
    process = process_of(LiveTarget(receipt(**more), uid=0))
    assert (process.proves, process.holds, process.runs) == (proves, holds, NEW)


def test_a_process_without_a_readable_receipt_proves_nothing() -> None:
    """It lives, for it holds its lock."""
    process = process_of(LiveTarget.unreadable("0" * 16, 7, "no"))
    assert (process.proves, process.refused) == (False, None)


def test_what_servers_have_refused_is_told() -> None:
    """By any DSN: the sum, and nobody's knowledge is not zero."""
    answers = tuple(
        Answered(dsn, "accepted", 200, "", refused=refused)
        for dsn, refused in ((OLD, 3), (NEW, 4))
    )
    told = process_of(LiveTarget(receipt(answers=answers), uid=0))
    fleet = fleet_of([Answer(Pod("pod", ""), summary(told, process()))], "", 0)
    assert [each.refused for each in fleet.processes] == [7, None]


def summary(*processes: PodProcess, **more: Any) -> Summary:
    return Summary(agent="1", processes=processes, **({"is_complete": True} | more))


def process(role: str = "api", **more: Any) -> PodProcess:
    given = {"state": "drained", "proves": True} | more
    return PodProcess(role=role, pid=7, **given)


def test_what_an_answer_leaves_out_is_no_yes() -> None:
    """Something else answers, or an agent of another version."""
    told = b'{"agent":"1","processes":[{"role":"a","pid":1,"state":"drained"}]}'
    fleet = fleet_of([Answer(Pod("pod", ""), decode_summary(told))], "", 0)
    assert [each.proves for each in fleet.processes] == [False]
    assert fleet.silent == ("pod (not all of its processes)",)


def answers(*summaries: Summary | None) -> list[Answer]:
    return [
        Answer(Pod(f"pod{number}", ""), each) for number, each in enumerate(summaries)
    ]


def test_a_pod_that_does_not_answer_is_silent() -> None:
    """So is one that cannot name all of its processes, and one that is not there."""
    fleet = fleet_of(answers(None, summary(is_complete=False)), "", expected=4)
    assert fleet.silent == (
        "pod0",
        "pod1 (not all of its processes)",
        "2 of 4 expected pods",
    )


def test_only_processes_of_the_role_follow() -> None:
    """A role with a DSN of its own does not follow the DSN of all."""
    told = answers(
        summary(
            process("api", runs=NEW),
            process("celery", runs=OLD),
            dsns={"": NEW, "celery": OLD},
        )
    )
    follows = {each.name: each.follows for each in fleet_of(told, "", 0).processes}
    assert follows == {"pod0 api pid 7": True, "pod0 celery pid 7": False}
    follows = {
        each.name: each.follows for each in fleet_of(told, "celery", 0).processes
    }
    assert follows == {"pod0 api pid 7": False, "pod0 celery pid 7": True}


def test_a_process_that_is_switched_off_does_not_hold_a_rotation_up() -> None:
    """It has no DSN, and proves it; without a proof it counts."""
    told = answers(summary(process(), process("celery", proves=False)))
    off, unproven = fleet_of(told, "", 0).processes
    assert (off.follows, off.proves) == (False, True)
    assert (unproven.follows, unproven.proves) == (True, False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"agent": "1", "schema": 2}',
        b'{"agent": 1}',
        json.dumps({"agent": "1", "revision": "x" * 65}).encode(),
        json.dumps({"agent": "1", "dsns": {"api": "https://key@host/1"}}).encode(),
        b"[" * 100_000,
    ],
)
def test_what_is_no_summary_is_refused(body: bytes) -> None:
    """Whoever answers at the address: nothing of it is quoted."""
    with pytest.raises(SourceDown) as raised:
        decode_summary(body)
    assert "key" not in raised.value.what


@pytest.mark.server
def test_each_pod_is_asked_within_its_limit() -> None:
    """A late, a large and a foreign answer are silence with a reason; the good one counts."""
    good = encode_summary(summary(process(runs=NEW)))
    faults = [
        Faults(status=200, body=good),
        Faults(status=503, body=b""),
        Faults(status=200, body=b"<html>"),
        Faults(status=200, body=b" " * (SUMMARY_BYTES + 1)),
        Faults(hang=True),
    ]
    proxies = [Proxy("127.0.0.1:9") for _ in faults]
    for proxy, fault in zip(proxies, faults, strict=True):
        proxy.start()
        proxy.faults = fault
    pods = listed([*(proxy.url for proxy in proxies), "http://127.0.0.1:9"])
    try:
        told = ask(pods, "tests", seconds=0.5)
    finally:
        for proxy in proxies:
            proxy.stop()
    assert told[0].summary == decode_summary(good)
    reasons = [answer.why for answer in told[1:]]
    assert reasons == [
        "answers with status 503",
        "what answers is no resentry-agent of this version (DecodeError)",
        f"answers more than {SUMMARY_BYTES:,} bytes",
        "no answer within 0.5 s",
        "Connection refused",
    ]


@pytest.mark.parametrize(
    "bad",
    [
        "k8s://shop:19465",  # else every pod of the namespace
        "k8s://shop:19465?",
        "k8s://shop:19465?resentry",
        "k8s://shop?resentry=sidecar",
        "k8s://shop:http?resentry=sidecar",
        "k8s://:19465?resentry=sidecar",
        "k8s://a@shop:19465?resentry=sidecar",
        "k8s://shop:19465/resentry=sidecar",
    ],
)
def test_pods_of_the_kubernetes_api_are_named_by_labels(bad: str) -> None:
    """By all of them; an address without namespace, port or label is refused."""
    good = "k8s://shop:19465?resentry=sidecar&app.kubernetes.io%2Fname=lms"
    labels = {"resentry": "sidecar", "app.kubernetes.io/name": "lms"}
    assert by_api.selection(good) == ("shop", 19465, labels)
    with pytest.raises(SettingsError, match="k8s://NAMESPACE:PORT"):
        by_api.selection(bad)


def test_without_the_extra_the_command_names_the_image_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sidecar's image has none of it."""
    monkeypatch.setitem(sys.modules, "lightkube", None)
    with pytest.raises(SettingsError) as raised:
        by_api.selected("k8s://shop:19465?resentry=sidecar")
    assert "resentry-agent-tools" in raised.value.hint
    shipped = (Path(REPOSITORY) / "requirements/agent.txt").read_text()
    project = tomllib.loads((Path(REPOSITORY) / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    names = [re.split("[<>=]", each)[0] for extra in extras for each in extra]
    assert [name for name in names if f"\n{name}==" in f"\n{shipped}"] == []


@pytest.mark.server
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"items": [{"spec": {"nodeName": 7}}]}'),
        (302, b""),
        (403, b"<html>"),
        (410, b'{"kind": "Status", "message": "continue token expired"}'),
        (502, b"<html>"),
    ],
)
def test_what_is_no_answer_of_the_kubernetes_api_is_no_fleet(
    status: int, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an empty one nor a traceback: it is asked again."""
    with Proxy("127.0.0.1:9") as proxy:
        proxy.faults = Faults(status=status, body=body)
        path = tmp_path / "kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "lab", "cluster": {"server": proxy.url}}],
                    "users": [{"name": "lab", "user": {"token": "t"}}],
                    "contexts": [
                        {"name": "lab", "context": {"cluster": "lab", "user": "lab"}}
                    ],
                    "current-context": "lab",
                }
            )
        )
        monkeypatch.setenv("KUBECONFIG", str(path))
        with pytest.raises(SourceDown, match="not the Kubernetes API"):
            by_api.selected("k8s://shop:1?a=b")


def test_a_pod_without_an_address_is_silent() -> None:
    """It is on a node, and may run a process soon."""
    (answer,) = ask([Pod("pod0", "")], "tests")
    assert (answer.summary, answer.why) == (None, "has no address yet")


@pytest.mark.slow
@pytest.mark.server
def test_a_hundred_silent_pods_take_as_long_as_one() -> None:
    """A node that is lost takes its pods with it: all of them are asked at once."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def seconds(pods: int) -> float:
            began = time.monotonic()
            told = ask(listed([url] * pods), "tests", 1.0)
            assert {each.why for each in told} == {"no answer within 1 s"}
            return time.monotonic() - began

        # A machine that is busy elsewhere may take long to begin a hundred threads.
        assert any(seconds(100) < 2 * seconds(1) for _ in range(3))


def test_a_pod_with_two_addresses_is_one_pod() -> None:
    """Else two pods with IPv4 and IPv6 would pass for four that are expected."""
    twice = answers(
        *[summary(process(runs=NEW), instance="a")] * 2,
        *[summary(process(runs=NEW), instance="b")] * 2,
        *[summary(process(runs=NEW))] * 2,  # of an older agent
        *[None] * 2,
    )
    names = [each.pod.name for each in distinct(twice)]
    assert names == ["pod0", "pod2", "pod4", "pod5", "pod6", "pod7"]


def test_a_service_has_a_pod_for_each_address() -> None:
    """As DNS gives them; what is no HOST:PORT is an error of the setting."""
    assert listed(["http://10.0.0.7:1/", "https://[::1]:2/fleet"]) == [
        Pod("10.0.0.7:1", "http://10.0.0.7:1/fleet"),
        Pod("[::1]:2", "https://[::1]:2/fleet"),
    ]
    assert Pod("127.0.0.1:7", "http://127.0.0.1:7/fleet") in resolved("localhost:7")
    for bad in ("localhost", ":7", "localhost:http", "localhost:"):
        with pytest.raises(SettingsError):
            resolved(bad)
    with pytest.raises(SettingsError):
        listed(["ftp://host"])
    with pytest.raises(SourceDown, match="cannot be resolved"):
        resolved("no-such-name.invalid:7")


def test_the_summary_of_a_pod_has_no_secret() -> None:
    """A DSN is in it as a fingerprint alone, and no text that a process wrote."""
    dsn = "https://key@sentry.example.org/1"
    snapshot = Snapshot(
        revision="0" * 12,
        sequence=1,
        published_at="2026-01-31T12:00:00.000Z",
        settings={"SENTRY_DSN": dsn, "SENTRY_ENVIRONMENT": "staging"},
    )
    target = LiveTarget(receipt(error="planted text", sdk="planted text"), uid=0)
    rollout = assess([target], snapshot, late=False)
    text = encode_summary(summarize("1", snapshot, rollout)).decode()
    assert json.loads(text)["dsns"] == {"": fingerprint(dsn)}
    assert "key@" not in text
    assert "planted" not in text


@pytest.mark.parametrize(
    ("told", "more", "missing"),
    [
        ([summary(process(runs=NEW))], {}, []),
        ([summary(process(runs=NEW))], {"dsn": NEW, "drained": True}, []),
        ([summary(process())], {"dsn": NEW, "drained": True}, []),
        ([], {}, ["0 pods were found, not 1"]),
        ([summary(process(runs=NEW))], {"expected": 2}, ["1 pods were found, not 2"]),
        ([None], {}, ["pod0: "]),
        ([summary()], {}, ["pod0: no process has given a receipt yet"]),
        (
            [summary(process(runs=NEW), is_complete=False)],
            {},
            ["pod0: there may be more processes than it has read"],
        ),
        (
            [summary(process(runs=OLD))],
            {"dsn": NEW},
            [f"pod0: api pid 7 runs the DSN {OLD}"],
        ),
        (
            [summary(process(runs=NEW, holds=(OLD,)))],
            {"drained": True},
            [f"pod0: api pid 7 still sends by the DSN {OLD}"],
        ),
        ([summary(process(runs=NEW, holds=(OLD,)))], {}, []),
        (
            [summary(process(runs=NEW, proves=False))],
            {"drained": True},
            ["pod0: api pid 7 may still send by an older DSN"],
        ),
    ],
)
def test_what_keeps_a_fleet_from_being_confirmed(
    told: list[Summary | None], more: dict[str, Any], missing: list[str]
) -> None:
    """Silence is no proof, of a pod, of a process or of a whole fleet."""
    assert judge.lacking(answers(*told), **more) == missing


def test_a_process_that_waits_is_named() -> None:
    """Whatever the others do."""
    late = PodProcess(role="celery", pid=8, state="overdue", runs=OLD)
    told = answers(summary(process(runs=NEW), late))
    assert judge.lacking(told) == ["pod0: celery pid 8 is overdue"]
    assert (
        judge.uses(told)
        == [judge.DsnUse(NEW, 1, 0), judge.DsnUse(OLD, 1, 0)][:: 1 if NEW < OLD else -1]
    )


@pytest.mark.process
def test_the_first_answers_are_read_by_many_threads_at_once() -> None:
    """Each of them making its own decoder would crash the process."""
    ran = subprocess.run([sys.executable, "-c", _MANY], check=False, timeout=60)
    assert ran.returncode == 0


_MANY = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from agent.domain.summary import decode_summary
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(8)
def read(_):
    barrier.wait()
    return decode_summary(b'{"agent":"1","processes":[{"role":"a","pid":1,"state":"x"}]}')
with ThreadPoolExecutor(8) as pool:
    list(pool.map(read, range(8)))
"""


def test_a_throttled_fleet_is_not_calm() -> None:
    """An operator who throttles is at work. A ceiling of the source is none of that."""
    rollout = assess([], None, late=False)
    until = "2026-11-24T06:15:00Z"
    own, given = Ceiling(traces=0.1), Ceiling(traces=0.1, until=until, id="c1")

    def told(*ceilings: Ceiling) -> list[str]:
        summary = summarize("1", Snapshot({}, ceilings=ceilings), rollout)
        read = decode_summary(encode_summary(summary))
        return judge.unrest([Answer(Pod("a", ""), read)])

    assert told(own) == []
    assert told(own, given) == ["a has an operator's ceiling in force"]
