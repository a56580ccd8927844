"""`status`: what is known, also when the agent is dead."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from agent.cli import options
from agent.confirm.receipts import Receipts
from agent.observe.document import decode_state, document
from agent.publish.memory import STATE
from agent.publish.volume import Volume
from resentry import formats

if TYPE_CHECKING:
    from agent.settings import Loaded, Settings


@options.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(loaded: Loaded, *, as_json: bool) -> None:
    """Print what is published and which process runs it.

    It reads the volume, so the agent need not run. Exits 0 if every process has confirmed the published snapshot, else 1.
    """
    options.warn(loaded)
    found = gather(loaded.settings)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        click.echo(text(found))
    sys.exit(0 if found["rollout"]["state"] in ("confirmed", "drained") else 1)


def gather(settings: Settings) -> dict[str, Any]:
    """Return the document of `/status`, with whether an agent lives, as `agent`."""
    volume = Volume(settings.dir, settings.receipts_dir)
    current = volume.current()
    late = False
    if current is not None:
        with contextlib.suppress(ValueError):  # not the agent's own writing
            published = formats.moment(current.published_at)
            late = time.time() - published > settings.confirm_seconds
    receipts = Receipts(settings.receipts_dir)
    rollout = receipts.rollout(current, settings.min_targets, late=late)
    lives = {
        True: "running",
        False: "not running",
        None: "never ran here, or no rights",
    }
    return {
        "agent": lives[volume.is_open()],
        **document(current, rollout, decode_state(volume.memory.read(STATE))),
    }


def boost_text(boost: dict[str, Any]) -> str:
    """One boost for people."""
    what, where = boost["match"] or "everything", boost["role"] or "every role"
    return (
        f"{boost['id']}  traces {boost['traces']:g} for {what} in {where}, "
        f"{boost['left_seconds']} s left"
    )


def notify_lines(receivers: list[dict[str, Any]]) -> list[str]:
    """Each receiver for people."""
    return [
        f"{one['receiver']} "
        + (f"failed {one['failures']} times: {one['error']}; " if one["error"] else "")
        + (f"was told of {one['revision']}" if one["revision"] else "not told yet")
        for one in receivers
    ]


def _failed(source: dict[str, Any]) -> str:
    """How long the source has not been read well, for people."""
    if not source["failures"]:
        return ""
    read = source["last_success_at"]
    return f"{source['failures']} failed in a row; last read well: {read or 'never'}"


def _where(report: dict[str, Any]) -> str:
    """What the source says of itself, for people."""
    parts = [f"{report[key]}" for key in ("address", "path", "auth") if key in report]
    if report.get("token_ends_at"):
        parts.append(f"token until {report['token_ends_at']}")
    if report.get("tls_verified") is False:
        parts.append("ITS CERTIFICATE IS NOT CHECKED")
    return ", ".join(parts)


def text(found: dict[str, Any]) -> str:
    """The document for people."""
    lines = [f"agent     {found['agent']}"]
    current = found["current"]
    if current is None:
        lines.append("current   nothing is published")
    else:
        lines.append(
            f"current   revision {current['revision']}, sequence {current['sequence']}, "
            f"published {current['published_at']}"
        )
        lines += [f"          {key}={val}" for key, val in current["settings"].items()]
        lines += [f"boost     {boost_text(boost)}" for boost in current["boosts"]]
    source = found["source"]
    since = f" since {source['since']}" if source["since"] else ""
    known = source["outcome"] or "unknown"
    lines.append(f"source    {known}{since}: {source['sentence']}")
    extra = (*source["notes"], source["hint"], _failed(source), _where(source["where"]))
    lines += [f"          {line}" for line in extra if line]
    lines += [
        f"dsn check {check['dsn']}: {check['verdict']} since {check['since']}"
        for check in found["dsn_checks"]
    ]
    lines += [f"notify    {line}" for line in notify_lines(found["notify"])]
    rollout = found["rollout"]
    lines.append(f"rollout   {rollout['state']}: {rollout['sentence']}")
    for target in rollout["targets"]:
        lines += target_lines(target)
    return "\n".join(lines)


def target_lines(target: dict[str, Any]) -> list[str]:
    """One process for people: what it runs, then what is to be known of it."""
    main = ", main" if target["main"] else ""
    since = f" since {target['since']}" if target["since"] else ""
    runs = f", runs {target['revision'] or 'no snapshot'}{since}"
    error = f": {target['error']}" if target["error"] else ""
    told = runs if target["readable"] else ""
    return [
        f"          {target['name']}{main}  {target['state']}{told}{error}",
        *(f"{'':19}{note}" for note in target["notes"]),
    ]
