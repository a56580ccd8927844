"""`once`: a single pass."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import click

from agent.cli import options
from agent.cli.status import notify_lines
from agent.observe import document
from agent.parts import assemble
from agent.pipeline import Pipeline

if TYPE_CHECKING:
    from agent.domain.outcome import Outcome
    from agent.domain.rollout import Rollout
    from agent.domain.view import Known
    from agent.parts import Parts
    from agent.settings import Loaded

LOOK_SECONDS = 0.2


@options.command("once", with_all_settings=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(loaded: Loaded, *, as_json: bool) -> None:
    """Do one pass; exit 0 if what the source holds is published.

    With --dsn-check enforce waits until a new DSN has been accepted or rejected.
    """
    options.warn(loaded)
    parts = assemble(loaded.settings)
    outcome, known = _passes(parts)
    parts.source.close()
    parts.receivers.wait(loaded.settings.notify_seconds)
    rollout = _rollout(parts, known)
    receivers = document.notify(parts.receivers.report())
    if as_json:
        whole = {
            **document.published_of(outcome),
            "rollout": {"state": rollout.state, "sentence": rollout.sentence},
            "notify": receivers,
        }
        click.echo(json.dumps(whole))
    else:
        click.echo(outcome.sentence, err=outcome.exit_code != 0)
        for line in (*outcome.notes, outcome.hint):
            if line:
                click.echo(f"  {line}", err=outcome.exit_code != 0)
        if outcome.exit_code == 0:
            click.echo(rollout.sentence)
        if outcome.kind == "published":
            for line in notify_lines(receivers):
                click.echo(f"notify: {line}")
    sys.exit(outcome.exit_code)


def _passes(parts: Parts) -> tuple[Outcome, Known]:
    """Do one pass; another one as long as a new DSN waits for its verdict."""
    pipeline = Pipeline(parts)
    while True:
        before = parts.gate.report()
        reading = pipeline.read(time.monotonic() + parts.settings.pass_seconds)
        outcome = pipeline.publish(reading, pipeline.known.wishes)
        if outcome.kind != "checking":
            return outcome, pipeline.known
        while parts.gate.report() == before:
            time.sleep(LOOK_SECONDS)


def _rollout(parts: Parts, known: Known) -> Rollout:
    settings = parts.settings
    late = time.monotonic() - known.published_at > settings.confirm_seconds
    return parts.receipts.rollout(known.current, settings.min_targets, late=late)
