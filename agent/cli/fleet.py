"""`fleet`: what the processes of all pods run."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import TYPE_CHECKING

import click

from agent.cli import options
from agent.cli.answer import NO, Answer
from agent.cli.durations import seconds_of
from agent.cli.fleet_results import FleetDsn, FleetPod, FleetResult
from agent.cli.lines import table
from agent.fleet import judge
from agent.fleet.open import ask_fleet
from agent.observe import stderr
from agent.observe.results import Error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.fleet.ask import Answer as PodAnswer
    from agent.settings import Loaded

LOOK_SECONDS = 2.0
"""The time between two looks of `--wait`."""
_HEAD = ("pod", "revision", "sequence", "processes", "state", "agent")


def _fingerprint(context: click.Context, option: click.Parameter, text: str) -> str:
    del context, option
    if text and not re.fullmatch("[0-9a-f]{12}", text):
        raise click.BadParameter(
            "a fingerprint has 12 hexadecimal digits; rotate and fleet show it"
        )
    return text


@options.command("fleet")
@click.option(
    "--dsn",
    default="",
    callback=_fingerprint,
    metavar="FINGERPRINT",
    help="Ask whether every process runs this DSN.",
)
@click.option(
    "--drained", is_flag=True, help="Ask also whether no older DSN is in use."
)
@click.option(
    "--wait",
    "duration",
    metavar="TIME",
    help="Wait until it is so, at most so long, as 5m.",
)
def command(loaded: Loaded, *, dsn: str, drained: bool, duration: str | None) -> Answer:
    """Show what the processes of every pod run.

    Asks the pods of RESENTRY_FLEET. Exits with 0 if every pod answers and each of its
    processes has confirmed what is published there, else with 1. Revisions are numbered on
    each volume, so pods are compared by the fingerprints of their DSNs.
    """
    settings, began = loaded.settings, time.monotonic()
    until = began + (seconds_of("--wait", duration) if duration else 0)
    shown = ""
    while True:
        answers = ask_fleet(settings)
        expected = int(settings.fleet_expect)
        lacking = judge.lacking(answers, dsn, expected, drained=drained)
        if not lacking or time.monotonic() >= until:
            return _answer(answers, lacking)
        if lacking[0] != shown:
            stderr.say(shown := lacking[0])
        time.sleep(LOOK_SECONDS)


def _answer(answers: Sequence[PodAnswer], lacking: list[str]) -> Answer:
    result = FleetResult(
        lacking=lacking,
        dsns=[FleetDsn(**use._asdict()) for use in judge.uses(answers)],
        pods=[_pod(answer) for answer in answers],
    )
    lines = tuple(_lines(result))
    if not lacking:
        return Answer(result, lines)
    error = Error(
        code="NotConfirmed",
        what="; ".join(lacking[:5]),
        hint="resentry-agent status in the pod that is named shows more",
    )
    return Answer(result, lines, error, NO)


def _pod(answer: PodAnswer) -> FleetPod:
    summary = answer.summary
    if summary is None:
        return FleetPod(name=answer.pod.name, error=answer.why)
    states = Counter(f"{each.role} {each.state}" for each in summary.processes)
    return FleetPod(
        name=answer.pod.name,
        revision=summary.revision,
        sequence=summary.sequence,
        state=summary.state,
        agent=summary.agent,
        dsns=summary.dsns,
        states=dict(states),
        libraries=sorted({each.library for each in summary.processes} - {""}),
        tally=summary.tally,
    )


def _lines(result: FleetResult) -> Iterator[str]:
    rows = [_HEAD]
    for pod in result.pods:
        states = ", ".join(f"{count} {state}" for state, count in pod.states.items())
        told = (pod.revision, str(pod.sequence), states, pod.state, pod.agent)
        rows.append((pod.name, *told) if not pod.error else (pod.name, *"-" * 5))
    yield from table(rows)
    for use in result.dsns:
        held = f", {use.holds} still hold it" if use.holds else ""
        yield f"DSN {use.dsn}: {use.runs} processes run it{held}"
    yield from result.lacking or ["every process has confirmed"]
