"""What a command answers: one JSON object for programs, or lines for people."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import click
import msgspec

from agent import errors
from agent.errors import AgentError
from agent.observe import stderr
from agent.observe.results import Envelope, Error

if TYPE_CHECKING:
    from msgspec import Struct

NO = 1
"""The exit code of a command whose answer is no."""
USAGE = 2
UNEXAMINED = 3
"""The exit code of a command that could not examine what was asked for."""
CODES = {
    **{
        vars(kind)["exit_code"]: kind.__name__
        for kind in vars(errors).values()
        if isinstance(kind, type) and "exit_code" in vars(kind)
    },
    USAGE: "UsageError",
    UNEXAMINED: "NotExamined",
}
"""The code of each error that an agent tells by its exit code alone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found out or did. Its exit code is 0 exactly without an error."""

    result: Struct | None
    lines: tuple[str, ...]
    error: Error | None = None
    exit_code: int = 0
    is_failure: bool = False
    """Whether the lines go to standard error."""

    @classmethod
    def of_error(cls, error: AgentError) -> Answer:
        """Answer that the command could not be done."""
        lines = (f"resentry-agent: {error.what}", *_indented(error.hint))
        return cls(
            None,
            lines,
            named_error(error),
            error.exit_code,
            is_failure=True,
        )

    def finish(self, command: str | None, *, as_json: bool) -> NoReturn:
        """Print the answer, and exit with its code."""
        lines = self.lines
        if as_json:
            envelope = Envelope(
                command=command,
                ok=self.error is None,
                result=self.result,
                error=self.error,
            )
            body = msgspec.json.format(msgspec.json.encode(envelope), indent=1)
            lines = (body.decode(),)
        if self.is_failure and not as_json:
            for line in lines:
                stderr.say(line)
        else:
            print_lines(lines)
        sys.exit(self.exit_code)


def print_lines(lines: tuple[str, ...]) -> None:
    """Print to standard output. If that fails, exit: the answer did not arrive.

    Whoever closed standard output wants the exit code alone.
    """
    try:
        for line in lines:
            click.echo(line)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        sys.stdout = None  # else Python tries again
        if isinstance(error, BrokenPipeError):  # as by `head`, which has seen enough
            sys.exit(128 + signal.SIGPIPE)
        stderr.say(f"resentry-agent: cannot write the answer: {error.strerror}")
        sys.exit(os.EX_IOERR)


class WithHelp(click.Command):
    """A command whose `--help` fails as its answer does, if nobody can read it."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option `--help`."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show_help
        return option


def _show_help(ctx: click.Context, _option: click.Parameter, given: bool) -> None:  # noqa: FBT001 - click's form
    if given and not ctx.resilient_parsing:
        print_lines((ctx.get_help(),))
        ctx.exit()


def named_error(error: AgentError) -> Error:
    """Return the error as it is printed: its code is the name of its class.

    Of an error that an agent told, only the exit code is known.
    """
    name = type(error).__name__
    if type(error) is AgentError:
        name = CODES.get(error.exit_code, name)
    return Error(code=name, what=_printable(error.what), hint=_printable(error.hint))


def error_of(exit_code: int, what: str, hint: str) -> Error | None:
    """Return the error that belongs to an exit code that an agent told; `None` to 0."""
    if exit_code == 0:
        return None
    code = CODES.get(exit_code, AgentError.__name__)
    return Error(code=code, what=_printable(what), hint=_printable(hint))


def _printable(text: str) -> str:
    """Return the text with what is no UTF-8 in an argument as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def _indented(hint: str) -> tuple[str, ...]:
    return (f"  {hint}",) if hint else ()
