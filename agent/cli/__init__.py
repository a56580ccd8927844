"""The command `resentry-agent`. Exit codes are API: docs/commands.md lists them."""

from __future__ import annotations

import importlib
import io
import re
import signal
import sys
import traceback
from typing import Any, NoReturn

import click

from agent._version import __version__, commit
from agent.cli.answer import USAGE, Answer, WithHelp, error_of, print_lines
from agent.domain.nearest import did_you_mean
from agent.errors import REPORT, AgentError
from agent.observe import stderr
from agent.redact import kind_of_secret, redact, redact_foreign

COMMANDS = (
    "run",
    "once",
    "check",
    "doctor",
    "status",
    "wait",
    "verify",
    "refresh",
    "history",
    "rollback",
    "boost",
    "throttle",
    "explain",
    "validate",
    "log-level",
    "completion",
    "rotate",
    "delete-key",
    "fleet",
    "bridge",
    "alerts plan",
    "alerts apply",
    "alerts check",
    "alerts notice deploy",
    "alerts notice maintenance",
)
"""Each is a module of this package. Words before the last one are groups."""
GROUPS = {
    "alerts": "Keep Sentry's alert rules as a file says.",
    "alerts notice": "Tell of a deployment or a maintenance.",
}


WITHOUT_JSON = ("run", "completion", "bridge")
"""They print no object."""
UNEXPECTED = "an unexpected error: its traceback is on standard error"


def _print_version(context: click.Context, is_given: bool) -> None:  # noqa: FBT001 - an option
    if not is_given or context.resilient_parsing:
        return
    built = f"commit {commit()}" if commit() else "from a source tree"
    print_lines((f"resentry-agent, version {__version__}, {built}",))
    context.exit()


class _Commands(WithHelp, click.Group):
    """Imports a command's module when that command is used.

    Args:
        words: the group's own name, as "alerts notice "; empty for the whole command.

    """

    def __init__(self, *args: Any, words: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._words = words

    def list_commands(self, _context: click.Context) -> list[str]:
        under = (
            name.removeprefix(self._words)
            for name in COMMANDS
            if name.startswith(self._words)
        )
        return list(dict.fromkeys(name.partition(" ")[0] for name in under))

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        path = f"{self._words}{name}"
        if path in GROUPS:
            return _Commands(name, words=f"{path} ", help=GROUPS[path])
        if path not in COMMANDS:
            return None
        module = importlib.import_module(f"agent.cli.{re.sub('[- ]', '_', path)}")
        command: click.Command = module.command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Say where an option belongs that stands before the command."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name
            command = group.get_command(ctx, "status")
            if command and any(name in option.opts for option in command.params):
                where = f"as in resentry-agent status {name}"
                ctx.fail(f"put {name} after the command, {where}")
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            ctx.fail(f"no such command: {args[0]}{did_you_mean(args[0], names)}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _option, is_given: _print_version(context, is_given),
    help="Print version and commit, and end.",
)
def group() -> None:
    """Keep the Sentry settings of services the same as in Vault or in mounted files.

    Each setting is an option, a RESENTRY_* variable, or a line of a TOML file. An option
    wins over a variable, and a variable wins over the file.
    """


def main() -> None:
    """Run the command. An error of ours is two lines, or one JSON object."""
    stderr.open_standard_files()
    # As a container's first process it would get no SIGTERM without a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(group(prog_name="resentry-agent", standalone_mode=False))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - exit code 1 means "no"
        end(error)


def end(problem: BaseException) -> NoReturn:
    """End the process with what went wrong: its exit code, and two lines or an object."""
    as_json = "--json" in sys.argv[1:]
    try:
        raise problem
    except click.UsageError as error:
        if not as_json:
            stderr.say(_without_secrets(_usage_text(error)))
            sys.exit(error.exit_code)
        hint = "resentry-agent --help"
        if error.ctx is not None:
            hint = f"{error.ctx.command_path} --help"
        failure = error_of(USAGE, _without_secrets(error.format_message()), hint)
        answer = Answer(None, (), failure, error.exit_code)
    except (click.Abort, KeyboardInterrupt):  # the latter before click has begun
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C is no news
        stderr.say("interrupted")
        sys.exit(128 + signal.SIGINT)
    except AgentError as error:
        answer = Answer.of_error(error)
    except Exception:  # noqa: BLE001 - exit code 1 means "no", and this is no answer
        stderr.say(redact_foreign(traceback.format_exc()))
        if not as_json:
            sys.exit(AgentError.exit_code)
        answer = Answer.of_error(AgentError(UNEXPECTED, REPORT))
    answer.finish(_named(sys.argv[1:]), as_json=as_json)


def _named(words: list[str]) -> str | None:
    """Return the command that the command line names."""
    for at in range(len(words)):
        for name in COMMANDS:
            if words[at : at + name.count(" ") + 1] == name.split():
                return name
    return None


def _without_secrets(text: str) -> str:
    """Mask what looks like a secret among the arguments, which an error may quote."""
    for word in sys.argv[1:]:
        for part in (word, word.lstrip("-"), word.rpartition("=")[2]):
            if kind_of_secret(part):
                text = text.replace(part, "…")
    masked: str = redact(text)
    return masked


def _usage_text(error: click.UsageError) -> str:
    text = io.StringIO()
    error.show(text)
    return text.getvalue().rstrip()
