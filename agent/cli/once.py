"""`once`: a single pass."""

from __future__ import annotations

import json
import sys
import threading
from typing import TYPE_CHECKING

import click

from agent.cli import settings_options, warn
from agent.cli.run import assemble, open_volume

if TYPE_CHECKING:
    from agent.settings import Loaded


@click.command("once")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def command(loaded: Loaded, *, as_json: bool) -> None:
    """Do one pass and exit: 0 if what the source holds is now published."""
    warn(loaded)
    settings = loaded.settings
    pipeline = assemble(settings, open_volume(settings))
    deadline = threading.Timer(settings.pass_seconds, pipeline.abort)
    deadline.daemon = True
    deadline.start()
    outcome = pipeline.run()
    deadline.cancel()
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
        }
        click.echo(json.dumps(document))
    else:
        click.echo(outcome.sentence, err=outcome.exit_code != 0)
        for line in (*outcome.notes, outcome.hint):
            if line:
                click.echo(f"  {line}", err=outcome.exit_code != 0)
        if outcome.exit_code == 0:
            click.echo(rollout.sentence)
    sys.exit(outcome.exit_code)
