"""`explain`: by the published snapshot, and by the rates that processes run."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from agent.cli import group
from agent.confirm.receipts import Receipts
from agent.domain.rollout import LiveTarget
from agent.domain.value import replace
from resentry.contract import (
    Budget,
    Ceiling,
    ErrorRule,
    Receipt,
    Rule,
    Snapshot,
    revision_of,
)

if TYPE_CHECKING:
    from agent.publish.volume import Volume

Ask = Callable[..., Any]
Make = Callable[..., Receipt]
RULES = (Rule("GET /pay*", 0.5), Rule("GET /pay", 0.9, role="celery"))
ERRORS = (ErrorRule("builtins.LookupError", rate=0.25, per_minute=5),)


@pytest.fixture
def ask(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Publish a snapshot, let these processes run, and explain."""

    def asked(
        snapshot: Snapshot | None, receipts: list[Receipt], *words: str, code: int = 0
    ) -> Any:
        if snapshot is not None:
            snapshot = replace(snapshot, revision=revision_of(snapshot))
            volume.publish(snapshot)
            receipts = [
                each._replace(revision=each.revision or snapshot.revision)
                for each in receipts
            ]
        monkeypatch.setattr(
            Receipts, "read", lambda _: [LiveTarget(each, uid=0) for each in receipts]
        )
        given = ["explain", *words, "--dir", volume.directory, "--json"]
        ran = CliRunner().invoke(group, given, standalone_mode=True)
        assert ran.exit_code == code, ran.output
        return ran if code else json.loads(ran.stdout)["result"]["explained"]

    return asked


@pytest.fixture
def receipt(receipt: Make) -> Make:
    """A process has a DSN."""
    return partial(receipt, dsn="https://sentry.example.org/1")


def _values(rate: float) -> dict[str, Any]:
    return {"SENTRY_TRACES_SAMPLE_RATE": rate, "SENTRY_SAMPLE_RATE": 1.0}


def _short(found: list[dict[str, Any]]) -> list[Any]:
    names = ("role", "processes", "decided_by", "rate", "sure")
    return [tuple(each[name] for name in names) for each in found]


def test_each_role_and_each_rate_is_explained(
    ask: Ask, receipt: Callable[..., Receipt]
) -> None:
    """What processes run counts, not what the source says."""
    snapshot = Snapshot({}, rules=RULES, ceilings=(Ceiling(traces=0.4),))
    running = [
        receipt(values=_values(0.1)),
        receipt(values=_values(0.1)),
        receipt(values=_values(0.3)),
        receipt(role="celery", values=_values(0.2), dropped={}),
    ]
    found = ask(snapshot, running, "POST /pay")
    assert _short(found) == [
        ("api", 2, "rate", 0.1, False),
        ("api", 1, "rate", 0.3, False),
        ("celery", 1, "rate", 0.2, False),
    ]
    assert "a sampler of the application" in found[0]["sentence"]
    found = ask(snapshot, running, "GET /pay", "--role", "celery", "--parent", "no")
    assert _short(found) == [("celery", 1, "rule", 0.4, True)]
    assert found[0]["bounded_by"] == ["ceiling"]
    assert "lacks its upstream part" in found[0]["gap"]


def test_a_sampler_that_no_process_has_changes_no_answer(
    ask: Ask, receipt: Callable[..., Receipt]
) -> None:
    """Each process tells which options of the application it has."""
    snapshot = Snapshot({}, ceilings=(Ceiling(traces=0.4),))

    def sure(*words: str, **given: Any) -> bool:
        both = [
            receipt(values=_values(0.1), dropped={}, **own)
            for own in ({"own": ()}, given)
        ]
        (found,) = ask(snapshot, both, *words)
        return bool(found["sure"])

    assert sure("POST /pay", own=("error_sampler",))
    assert not sure("POST /pay", own=("traces_sampler",))
    assert sure("--logger", "app", own=("traces_sampler",))
    assert not sure("--logger", "app", own=("error_sampler",))
    assert not sure("POST /pay"), "an older library does not tell"


def test_an_error_is_explained_by_its_class_and_bases(
    ask: Ask, receipt: Callable[..., Receipt]
) -> None:
    """What a limit and a budget let pass now is not known outside the process."""
    snapshot = Snapshot({}, errors=ERRORS, budgets=(Budget(errors=60),))
    running = [receipt(values=_values(0.1))]
    found = ask(snapshot, running, "--error", "KeyError")
    assert _short(found) == [("api", 1, "rule", 0.25, False)]
    steps = {step["step"]: step for step in found[0]["steps"]}
    assert steps["budget"]["rate"] is None
    assert "60 per minute" in steps["budget"]["text"]
    assert "the first error of each class passes" in steps["first"]["text"]
    own = ("--error", "app.Declined", "--error", "builtins.LookupError")
    assert _short(ask(snapshot, running, *own))[0][2:4] == ("rule", 0.25)
    assert _short(ask(snapshot, running, "--logger", "app"))[0][2:4] == ("rate", 1.0)


def test_a_budget_is_known_by_what_processes_tell(
    ask: Ask, receipt: Callable[..., Receipt]
) -> None:
    """The lowest share of them. What a rule names goes first."""
    snapshot = Snapshot({}, rules=RULES, budgets=(Budget(600, 60),))
    told = {"transactions": 0.5, "errors": 0.25}
    running = [
        receipt(values=_values(0.5), budgets=told, dropped={}),
        receipt(values=_values(0.5), budgets={**told, "errors": 1.0}, dropped={}),
    ]
    (found,) = ask(snapshot, running, "POST /pay")
    assert (found["rate"], found["bounded_by"]) == (0.25, ["budget"])
    (found,) = ask(snapshot, running, "GET /pay")
    assert (found["rate"], found["bounded_by"], found["sure"]) == (0.5, [], True)
    limited = Snapshot({}, errors=ERRORS)
    (found,) = ask(limited, running, "--error", "KeyError")
    assert not found["sure"], "whether a limit is reached is not told"
    (found,) = ask(snapshot, running, "--logger", "app")
    assert (found["rate"], found["bounded_by"]) == (0.25, ["budget"])
    none = {"transactions": 0.0, "errors": 0.0}
    (found,) = ask(snapshot, [receipt(values=_values(0.5), budgets=none)], "GET /pay")
    assert not found["sure"], "whether what goes first still passes is not told"


def test_what_an_application_decides_itself(ask: Ask, receipt: Make) -> None:
    """`sampled=True` is only bounded; with `enable_tracing=False` there is no trace."""
    snapshot = Snapshot({}, rules=RULES, ceilings=(Ceiling(traces=0.4),))
    running = [receipt(values=_values(0.1), dropped={}, own=())]
    found = ask(snapshot, running, "GET /pay", "--sampled")
    assert _short(found) == [("api", 1, "sampled", 0.4, True)]
    off = [running[0]._replace(own=("enable_tracing",))]
    (found,) = ask(snapshot, off, "GET /pay")
    assert not found["sure"]
    assert "enable_tracing=False" in found["notes"][0]
    (found,) = ask(snapshot, off, "--error", "app.Declined")
    assert "enable_tracing" not in str(found["notes"])


def test_a_route_is_no_name_of_a_trace(ask: Ask, receipt: Make) -> None:
    """The server's page shows routes, but a request is sampled before its route is known."""
    running = [receipt(values=_values(0.1), dropped={}, own=())]
    snapshot = Snapshot({}, rules=RULES)
    for name, is_route in (("GET /pay/{id}", True), ("GET /pay/7", False)):
        (found,) = ask(snapshot, running, name)
        assert (bool(found["notes"]), found["sure"]) == (is_route, not is_route)


def test_a_library_that_is_too_old_is_named(
    ask: Ask, receipt: Callable[..., Receipt]
) -> None:
    """It honours no ceiling."""
    snapshot = Snapshot({}, rules=RULES, ceilings=(Ceiling(traces=0.1),))
    new, old = receipt(values=_values(0.5), dropped={}), receipt(values=_values(0.5))
    found = ask(snapshot, [new, old], "GET /pay")
    assert [each["sure"] for each in found] == [True, False]
    assert "ceilings" in found[1]["notes"][0]


def test_what_no_process_tells_is_not_sure(
    ask: Ask, receipt: Callable[..., Receipt]
) -> None:
    """Without a process, with an unset rate, or with another snapshot."""
    snapshot = Snapshot(_values(0.1), {"celery": _values(0.2)}, RULES)
    found = ask(snapshot, [], "other")
    assert _short(found) == [
        ("", 0, "rate", 0.1, False),
        ("celery", 0, "rate", 0.2, False),
    ]
    old = receipt(values=_values(0.7), revision="0" * 12)
    found = ask(snapshot, [old], "GET /pay")
    assert _short(found) == [("api", 1, "rule", 0.5, False)]
    assert "do not run this snapshot" in found[0]["notes"][0]
    found = ask(Snapshot({}), [], "other")
    assert _short(found) == [("", 0, "rate", None, False)]
    assert "the process's own variable decides" in found[0]["notes"][0]


def test_a_question_that_is_none_is_an_error(ask: Ask) -> None:
    """And so is a volume without a snapshot."""
    assert "no snapshot is published" in str(ask(None, [], "x", code=1).exception)
    assert "give the name" in ask(None, [], code=2).output
    assert "--parent" in ask(None, [], "--error", "E", "--parent", "no", code=2).output
    assert "--sampled" in ask(None, [], "--error", "E", "--sampled", code=2).output


def test_a_role_that_nothing_knows_is_an_error(ask: Ask, receipt: Make) -> None:
    """It is mistyped, or of another pod. Without a process nobody knows."""
    snapshot = Snapshot(_values(0.1), {"celery": _values(0.2)})
    running = [receipt(values=_values(0.1), dropped={}, own=())]
    document = json.loads(ask(snapshot, running, "x", "--role", "ipa", code=3).stdout)
    assert document["error"]["what"] == (
        "no process here has the role ipa, and the snapshot does not name it; there are "
        "processes of: api"
    )
    assert _short(document["result"]["explained"]) == [("ipa", 0, "rate", 0.1, False)]
    assert _short(ask(snapshot, running, "x", "--role", "celery"))[0][:2] == (
        "celery",
        0,
    )
    assert _short(ask(snapshot, [], "x", "--role", "ipa"))[0][:2] == ("ipa", 0)


def test_a_base_class_that_nobody_named_is_not_ruled_out(
    ask: Ask, receipt: Make
) -> None:
    """The volume does not know what a class is derived from."""
    rules = (ErrorRule("app.Base", rate=0.0), ErrorRule("app.Declined", rate=1.0))
    running = [receipt(values=_values(0.1), dropped={}, own=())]
    for words, sure in (
        (("app.Declined",), False),
        (("app.Base",), True),
        (("app.Other",), False),
        (("ValueError",), True),
        (("app.Declined", "app.Base"), True),
    ):
        given = [word for name in words for word in ("--error", name)]
        [found] = ask(Snapshot({}, errors=rules), running, *given)
        assert (found["sure"], bool(found["notes"])) == (sure, not sure), words


@pytest.mark.parametrize(
    "but",
    [
        {"foreign": True},
        {"dsn": ""},
        {"role": "celery", "values": {"SENTRY_ENABLE_FOR_CELERY": False}},
    ],
    ids=["its own client", "no DSN", "off"],
)
def test_a_process_in_which_nothing_decides_is_named(
    ask: Ask, receipt: Make, but: dict[str, Any]
) -> None:
    """An answer without this note would be wrong."""
    running = [receipt(**{"values": _values(0.1), "dropped": {}, "own": (), **but})]
    [found] = ask(Snapshot({}, ceilings=(Ceiling(traces=0.4),)), running, "GET /")
    assert (found["sure"], len(found["notes"])) == (False, 1)
