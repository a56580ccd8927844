"""Runs a command that raises the error of that name."""

import sys

import agent.cli
from agent import errors

name, kind = sys.argv.pop(), sys.argv[0]


@agent.cli.group.command("fail")
def fail() -> None:
    error = getattr(errors, name)
    if name == "CandidateRefused":
        raise error(["what"], "0" * 12)
    raise error("what", "do this")


agent.cli.COMMANDS += ("fail",)  # type: ignore[assignment]
agent.cli._Commands.get_command = lambda *_: fail  # type: ignore[method-assign]
sys.argv = ["resentry-agent", "fail"]
agent.cli.main()
