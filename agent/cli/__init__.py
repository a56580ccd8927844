"""The command `resentry-agent`. Exit codes are API: docs/commands.md lists them."""

from __future__ import annotations

import importlib
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click
import msgspec

from agent._version import __version__
from agent.errors import AgentError
from agent.settings import Secret, Settings, flag, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Loaded

COMMANDS = (
    "run",
    "once",
    "check",
    "status",
    "wait",
    "refresh",
    "history",
    "rollback",
    "boost",
)


class _Commands(click.Group):
    """Imports a command's module when that command is used."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"agent.cli.{name}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="resentry-agent")
def group() -> None:
    """Keep the Sentry configuration of running services at what Vault holds.

    Settings are flags, RESENTRY_* variables, or keys of a TOML file, in this order.
    """


def settings_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one option per setting, and its `Loaded` as `loaded`."""

    def with_settings(**given: Any) -> Any:
        names = {field.name for field in msgspec.structs.fields(Settings)} | {"config"}
        flags = {name: given.pop(name) for name in names}
        return function(loaded=load(flags), **given)

    with_settings.__doc__ = function.__doc__
    with_settings.__click_params__ = list(  # type: ignore[attr-defined]
        getattr(function, "__click_params__", [])
    )
    for field in reversed(msgspec.structs.fields(Settings)):
        meta = [part for part in field.type.__metadata__ if part.description]
        secret = field.type.__origin__ is Secret
        with_settings = click.option(
            flag(field.name),
            field.name,
            multiple=isinstance(field.default, tuple),
            help=meta[-1].description.replace("`", ""),
            hidden=secret,  # a secret does not belong on a command line
        )(with_settings)
    return click.option("--config", help="A TOML file with settings.")(with_settings)


def warn(loaded: Loaded) -> None:
    """Tell a person what `load` noticed."""
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)


def main() -> None:
    """Run the command; an error of ours is two lines and its exit code."""
    # As a container's first process it would get no SIGTERM without a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        group(prog_name="resentry-agent")
    except AgentError as error:
        click.echo(f"resentry-agent: {error.what}", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001 - exit code 1 means "no", and this is no answer
        traceback.print_exc()
        sys.exit(AgentError.exit_code)
