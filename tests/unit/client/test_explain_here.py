"""`resentry.explain` in a process: what its own client does."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.process

STEPS = """
from resentry.contract import Budget, Ceiling, ErrorRule, Rule

def told(found):
    rates = {step.name: step.rate for step in found.steps}
    return [found.decided_by, found.rate, found.is_sure, rates["sampler"]]
"""


def test_each_question_is_answered_by_the_client_that_runs(
    go: Callable[..., Any],
) -> None:
    """Traces and errors, with and without samplers of the application's own."""
    said = go(
        """
        before = resentry.explain("GET /pay")
        publish({"SENTRY_DSN": os.environ["A"], "SENTRY_TRACES_SAMPLE_RATE": 0.1})
        resentry.init(**QUICK)
        plain = [
            told(resentry.explain("GET /pay")),
            told(resentry.explain("GET /pay", parent=True)),
            told(resentry.explain(error=ValueError("x"))),
        ]
        asked = []
        def traces_sampler(context):
            asked.append(context["transaction_context"]["name"])
            return 1 / len(context["parent"])
        def error_sampler(event, hint):
            return 0.25 if hint["exc_info"][0] is ValueError else 0.75
        resentry.init(
            **QUICK, traces_sampler=traces_sampler, error_sampler=error_sampler
        )
        take_up(
            {"SENTRY_DSN": os.environ["A"], "SENTRY_TRACES_SAMPLE_RATE": 0.1},
            rules=(Rule("POST *", 0.5),),
            errors=(ErrorRule("LookupError", rate=0.5), ErrorRule(logger="app", rate=0)),
            ceilings=(Ceiling(traces=0.2),),
        )
        say(
            before=before,
            plain=plain,
            own=[
                told(resentry.explain("GET /pay")),
                told(resentry.explain("POST /pay")),
                told(resentry.explain(error=ValueError)),
                told(resentry.explain(error=KeyError)),
                told(resentry.explain(error="LookupError")),
                told(resentry.explain(logger="app")),
            ],
            asked=asked,
            faults=resentry.status()["tally"].get("faults", 0),
        )
        """
    ).said
    assert said["before"] is None
    assert said["plain"] == [
        ["rate", 0.1, True, None],
        ["parent", 1.0, True, None],
        ["rate", 1.0, True, None],
    ]
    traces, matched, own, base, named, logger = said["own"]
    assert traces == ["rate", 0.1, False, None], "its sampler raises KeyError"
    assert matched == ["rule", 0.2, True, None]
    assert own == ["sampler", 0.25, True, 0.25]
    assert base == ["first", 1.0, True, 0.75]
    assert named[:3] == ["first", 1.0, True]
    assert logger[:2] == ["first", 1.0]
    assert said["asked"] == ["GET /pay", "POST /pay"]
    assert said["faults"] == 0


def test_what_the_application_decides_itself_is_known(go: Callable[..., Any]) -> None:
    """With `sampled=True` nothing but a bound counts, with `enable_tracing=False` nothing."""
    said = go(
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # of `enable_tracing`
        from resentry import report
        from resentry.target import target
        publish(
            {"SENTRY_DSN": os.environ["A"], "SENTRY_TRACES_SAMPLE_RATE": 0.1},
            rules=(Rule("POST *", 0.5),),
            ceilings=(Ceiling(traces=0.2),),
        )
        def look(**options):
            resentry.init(**QUICK, **options)
            names = "GET /pay", "POST /pay"
            return [
                [told(resentry.explain(name, sampled=yes))[:2] for name in names]
                for yes in (True, False)
            ] + [report.receipt(target).own]
        say(on=look(), off=look(enable_tracing=False))
        """
    ).said
    sampled = [["sampled", 0.2]] * 2
    assert said["on"] == [sampled, [["rate", 0.1], ["rule", 0.2]], []]
    off = [["rate", None]] * 2
    assert said["off"] == [off, off, ["enable_tracing"]]
