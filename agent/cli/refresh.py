"""`refresh`: poll now."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from agent import control
from agent.cli import options

if TYPE_CHECKING:
    from agent.settings import Loaded, Settings


@options.command("refresh")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(loaded: Loaded, *, as_json: bool) -> None:
    """Have the running agent poll now; exit as `once` would."""
    options.warn(loaded)
    answer = ask(loaded.settings, {"command": "refresh"})
    show(answer, as_json=as_json)


def ask(settings: Settings, request: dict[str, Any]) -> dict[str, Any]:
    """Send a request to the daemon; raise what it answers as an error."""
    return control.call(settings.control_path, request, settings.pass_seconds + 10)


def show(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print what the pass did, and exit with its code."""
    code = int(answer.pop("code"))
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(answer["sentence"], err=code != 0)
        for line in (*answer["notes"], answer["hint"]):
            if line:
                click.echo(f"  {line}", err=code != 0)
    sys.exit(code)
