"""`wait`: until every process runs a snapshot, for scripts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from agent.cli import options
from agent.cli.answer import NO, Answer
from agent.cli.gather import LOOK_SECONDS, gather
from agent.cli.results import WaitResult
from agent.observe.results import Error
from resentry import formats

if TYPE_CHECKING:
    from agent.observe.results import StatusResult
    from agent.settings import Loaded


def _seconds(_context: object, _option: object, text: str) -> float:
    try:
        return formats.number(text)
    except ValueError:
        raise click.BadParameter("must be a number of seconds, 0 or more") from None


@options.command("wait")
@click.option(
    "--revision", metavar="REVISION", help="Wait for this published revision."
)
@click.option(
    "--sequence",
    type=int,
    metavar="NUMBER",
    help="Wait for this sequence number, or a later one.",
)
@click.option(
    "--drained",
    is_flag=True,
    help="Wait also until no process sends by an older DSN.",
)
@click.option(
    "--timeout",
    default="60",
    show_default=True,
    callback=_seconds,
    metavar="SECONDS",
    help="Time limit.",
)
def command(
    loaded: Loaded,
    *,
    revision: str | None,
    sequence: int | None,
    drained: bool,
    timeout: float,
) -> Answer:
    """Wait until every process has confirmed the published snapshot.

    Exits with 0 when all have confirmed. Exits with 1 when the time is over, and names
    what is missing.
    """
    deadline = time.monotonic() + timeout
    while True:
        status = gather(loaded.settings, is_asking=False)  # often, and soon
        lacking = _lacking(status, revision, sequence, drained=drained)
        if not lacking or time.monotonic() >= deadline:
            break
        time.sleep(LOOK_SECONDS)
    if lacking and (agent := gather(loaded.settings)).agent == "not responding":
        lacking.append(f"the agent does not respond: {agent.origin.why}")
        status = agent
    result = WaitResult(lacking=lacking, status=status)
    if lacking:
        over = f"the time limit of {timeout:g} s is over"
        error = Error(
            code="Timeout",
            what=f"{over}: {'; '.join(lacking)}",
            hint="resentry-agent status shows every process",
        )
        return Answer(result, (over, *(f"  {text}" for text in lacking)), error, NO)
    notes = [
        f"{target.name}: {note}"
        for target in status.rollout.targets
        for note in target.notes
    ]
    return Answer(result, (_success(status), *notes))


def _success(status: StatusResult) -> str:
    """Name what every process has confirmed."""
    current, sentence = status.current, status.rollout.sentence
    if current is None:
        return sentence
    dsn = current.settings.get("SENTRY_DSN")
    shown = "no DSN" if dsn is None else f"DSN {dsn}"
    return f"revision {current.revision}, {shown}: {sentence}"


def _lacking(
    status: StatusResult, revision: str | None, sequence: int | None, *, drained: bool
) -> list[str]:
    """Return what is still missing; nothing when the wait is over."""
    current, rollout = status.current, status.rollout
    if current is None:
        return ["nothing is published"]
    if revision is not None and current.revision != revision:
        return [f"revision {current.revision} is published, not {revision}"]
    if sequence is not None and current.sequence < sequence:
        return [f"sequence {current.sequence} is published, not yet {sequence}"]
    good = ("drained",) if drained else ("drained", "confirmed")
    if rollout.state in good:
        return []
    others = [
        ", ".join(
            [
                f"{target.name}: {target.state}",
                *filter(None, [target.error]),
                *target.notes,
            ]
        )
        for target in rollout.targets
        if target.state not in good
    ]
    if rollout.unknown:
        others.append(rollout.unknown)
    return others or [rollout.sentence]
