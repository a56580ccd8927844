"""`wait`: until every process runs a snapshot, for scripts."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from agent.cli import options
from agent.cli.status import gather

if TYPE_CHECKING:
    from agent.settings import Loaded

LOOK_SECONDS = 0.2


@options.command("wait")
@click.option("--revision", help="Wait until this one is published and confirmed.")
@click.option("--sequence", type=int, help="Wait for this number or a later one.")
@click.option(
    "--drained", is_flag=True, help="Also until nothing sends by an older DSN any more."
)
@click.option("--timeout", default=60.0, show_default=True, help="Seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    loaded: Loaded,
    *,
    revision: str | None,
    sequence: int | None,
    drained: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Wait until every process has confirmed the published snapshot.

    Exits 0 when it is so, 1 with the names of the others when the time is over.
    """
    options.warn(loaded)
    deadline = time.monotonic() + timeout
    while True:
        found = gather(loaded.settings)
        lacking = _lacking(found, revision, sequence, drained=drained)
        if not lacking or time.monotonic() >= deadline:
            break
        time.sleep(LOOK_SECONDS)
    if as_json:
        click.echo(json.dumps({"done": not lacking, "lacking": lacking, **found}))
    else:
        rollout = found["rollout"]
        notes = [
            f"{t['name']}: {note}" for t in rollout["targets"] for note in t["notes"]
        ]
        click.echo("\n".join(lacking or [rollout["sentence"], *notes]))
    sys.exit(1 if lacking else 0)


def _lacking(
    found: dict[str, Any], revision: str | None, sequence: int | None, *, drained: bool
) -> list[str]:
    """Say what is still missing; nothing when the wait is over."""
    current, rollout = found["current"], found["rollout"]
    if current is None:
        return ["nothing is published"]
    if revision is not None and current["revision"] != revision:
        return [f"revision {current['revision']} is published, not {revision}"]
    if sequence is not None and current["sequence"] < sequence:
        return [f"sequence {current['sequence']} is published, not yet {sequence}"]
    good = ("drained",) if drained else ("drained", "confirmed")
    if rollout["state"] in good:
        return []
    others = [
        ", ".join(
            [
                f"{target['name']}: {target['state']}",
                *filter(None, [target["error"]]),
                *target["notes"],
            ]
        )
        for target in rollout["targets"]
        if target["state"] not in good
    ]
    if rollout["unknown"]:
        others.append(rollout["unknown"])
    return others or [rollout["sentence"]]
