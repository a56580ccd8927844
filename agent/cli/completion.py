"""`completion`: what a shell needs to complete the command line."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from agent.cli.answer import WithHelp, print_lines

PROGRAM = "resentry-agent"
VARIABLE = "_RESENTRY_AGENT_COMPLETE"
"""With this variable, the program answers the shell's questions."""
SHELLS = ("bash", "zsh", "fish")


@click.command("completion", cls=WithHelp)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print a script that completes command lines.

    For bash, put into ~/.bashrc:

    \b
        eval "$(resentry-agent completion bash)"

    For zsh, put into ~/.zshrc, after compinit:

    \b
        eval "$(resentry-agent completion zsh)"

    For fish:

    \b
        resentry-agent completion fish >~/.config/fish/completions/resentry-agent.fish
    """  # noqa: D301 - the mark keeps each example on one line
    kind = get_completion_class(shell)
    group = click.get_current_context().find_root().command
    if kind is None:
        raise click.UsageError(f"click completes nothing in {shell}")
    # The shell's own version would be asked first: the shell may be elsewhere.
    print_lines((ShellComplete.source(kind(group, {}, PROGRAM, VARIABLE)),))
