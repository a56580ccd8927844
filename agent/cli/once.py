"""`once`: a single pass."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING

import click

from agent.cli import settings_options, warn
from agent.cli.run import assemble, open_volume
from agent.cli.status import notify_lines
from agent.observe.changes import notify_part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.domain.outcome import Outcome
    from agent.domain.probe import Found
    from agent.pipeline import Pipeline
    from agent.settings import Loaded

LOOK_SECONDS = 0.2


@click.command("once")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def command(loaded: Loaded, *, as_json: bool) -> None:
    """Do one pass; exit 0 if what the source holds is published.

    With --probe enforce a new DSN is waited for until the probe has a verdict.
    """
    warn(loaded)
    settings = loaded.settings
    pipeline = assemble(settings, open_volume(settings))
    before, outcome = pipeline.probes(), _pass(pipeline, settings.pass_seconds)
    while outcome.kind == "probing":
        _await_answer(pipeline, before)
        before, outcome = pipeline.probes(), _pass(pipeline, settings.pass_seconds)
    pipeline.close()
    pipeline.await_receivers(settings.notify_seconds)
    rollout = pipeline.rollout()
    if as_json:
        document = {
            "outcome": outcome.kind,
            "sentence": outcome.sentence,
            "hint": outcome.hint,
            "revision": outcome.revision,
            "sequence": outcome.sequence,
            "notes": list(outcome.notes),
            "rollout": {"state": rollout.state, "sentence": rollout.sentence},
            "notify": notify_part(pipeline.deliveries()),
        }
        click.echo(json.dumps(document))
    else:
        click.echo(outcome.sentence, err=outcome.exit_code != 0)
        for line in (*outcome.notes, outcome.hint):
            if line:
                click.echo(f"  {line}", err=outcome.exit_code != 0)
        if outcome.exit_code == 0:
            click.echo(rollout.sentence)
        if outcome.kind == "published":
            for line in notify_lines(notify_part(pipeline.deliveries())):
                click.echo(f"notify: {line}")
    sys.exit(outcome.exit_code)


def _pass(pipeline: Pipeline, seconds: float) -> Outcome:
    deadline = threading.Timer(seconds, pipeline.abort)
    deadline.daemon = True
    deadline.start()
    outcome = pipeline.run()
    deadline.cancel()
    return outcome


def _await_answer(pipeline: Pipeline, before: Sequence[Found]) -> None:
    """Wait until more is known of the probes than `before` the last pass."""
    while pipeline.probes() == before:
        time.sleep(LOOK_SECONDS)
