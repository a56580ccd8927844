"""`history`: the last ten snapshots, also when the agent is dead."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from agent.cli import options
from agent.domain.wishes import difference
from agent.observe.document import shown
from agent.publish.memory import HISTORY_LENGTH
from agent.publish.volume import Volume

if TYPE_CHECKING:
    from agent.settings import Loaded
    from resentry.contract import Snapshot


@options.command("history")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(loaded: Loaded, *, as_json: bool) -> None:
    """List the last ten snapshots: when each came, what it changed."""
    options.warn(loaded)
    settings = loaded.settings
    volume = Volume(settings.dir, settings.receipts_dir)
    found, current = volume.memory.history(), volume.current()
    if current is not None and current not in found[:1]:
        # The agent died between publishing and remembering.
        found = [current, *found][:HISTORY_LENGTH]
    rows = [_row(new, old) for new, old in pairwise([*found, None]) if new]
    if as_json:
        click.echo(json.dumps({"history": rows}))
        return
    for row in rows:
        click.echo(f"{row['sequence']:>5}  {row['revision']}  {row['published_at']}")
        for key in row["changed"]:
            value = row["settings"].get(key)
            click.echo(f"       {key}{'' if value is None else f'={value}'}")
    if not rows:
        click.echo("nothing was published on this volume")


def _row(new: Snapshot, old: Snapshot | None) -> dict[str, Any]:
    return {
        "sequence": new.sequence,
        "revision": new.revision,
        "published_at": new.published_at,
        "changed": difference(new, old),
        "settings": shown(new.settings),
    }
