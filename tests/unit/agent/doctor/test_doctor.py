"""Each rule sees its own breakage, and nothing in a set-up that is well."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent._version import __version__
from agent.doctor import facts as gathering
from agent.doctor.bridge_facts import BridgeFacts
from agent.doctor.examine import RULES, _put_under_its_cause, examine
from agent.doctor.facts import Asked, Facts
from agent.doctor.results import Finding
from agent.doctor.rule import Sight, SkippedError
from agent.domain.candidate import Candidate
from agent.domain.guard_rails import allowed_dsn
from agent.domain.rollout import LiveTarget, assess
from agent.domain.value import replace
from agent.domain.wishes import OPERATOR
from agent.errors import (
    CandidateRefused,
    PublishError,
    SettingsError,
    SourceDenied,
    SourceDown,
    SourceMissing,
)
from agent.observe import document, stderr
from agent.observe.arrival import arrive
from agent.observe.results import DsnCheckReport, DsnUseReport, Receiver
from agent.observe.rotation_results import RotationReport
from agent.publish.volume import LOCK_FILE
from agent.settings import Settings
from resentry.answers import Answer
from resentry.contract import (
    Boost,
    Budget,
    Ceiling,
    ErrorRule,
    Holder,
    Receipt,
    Rule,
    Snapshot,
    encode_snapshot,
    fingerprint,
    time_text,
)

NOW = 1_800_000_000.0
RECENT, LONG_AGO = "2027-01-15T07:59:50Z", "2027-01-14T08:00:00Z"
DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"
VALUES = {
    "SENTRY_ENVIRONMENT": "production",
    "SENTRY_RELEASE": "1.0.0",
    "SENTRY_SAMPLE_RATE": 1.0,
    "SENTRY_TRACES_SAMPLE_RATE": 0.1,
}
HELD_VALUES = {"SENTRY_DSN": DSN, **VALUES}
ANSWER = Answer(fingerprint(DSN), "accepted", 200, RECENT, RECENT, accepted=7)
SNAPSHOT = Snapshot(
    settings={"SENTRY_DSN": DSN, **VALUES},
    revision="3f9a1c2b7d04",
    sequence=7,
    published_at=RECENT,
)
RECEIPT = Receipt(
    id="5bd28ef02add94de",
    role="api",
    pid=7,
    pidns=1,
    start_time=2,
    revision=SNAPSHOT.revision,
    sequence=SNAPSHOT.sequence,
    since=RECENT,
    watch="inotify",
    dsn=fingerprint(DSN),
    answers=(ANSWER,),
    values=VALUES,
    origins=dict.fromkeys(VALUES, "snapshot"),
    tally={"parked": 0, "rerouted": 0, "dropped": 0, "unknown": 0, "faults": 0},
    sdk="2.75.0",
    library=__version__,
    dropped={},
)
WELL: dict[str, Any] = {
    **document.NO_PASS,
    "outcome": "unchanged",
    "last_success_at": RECENT,
    "where": {"kind": "vault", "token_ends_at": None},
}
SETTINGS = Settings(
    vault_addr="https://vault.example.org",
    allowed_dsns=(allowed_dsn("production=sentry.example.org/42"),),
    min_targets={"api": 1},
    bridge_integration="bridge",
)
NO_ROTATION = RotationReport()
TUNING = {
    "path": "/tuning",
    "state": "in force",
    "watch": "inotify",
    "keys": ["SENTRY_TRACES_SAMPLE_RATE"],
    "since": RECENT,
}
Make = Callable[..., Facts]
MANAGER = {"name": "am", "success": RECENT, "reason": ""}
CANARY = {"arrived": RECENT, "missing": False, "reason": ""}
BRIDGE: dict[str, Any] = {
    "alertmanagers": [MANAGER],
    "escalations": [{"name": "am", "reason": ""}],
    "canary": CANARY,
    "webhooks": {"issue": {"newest": LONG_AGO, "number": 7}},
    "wrong_signatures": 0,
    "wrong_signature_at": None,
    "store": "",
}


def bridge(why: str = "", **more: Any) -> dict[str, Any]:
    """Give the facts of a bridge that is well, but for what is given."""
    status = None if why else {**BRIDGE, **more}
    return {
        "bridge": BridgeFacts(status, why, ("8.8.8.8",), "", {"bridge": "installed"})
    }


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make the facts of a set-up that is well, but for what is given."""
    directory = tmp_path / "volume"
    (directory / "receipts").mkdir(parents=True)
    directory.chmod(0o750)
    (directory / "receipts").chmod(0o3770)
    (directory / "settings.json").write_bytes(encode_snapshot(SNAPSHOT))

    def facts(  # noqa: PLR0913 - what can be broken
        *,
        snapshot: Snapshot | None = SNAPSHOT,
        receipts: tuple[LiveTarget, ...] = (LiveTarget(RECEIPT, 0),),
        saved: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        agent: Any = "running",
        late: bool = False,
        unknown: str = "",
        rotation: RotationReport | None = NO_ROTATION,
        **more: Any,
    ) -> Facts:
        made = msgspec.structs.replace(
            SETTINGS,
            dir=str(directory),
            **{"environment_place": "x", "rotation_path": "r", **(settings or {})},
        )
        rollout = assess(
            receipts, snapshot, late=late, minimum=made.min_targets, unknown=unknown
        )
        status = document.status(agent, snapshot, rollout, {**WELL, **(saved or {})})
        status = msgspec.structs.replace(status, rotation=rotation)
        asked = Asked(
            candidate=Candidate(HELD_VALUES),
            surplus=(),
            is_renewable=True,
            clock_seconds=0.2,
        )
        environ = {"RESENTRY_ENVIRONMENT": "production"}
        given = {"asked": asked, "environ": environ, **more}
        return Facts(made, status, rollout, snapshot, NOW, **given)

    return facts


def receipt(**values: Any) -> tuple[LiveTarget, ...]:
    return (LiveTarget(RECEIPT._replace(**values), 0),)


def answered(kind: str, status: int | None) -> tuple[LiveTarget, ...]:
    return receipt(answers=(ANSWER._replace(kind=kind, status=status),))


def running(**values: Any) -> tuple[LiveTarget, ...]:
    return receipt(values={**VALUES, **values})


def published(**values: Any) -> Snapshot:
    return replace(SNAPSHOT, settings={**SNAPSHOT.settings, **values})


def counted(**counts: int) -> tuple[LiveTarget, ...]:
    return receipt(tally={**RECEIPT.tally, **counts})


def failed(error: type[Exception], **more: Any) -> dict[str, Any]:
    return {"outcome": "failed", "error": error.__name__, "sentence": "why", **more}


BEHIND = receipt(revision="000000000000", sequence=6)
REFUSES = receipt(
    revision="000000000000",
    sequence=6,
    refused=(SNAPSHOT.revision, SNAPSHOT.sequence),
    error="SENTRY_DSN is required",
)
OTHER = RECEIPT._replace(id="0" * 16, pid=8)
BOOST = Boost("b1", 1.0, time_text(time.time() + 7200, "seconds"))
LATER = time_text(NOW + 7200, "seconds")
TYPO = Ceiling(traces=0.1, match="GET /typo")
CHECK = DsnCheckReport(
    dsn="sentry.example.org/42",
    verdict="rejected",
    settled=True,
    since=RECENT,
    answers=3,
    sentence="rejected",
    fingerprint=fingerprint(DSN),
)
RECEIVER = Receiver(
    receiver="hook.example.org",
    revision=None,
    sequence=0,
    failures=3,
    error="status 500",
    since=RECENT,
)
HELD = {"SENTRY_DSN": {"source": "operator", "held": "3f9a1c2b7d04"}}

LEFT: dict[str, Any] = {
    "rotation": "r1",
    "secret": "s",
    "phase": "written",
    "has_ended": False,
}

BREAKAGES: dict[str, dict[str, Any]] = {
    "RSN101": {"settings_error": SettingsError("RESENTRY_X: is wrong"), "asked": None},
    "RSN102": {"warnings": ("RESENTRY_POL is not known",)},
    "RSN103": {"environ": {}},
    "RSN201": {"asked": Asked(SourceDown("refused"), clock_seconds=0.1)},
    "RSN202": {"asked": Asked(SourceDenied("permission denied"), clock_seconds=0.1)},
    "RSN203": {"saved": {"last_success_at": LONG_AGO}},
    "RSN204": {"saved": {"where": {"stale_since": RECENT}}},
    "RSN205": {"settings": {"vault_insecure_skip_tls_verify": True}},
    "RSN206": {
        "asked": Asked(
            candidate=Candidate(HELD_VALUES),
            surplus=("update on x",),
            clock_seconds=0.1,
        )
    },
    "RSN207": {
        "asked": Asked(
            Candidate(HELD_VALUES),
            surplus=(),
            is_renewable=False,
            token_ends_at=RECENT,
            clock_seconds=0.1,
        ),
    },
    "RSN251": {"rotation": RotationReport(**LEFT, held="no answer")},
    "RSN252": {"rotation": RotationReport(**LEFT)},
    "RSN971": bridge(why="no answer"),
    "RSN972": {
        **bridge(),
        "settings": {"bridge_url": "https://10.0.0.7/sentry"},
    },
    "RSN973": bridge(wrong_signatures=3, wrong_signature_at=RECENT),
    "RSN974": bridge(canary=None, webhooks={}),
    "RSN975": bridge(canary={**CANARY, "missing": True}),
    "RSN976": {**bridge(), "settings": {"bridge_integration": "another"}},
    "RSN977": bridge(alertmanagers=[{**MANAGER, "reason": "HTTP status 500"}]),
    "RSN978": bridge(escalations=[{"name": "am", "reason": "HTTP status 405"}]),
    "RSN979": bridge(store="database is locked"),
    "RSN980": bridge(canary=None),
    "RSN301": {"asked": Asked(SourceMissing("none"), surplus=(), clock_seconds=0.1)},
    "RSN302": {
        "asked": Asked(
            candidate=Candidate({**HELD_VALUES, "SENTRY_SAMPLE_RATE": "2"}),
            surplus=(),
            clock_seconds=0.1,
        )
    },
    "RSN303": {"saved": {"notes": ["other keys ignored: 2"]}},
    "RSN304": {"snapshot": replace(SNAPSHOT, settings=VALUES)},
    "RSN401": {"settings": {"rate_caps": {"production": 0.05}}, "asked": None},
    "RSN402": {"settings": {"allowed_dsns": ()}},
    "RSN403": {
        "asked": None,
        "settings": {"environment": "staging"},
        "snapshot": published(SENTRY_ENVIRONMENT="staging", SENTRY_DSN=""),
    },
    "RSN501": {"snapshot": None},
    "RSN502": {"agent": "not running"},
    "RSN505": {"saved": failed(PublishError)},
    "RSN507": {"saved": {"notify": [msgspec.to_builtins(RECEIVER)]}},
    "RSN508": {"agent": "not responding"},
    "RSN601": {"receipts": (), "settings": {"min_targets": {}}},
    "RSN602": {"receipts": BEHIND, "late": True},
    "RSN603": {"receipts": REFUSES},
    "RSN604": {
        "receipts": (*receipt(), LiveTarget.unreadable("1" * 16, 9, "none was written"))
    },
    "RSN605": {"receipts": receipt(error="can't read /var/run/resentry: EACCES")},
    "RSN606": {"settings": {"min_targets": {"api": 3}}},
    "RSN607": {"snapshot": replace(SNAPSHOT, rules=(Rule("GET /", 0.1, "apo"),))},
    "RSN608": {"receipts": receipt(holders=(Holder("otlp", "e0a4d7719c52"),))},
    "RSN609": {"receipts": receipt(foreign=True)},
    "RSN610": {"receipts": receipt(problems=("the option dsn is ignored",))},
    "RSN611": {"receipts": receipt(watch="stat")},
    "RSN612": {"receipts": counted(faults=2)},
    "RSN613": {"receipts": receipt(before={"seconds": 75})},
    "RSN614": {"saved": {"ends": {"api": 3}}},
    "RSN701": {"receipts": answered("refused", 403)},
    "RSN702": {"receipts": answered("limited", 429)},
    "RSN703": {"receipts": answered("unreached", None)},
    "RSN704": {"receipts": answered("failed", 503)},
    "RSN705": {"receipts": counted(dropped=2)},
    "RSN706": {"receipts": counted(parked=2)},
    "RSN707": {"receipts": receipt(answers=(ANSWER._replace(accepted_at=LONG_AGO),))},
    "RSN801": {"receipts": running(SENTRY_SAMPLE_RATE=0.0)},
    "RSN802": {"receipts": running(SENTRY_TRACES_SAMPLE_RATE=None)},
    "RSN803": {"receipts": running(SENTRY_TRACES_SAMPLE_RATE=1.0)},
    "RSN804": {"snapshot": replace(SNAPSHOT, boosts=(BOOST,))},
    "RSN805": {
        "receipts": receipt(
            role="celery", values={**VALUES, "SENTRY_ENABLE_FOR_CELERY": False}
        ),
        "settings": {"min_targets": {}},
    },
    "RSN806": {"snapshot": replace(SNAPSHOT, provenance=HELD)},
    "RSN807": {
        "receipts": (
            *receipt(),
            LiveTarget(OTHER._replace(values={**VALUES, "SENTRY_SAMPLE_RATE": 0.5}), 0),
        )
    },
    "RSN808": {
        "snapshot": replace(SNAPSHOT, rules=(Rule("GET /a", 0.1), Rule("GET /b", 0.1))),
        "receipts": receipt(decided=100, matched="2"),
    },
    "RSN809": {
        "snapshot": replace(SNAPSHOT, ceilings=(TYPO,)),
        "receipts": receipt(decided=100, decided_errors=0),
    },
    "RSN810": {
        "snapshot": replace(SNAPSHOT, errors=(ErrorRule(logger="a", rate=0.1),)),
        "receipts": receipt(decided_errors=100, matched_errors="2"),
    },
    "RSN811": {
        "snapshot": replace(SNAPSHOT, ceilings=(Ceiling(0.1, until=LATER, id="c1"),)),
    },
    "RSN812": {
        "saved": {
            "tuning": TUNING,
            "problems": [
                {
                    "setting": "RESENTRY_TUNING_PATH",
                    "what": "the tuning file /tuning is not in force: SENTRY_DSN must not",
                    "hint": "correct the tuning file",
                }
            ],
        }
    },
    "RSN813": {
        "saved": {"tuning": TUNING},
        "snapshot": replace(
            SNAPSHOT,
            roles={"api": {"SENTRY_TRACES_SAMPLE_RATE": 0.2}},
            provenance={"SENTRY_TRACES_SAMPLE_RATE": {"source": "tuning"}},
        ),
    },
    "RSN956": {
        "snapshot": replace(SNAPSHOT, budgets=(Budget(60),)),
        "receipts": receipt(dropped=None),
    },
    "RSN851": {
        "asked": None,
        "snapshot": published(SENTRY_SEND_PII=True, SENTRY_ENVIRONMENT="staging"),
        "settings": {"environment": "staging", "allowed_dsns": ()},
    },
    "RSN852": {
        "asked": None,
        "snapshot": published(
            SENTRY_DSN=DSN.replace("https", "http"), SENTRY_ENVIRONMENT="staging"
        ),
        "settings": {"environment": "staging", "allowed_dsns": ()},
    },
    "RSN901": {
        "asked": Asked(
            candidate=Candidate(HELD_VALUES), surplus=(), clock_seconds=-300.0
        )
    },
    "RSN951": {"receipts": receipt(sdk="3.1.0 is not supported (>=2.43,<3): x")},
    "RSN952": {"receipts": receipt(library="0.9.0")},
    "RSN953": {"receipts": receipt(ignored=("rules.parent",))},
    "RSN955": {"receipts": receipt(sdk="2.58.0", parent="0" * 16)},
    "RSN954": {
        "receipts": (
            *receipt(),
            LiveTarget(OTHER._replace(values={**VALUES, "SENTRY_RELEASE": "2.0.0"}), 0),
        )
    },
}
ELSEWHERE = {"RSN503", "RSN504", "RSN506", "RSN509"}
"""They look at the file system: tested below."""
BESIDE = {"RSN402": ("RSN851", "RSN852"), "RSN980": ("RSN974",)}
"""Rules that see something of another breakage, too."""


def problems(findings: list[Finding]) -> dict[str, Finding]:
    return {f.id: f for f in findings if f.verdict == "problem"}


def test_a_set_up_that_is_well_has_no_finding(make: Make) -> None:
    """Nothing is unknown either."""
    findings = examine(make())
    assert problems(findings) == {}
    assert [f.id for f in findings if f.verdict == "unknown"] == []
    assert {f.id for f in findings} == RULES.keys()


def test_a_role_whose_processes_have_ended_had_some(make: Make) -> None:
    """RSN601 names the last process, and not the mounts."""
    gone = {"role": "api", "name": "api pid 7", "ended_at": RECENT}
    facts = make(**BREAKAGES["RSN601"], saved={"last_processes": [gone]})
    finding = problems(examine(facts))["RSN601"]
    assert f"api pid 7 ended at {RECENT}" in finding.detail
    assert finding.since == RECENT
    assert "see why it ended" in finding.fix


@pytest.mark.parametrize("id_", BREAKAGES)
def test_a_rule_sees_its_own_breakage(make: Make, id_: str) -> None:
    """No other rule sees it, unless it follows from it or stands beside it."""
    seen = problems(examine(make(**BREAKAGES[id_])))
    assert id_ in seen
    assert seen[id_].follows_from is None
    roots = {other for other, f in seen.items() if f.follows_from is None} - {id_}
    assert roots <= {other for other, ids in BESIDE.items() if id_ in ids}
    assert all((seen[id_].subject, seen[id_].detail, seen[id_].fix))


def test_every_rule_has_a_breakage_and_a_text() -> None:
    """Ids and names are unique; causes exist; nothing is its own cause."""
    assert BREAKAGES.keys() | ELSEWHERE == RULES.keys()
    names = [rule.name for rule in RULES.values()]
    assert len(names) == len(set(names)) >= 30
    for rule in RULES.values():
        assert "Wake " in rule.text
        assert rule.fix.count("`") % 2 == 0
        assert set(rule.causes) < RULES.keys() - {rule.id}


def test_no_breakage_is_shared(make: Make) -> None:
    """Two ids never stand for the same thing."""
    seen = [
        frozenset(
            i for i, f in problems(examine(make(**b))).items() if not f.follows_from
        )
        for b in BREAKAGES.values()
    ]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({"settings": {"rotation_path": ""}}, "skipped"),
        ({"asked": None}, "skipped"),  # --offline
        ({"rotation": None}, "unknown"),
        ({"rotation": RotationReport(error="permission denied")}, "unknown"),
        ({"rotation": RotationReport(**LEFT, holder="job pid 7")}, "ok"),
    ],
)
def test_a_rotation_that_nobody_has_seen_is_unknown(
    make: Make, given: dict[str, Any], verdict: str
) -> None:
    """Unless nobody asked for it; and one that is carried on is well."""
    found = {f.id: f.verdict for f in examine(make(**given))}
    assert (found["RSN251"], found["RSN252"]) == (verdict, verdict)


@pytest.mark.parametrize("id_", ["RSN251", "RSN252"])
def test_a_rotation_of_a_leaked_key_is_urgent(make: Make, id_: str) -> None:
    """The old key lives on meanwhile."""
    rotation = BREAKAGES[id_]["rotation"]
    assert problems(examine(make(rotation=rotation)))[id_].severity == "warning"
    leaked = msgspec.structs.replace(rotation, deadline=RECENT)
    assert problems(examine(make(rotation=leaked)))[id_].severity == "error"


def test_a_verdict_of_the_dsn_check_counts(make: Make) -> None:
    """Also before any process has sent anything."""
    saved = {"dsn_checks": [msgspec.to_builtins(CHECK)]}
    found = problems(examine(make(saved=saved, receipts=receipt(answers=()))))
    assert found.keys() == {"RSN701"}
    found = problems(examine(make(saved=saved, receipts=())))
    assert "RSN701" in found


@pytest.mark.parametrize(
    ("verdict", "accepted_at", "unreached", "stage"),
    [
        ("unknown", LONG_AGO, "unknown", "unknown"),
        ("unknown", RECENT, "ok", "ok"),
        ("rejected", LONG_AGO, "ok", "broken"),
    ],
)
def test_a_dsn_check_without_a_good_verdict_counts(
    make: Make, verdict: Any, accepted_at: str, unreached: str, stage: str
) -> None:
    """A process that was answered well before proves nothing of now."""
    check = msgspec.structs.replace(
        CHECK, verdict=verdict, since="2027-01-15T07:00:00Z"
    )
    use = DsnUseReport(
        dsn=CHECK.dsn,
        fingerprint=CHECK.fingerprint,
        processes={"accepted": 1},
        since=None,
        accepted_at=accepted_at,
        sentence="accepted",
        hint="",
    )
    facts = make(saved={"dsn_checks": [msgspec.to_builtins(check)]})
    status = msgspec.structs.replace(facts.status, dsns=[use])
    findings = examine(replace(facts, status=status))
    assert [f.verdict for f in findings if f.id == "RSN703"] == [unreached]
    assert arrive(status).state == stage


@pytest.mark.parametrize(
    ("breakage", "follows", "cause"),
    [
        ({"asked": Asked(SourceDown("x")), "snapshot": None}, "RSN501", "RSN201"),
        (
            {**BREAKAGES["RSN201"], "saved": {"last_success_at": LONG_AGO}},
            "RSN203",
            "RSN201",
        ),
        (
            {
                "receipts": (
                    LiveTarget(
                        RECEIPT._replace(
                            answers=(ANSWER._replace(kind="refused", status=403),),
                            tally={**RECEIPT.tally, "dropped": 3},
                        ),
                        0,
                    ),
                )
            },
            "RSN705",
            "RSN701",
        ),
    ],
)
def test_what_follows_is_put_below_its_cause(
    make: Make, breakage: dict[str, Any], follows: str, cause: str
) -> None:
    """One fault is one finding to read."""
    assert problems(examine(make(**breakage)))[follows].follows_from == cause


def test_offline_the_last_pass_tells_of_the_secret(make: Make) -> None:
    """The agent has refused it, and says why."""
    saved = failed(CandidateRefused, outcome="refused")
    assert problems(examine(make(saved=saved, asked=None))).keys() == {"RSN302"}


@pytest.mark.parametrize("is_copy", [False, True])
@pytest.mark.parametrize(
    ("error", "rule"),
    [(SourceDown, "RSN201"), (SourceDenied, "RSN202"), (SourceMissing, "RSN301")],
)
def test_offline_the_last_pass_tells_of_an_outage(
    make: Make, error: type[Exception], rule: str, *, is_copy: bool
) -> None:
    """The page asks no server either, and a copied volume has none."""
    saved = failed(error, since=RECENT, failures=3)
    facts = make(saved=saved, asked=None, is_copy=is_copy)
    finding = problems(examine(facts))[rule]
    assert finding.detail.startswith("why")
    assert finding.since == RECENT


def test_the_source_is_corrected_before_a_rollback_ends(make: Make) -> None:
    """What the source still holds would be published again."""
    snapshot = replace(SNAPSHOT, provenance=HELD)
    paths = {"vault_paths": ("secret/data/lms",)}
    undone = {"held": SNAPSHOT.revision, "undone": ["SENTRY_DSN"]}
    facts = make(snapshot=snapshot, saved=undone, settings=paths)
    finding = problems(examine(facts))["RSN806"]
    assert "what was undone still stands there: SENTRY_DSN" in finding.detail
    assert finding.fix == (
        "vault kv patch -mount=secret lms SENTRY_DSN=VALUE; then: resentry-agent refresh"
    )
    stages = {stage.stage: stage for stage in facts.status.chain}
    assert stages["publish"].hint.startswith("correct SENTRY_DSN at the source")
    rate = "SENTRY_TRACES_SAMPLE_RATE"
    tuned = {**undone, "undone": ["SENTRY_DSN", rate], "tuning": TUNING}
    facts = make(snapshot=snapshot, saved=tuned, settings=paths)
    assert problems(examine(facts))["RSN806"].fix == (
        f"write {rate}=VALUE to the tuning file, /tuning; "
        "vault kv patch -mount=secret lms SENTRY_DSN=VALUE; then: resentry-agent refresh"
    )
    tuned["undone"] = [f"{rate} of role api", f"{rate} of role celery"]
    tuned["tuning"] = {**TUNING, "roles": {"api": [rate]}}
    facts = make(snapshot=snapshot, saved=tuned, settings=paths)
    assert problems(examine(facts))["RSN806"].fix == (
        f"correct {rate} of role api in the tuning file; "
        f"correct {rate} of role celery at the source; then: resentry-agent refresh"
    )


@pytest.mark.parametrize(
    ("more", "is_high"),
    [
        ({"ceilings": (Ceiling(traces=0.1),)}, False),
        ({"ceilings": (Ceiling(traces=0.9),)}, True),
        ({"ceilings": (Ceiling(traces=0.1, match="GET /*"),)}, True),
        ({"ceilings": (Ceiling(traces=0.1, role="celery"),)}, True),
        ({"ceilings": (Ceiling(errors=0.1),)}, True),
        ({"budgets": (Budget(transactions=60),)}, False),
        ({"budgets": (Budget(errors=60),)}, True),
    ],
)
def test_a_high_rate_is_bounded_by_a_ceiling_or_a_budget(
    make: Make, more: dict[str, Any], *, is_high: bool
) -> None:
    facts = make(**BREAKAGES["RSN803"], snapshot=replace(SNAPSHOT, **more))
    assert ("RSN803" in problems(examine(facts))) == is_high


LMS = {"source": "vault", "path": "secret/data/lms", "version": 1}
LMS_ONLY = {"vault_paths": ("secret/data/lms",)}


def test_what_is_to_be_typed_loses_no_key(make: Make) -> None:
    """A deleted version is undeleted; a missing secret is written with all its keys."""
    snapshot = replace(SNAPSHOT, provenance={"SENTRY_DSN": LMS, "SENTRY_RELEASE": LMS})
    origins = {"RESENTRY_CEILINGS": OPERATOR, "SENTRY_DSN": {"source": "file"}}
    facts = make(
        asked=Asked(SourceMissing("/etc/lms.env"), surplus=()),
        snapshot=replace(SNAPSHOT, provenance=origins),
        settings={"source_path": "/etc/lms.env"},
    )
    assert facts.write_anew("") == "write SENTRY_DSN to /etc/lms.env"
    undelete = "vault kv undelete -mount=secret -versions=4 lms"
    for hint, fix in (
        (undelete, undelete),
        ("", "vault kv put -mount=secret lms SENTRY_DSN=VALUE SENTRY_RELEASE=VALUE"),
    ):
        asked = Asked(SourceMissing("nothing at secret/data/lms", hint), surplus=())
        facts = make(asked=asked, snapshot=snapshot, settings=LMS_ONLY)
        assert problems(examine(facts))["RSN301"].fix == fix


def test_a_refused_version_can_be_rolled_back(make: Make) -> None:
    """Both versions are named, and since when it is refused."""
    snapshot = replace(SNAPSHOT, provenance={"SENTRY_DSN": LMS})
    values = {**HELD_VALUES, "SENTRY_SAMPLE_RATE": "2"}
    read = Candidate(values, {"SENTRY_DSN": {**LMS, "version": 2}})
    saved = failed(CandidateRefused, since=RECENT)
    asked = Asked(candidate=read, surplus=())
    facts = make(asked=asked, snapshot=snapshot, settings=LMS_ONLY, saved=saved)
    finding = problems(examine(facts))["RSN302"]
    assert finding.fix.endswith(
        "vault kv rollback -version=1 -mount=secret lms && resentry-agent refresh"
    )
    assert finding.evidence == ["secret/data/lms: version 2 is new, 1 was good"]
    assert finding.since == RECENT


@pytest.mark.process
def test_a_stopped_process_is_told_to_go_on(make: Make) -> None:
    """Where its state can be seen. kubectl is named in a pod only."""
    with subprocess.Popen(["sleep", "60"]) as process, ExitStack() as stack:
        stack.callback(process.kill)
        own = {"pid": process.pid, "pidns": os.stat("/proc/self/ns/pid").st_ino}
        behind = receipt(revision="000000000000", sequence=6, **own)

        def finding(**more: Any) -> Finding:
            facts = make(receipts=behind, late=True, **more)
            return problems(examine(facts))["RSN602"]

        assert "kubectl" not in finding().fix
        environ = {"KUBERNETES_SERVICE_HOST": "x", "RESENTRY_ENVIRONMENT": "production"}
        assert "kubectl" in finding(environ=environ).fix
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert finding().fix == f"kill -CONT {process.pid}"
        assert finding().since == SNAPSHOT.published_at


@pytest.mark.process
def test_a_stopped_agent_is_found_by_its_lock(make: Make) -> None:
    """The lock tells its pid."""
    directory = Path(make().settings.dir)
    (directory / "agent").mkdir()
    program = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'w');"
        "fcntl.lockf(file, fcntl.LOCK_EX); print('locked', flush=True); time.sleep(60)"
    )
    path = f"{directory}/{LOCK_FILE}"
    command = [sys.executable, "-c", program, path]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        fix = problems(examine(make(agent="not responding")))["RSN508"].fix
    assert fix == f"kill -CONT {process.pid}"


def test_what_the_cause_hides_is_not_unknown(make: Make) -> None:
    """Vault does not answer: that is said once."""
    findings = examine(make(asked=Asked(SourceDown("refused"))))
    assert [f.id for f in findings if f.verdict == "unknown"] == []


def test_what_nobody_can_tell_is_unknown(make: Make) -> None:
    """A check that could not run never counts as passed."""
    directory = Path(make().settings.dir)
    (directory / "agent").mkdir()
    (directory / "agent" / "lock").touch()
    findings = examine(
        make(
            why_unknown="no right",
            asked=Asked(candidate=Candidate(HELD_VALUES)),
            agent="unknown",
        )
    )
    unknown = {f.id for f in findings if f.verdict == "unknown"}
    assert unknown == {"RSN206", "RSN502", "RSN901"}


def test_offline_skips_what_needs_the_source(make: Make) -> None:
    """It says so, and asks nobody."""
    findings = {f.id: f for f in examine(make(asked=None))}
    assert findings["RSN201"].verdict == "skipped"
    assert "--offline" in findings["RSN201"].detail


def test_an_area_is_examined_alone(make: Make) -> None:
    """Its rules, all of them, and no other."""
    findings = examine(make(), ["sentry"])
    assert {f.area for f in findings} == {"sentry"}
    assert len(findings) == sum(rule.area == "sentry" for rule in RULES.values())


def test_a_rule_that_fails_hides_no_other(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is unknown, and the traceback is on standard error, for a bug report.

    The daemon examines, too: nobody waits for standard error, and no secret gets there.
    """
    said: list[str] = []
    monkeypatch.setattr(stderr, "say", said.append)

    def look(_facts: Facts) -> list[Sight]:
        raise IndexError("https://c0ffee@sentry.example.org/42")

    broken = RULES["RSN201"]._replace(look=look)
    monkeypatch.setitem(RULES, "RSN201", broken)
    findings = {f.id: f for f in examine(make(agent="not running"))}
    assert findings["RSN201"].verdict == "unknown"
    assert "IndexError" in findings["RSN201"].detail
    assert findings["RSN502"].verdict == "problem"
    (text,) = said
    assert "IndexError" in text
    assert "c0ffee" not in text


def test_a_volume_without_group_rights_is_seen(make: Make) -> None:
    """Mode 0700 keeps every application out."""
    facts = make()
    os.chmod(facts.settings.dir, 0o700)
    assert problems(examine(facts)).keys() == {"RSN504"}


def test_a_volume_of_another_group_is_seen(make: Make) -> None:
    """RESENTRY_GROUP names one group, and the directories have another one."""
    facts = make(settings={"group": "54322"})
    seen = problems(examine(facts))
    assert seen.keys() == {"RSN504"}
    assert "54322" in seen["RSN504"].detail


def test_what_the_agent_meets_at_an_unreached_server_is_shown(make: Make) -> None:
    """So it can be told whether the network of one container is at fault."""
    tried = {fingerprint(DSN): "from the agent: no such name (DNS)"}
    facts = make(receipts=answered("unreached", None), tried=tried)
    evidence = problems(examine(facts))["RSN703"].evidence
    assert evidence == ["from the agent: no such name (DNS)", "api pid 7"]


def test_a_volume_that_is_nearly_full_is_seen(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than 4 MiB and less than a twentieth are free. Full, it is an error."""
    room = os.statvfs("/")
    for blocks, inodes, severity in (
        (9, 9, "warning"),
        (1, 9, "error"),
        (9, 0, "error"),
    ):
        left = (4096, 4096, 1000, blocks, blocks, 1000, inodes, inodes, *room[8:])
        given = os.statvfs_result(left)
        monkeypatch.setattr(os, "statvfs", lambda _, given=given: given)
        found = problems(examine(make()))
        assert found.keys() == {"RSN506"}
        assert found["RSN506"].severity == severity


def test_an_agent_that_waits_for_another_is_seen(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be looked at is unknown."""
    monkeypatch.setattr("agent.publish.lock.Lock.has_rival", lambda _: True)
    assert problems(examine(make())).keys() == {"RSN509"}
    monkeypatch.setattr("agent.publish.lock.Lock.has_rival", lambda _: None)
    assert [f.id for f in examine(make()) if f.verdict == "unknown"] == ["RSN509"]


@pytest.mark.parametrize(
    ("decided", "matched", "is_problem"),
    [(100, "0", True), (10, "0", False), (1000, "1", False), (None, "", False)],
)
def test_a_rule_counts_as_unmatched_only_after_enough_traces(
    make: Make, decided: int | None, matched: str, *, is_problem: bool
) -> None:
    """A library that does not tell is no proof."""
    facts = make(
        snapshot=replace(SNAPSHOT, rules=(Rule("GET /a", 0.1),)),
        receipts=receipt(decided=decided, matched=matched),
    )
    assert ("RSN808" in problems(examine(facts))) is is_problem


@pytest.mark.parametrize(
    ("ceilings", "told", "is_problem"),
    [
        ((TYPO,), {"decided": 100, "decided_errors": 0}, True),
        ((TYPO,), {"decided": 10, "decided_errors": 100}, False),
        ((TYPO,), {"decided": 100, "decided_errors": None}, False),
        ((Ceiling(0.9), TYPO), {"decided": 100, "decided_errors": 0}, True),
        ((Ceiling(0.01, id="c1"), TYPO), {"decided": 100, "decided_errors": 0}, False),
        ((Ceiling(errors=0.1, match="*pay"),), {"decided_errors": 100}, True),
        ((Ceiling(0.1), TYPO._replace(until=RECENT)), {"decided": 100}, False),
        (
            (Ceiling(0.9), TYPO),
            {"decided": 100, "decided_errors": 0, "matched_ceilings": "2"},
            False,
        ),
    ],
)
def test_a_ceiling_counts_as_unmatched_only_if_it_could_have_matched(
    make: Make, ceilings: Any, told: dict[str, Any], *, is_problem: bool
) -> None:
    """A lower ceiling for everything hides it; one that has ended is none."""
    facts = make(
        snapshot=replace(SNAPSHOT, ceilings=ceilings), receipts=receipt(**told)
    )
    assert ("RSN809" in problems(examine(facts))) is is_problem


def test_a_role_that_the_tuning_file_names_hides_no_other_role(make: Make) -> None:
    """The file gives api a rate of its own, and celery still has that of the source."""
    rate = "SENTRY_TRACES_SAMPLE_RATE"
    roles = {"api": {rate: 0.2}, "celery": {rate: 0.3}}
    origins = {rate: {"source": "tuning"}, "RESENTRY_ROLES": {"tuning": "/tuning"}}
    facts = make(
        snapshot=replace(SNAPSHOT, roles=roles, provenance=origins),
        saved={"tuning": {**TUNING, "roles": {"api": [rate]}}},
    )
    found = [each for each in examine(facts) if each.id == "RSN813"]
    assert [each.subject for each in found] == ["role celery"]


def test_what_is_wrong_in_one_process_is_no_cause_in_another(make: Make) -> None:
    """Two processes do not follow: one is mounted by subPath, the other is not."""
    alone = RECEIPT._replace(revision=None, sequence=0, error="x (subPath)")
    behind = OTHER._replace(revision="000000000000", sequence=6)
    targets = (LiveTarget(alone, 0), LiveTarget(behind, 0))
    findings = [f for f in examine(make(receipts=targets, late=True)) if f.subject]
    by_subject = {f.subject: f.follows_from for f in findings if f.id == "RSN602"}
    assert by_subject == {"api pid 7": "RSN503", "api pid 8": None}


def test_a_cause_in_another_area_is_named_all_the_same(make: Make) -> None:
    """The area that was asked for does not have it."""
    facts = make(snapshot=None, agent="not running")
    findings = examine(facts, ["volume"])
    assert {f.id for f in findings} == {
        rule.id for rule in RULES.values() if rule.area == "volume"
    }
    facts = make(**BREAKAGES["RSN301"], agent="running", snapshot=None)
    (nothing,) = [f for f in examine(facts, ["volume"]) if f.id == "RSN501"]
    assert nothing.follows_from == "RSN301"


def test_an_area_that_could_not_be_examined_is_unknown(make: Make) -> None:
    """Vault is down, which is in another area: nobody says so, and nothing is ok."""
    facts = make(asked=Asked(SourceDown("refused")))
    (clock,) = examine(facts, ["clock"])
    assert clock.verdict == "unknown"
    (both,) = [f for f in examine(facts, ["clock", "vault"]) if f.id == "RSN901"]
    assert both.verdict == "skipped"


def test_a_cause_that_fails_nothing_hides_nothing(make: Make) -> None:
    """RSN607 is a warning: with the default --fail-on the command would exit with 0."""
    finding = examine(make())[0]
    finding.verdict, finding.depends_on = "unknown", ["RSN607"]
    _put_under_its_cause(finding, {"RSN607": [finding]}, frozenset(), ())
    assert finding.verdict == "unknown"


@pytest.mark.parametrize("receipts", [(LiveTarget(RECEIPT, 0),), ()])
def test_what_only_a_part_of_the_receipts_tells_is_unknown(
    make: Make, receipts: tuple[LiveTarget, ...]
) -> None:
    """The process that has the problem may be one that was not read."""
    findings = examine(make(receipts=receipts, unknown="holds too many files"))
    unknown = {f.id for f in findings if f.verdict == "unknown"}
    of_receipts = {
        id_
        for id_, breakage in BREAKAGES.items()
        if {"receipts"} == breakage.keys() - {"settings", "late"}
    }
    assert of_receipts <= unknown
    assert problems(findings) == {}


def test_what_a_part_of_the_receipts_shows_is_a_problem(make: Make) -> None:
    """The rule is unknown for the others."""
    facts = make(receipts=answered("refused", 403), unknown="holds too many files")
    verdicts = [f.verdict for f in examine(facts) if f.id == "RSN701"]
    assert verdicts == ["problem", "unknown"]


def test_no_cause_leads_back_to_itself() -> None:
    """Else both would stand below the other, and nobody would see them."""

    def causes(id_: str, seen: tuple[str, ...]) -> None:
        assert id_ not in seen, seen
        for cause in RULES[id_].causes:
            causes(cause, (*seen, id_))

    for id_ in RULES:
        causes(id_, ())


def test_nothing_is_ok_that_was_not_examined(make: Make) -> None:
    """Without an agent, a snapshot, processes or an answer only the settings are known."""
    facts = make(
        snapshot=None,
        receipts=(),
        saved=document.NO_PASS,
        settings={"min_targets": {}},
        rotation=RotationReport(error="refused"),
        agent="not running",
        asked=Asked(SourceDown("refused"), clock_seconds=0.0),
    )
    shutil.rmtree(facts.settings.dir)
    findings = examine(facts)
    of_settings = {"RSN101", "RSN102", "RSN103", "RSN205", "RSN402", "RSN403", "RSN901"}
    assert {f.id for f in findings if f.verdict == "ok"} == of_settings | {"RSN509"}


def test_a_mount_by_subpath_is_seen(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is a mount of its own."""
    monkeypatch.setattr("agent.doctor.about_volume.is_mounted_alone", lambda _: True)
    assert problems(examine(make())).keys() == {"RSN503"}


def test_the_source_is_asked_as_a_pass_asks(tmp_path: Path) -> None:
    """Of a mounted source there are no rights to know."""
    (tmp_path / "SENTRY_DSN").write_text(DSN)
    asked = gathering.ask_source(Settings(source_path=str(tmp_path)))
    assert asked.candidate is not None
    assert asked.candidate.values == {"SENTRY_DSN": DSN}
    gone = gathering.ask_source(Settings(source_path=f"{tmp_path}/gone"))
    assert gone.error is not None


def test_a_time_that_is_none_is_no_age(make: Make) -> None:
    """An odd text of an older agent ends no examination."""
    assert make().seconds_since(None) is None
    assert make().seconds_since("yesterday") is None
    with pytest.raises(SkippedError):
        _ = make(snapshot=None).published
