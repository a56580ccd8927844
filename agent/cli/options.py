"""The options that commands have in common, and how `--help` shows them."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from agent.cli.answer import WithHelp
from agent.cli.turn import one_at_a_time
from agent.observe import stderr
from agent.settings import Settings, flag, load_what_can_be, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.cli.answer import Answer
    from agent.settings import Loaded, Setting

TOLERANT = ("run", "doctor", "status")
"""The commands that say themselves what is wrong with the settings."""
SHOWN_EVERYWHERE = ("config", "dir", "receipts", "control")
REST = (
    "Every other setting in resentry-agent run --help works here as well, as an option, "
    "a RESENTRY_* variable or a line of the file."
)


class Option(click.Option):
    """An option that stands in a group of `--help`."""

    def __init__(self, *args: Any, group: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class Command(WithHelp, click.Command):
    """A command whose `--help` shows its own options first, then each group."""

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write one list of options per group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None and record[1]:  # an argument has a name alone
                group = getattr(option, "group", "") or "Options"
                groups.setdefault(group, []).append(record)
        for group in sorted(groups, key="Options".__ne__):  # stable: own options first
            with formatter.section(group):
                formatter.write_dl(groups[group])


def command(
    name: str,
    *,
    with_all_settings: bool = False,
    is_warning: bool = True,
    is_heavy: bool = False,
) -> Callable[[Callable[..., Answer | None]], click.Command]:
    """Make a function a command that takes every setting, as `loaded`.

    The command prints the function's answer, and exits with its code. Without an
    `Answer` there is nothing to print, and no `--json`. `--help` shows all settings, or
    only those that every command needs. What `load` noticed is printed as a warning,
    unless the function says it itself. A command that `is_heavy` waits until no other one
    runs here.
    """

    def decorate(function: Callable[..., Answer | None]) -> click.Command:
        def run(*, as_json: bool = False, **given: Any) -> None:
            loaded = load_what_can_be({each: given.pop(each) for each in names})
            problem = None if name in TOLERANT else loaded.problem
            if is_warning or problem is not None:
                warn(loaded)
            if problem is not None:
                raise problem
            turn = one_at_a_time(loaded.settings.dir) if is_heavy else nullcontext()
            with turn:
                answer = function(loaded=loaded, **given)
            if answer is not None:
                answer.finish(name, as_json=as_json)

        params: list[click.Parameter] = [
            *reversed(getattr(function, "__click_params__", []))
        ]
        if name != "run":
            params.append(
                click.Option(
                    ["--json", "as_json"], is_flag=True, help="Print one JSON object."
                )
            )
        common = [
            Option(
                ["--config"],
                metavar="FILE",
                help="A TOML file with settings.",
                group="Settings",
            ),
            *(_option(setting, with_all_settings) for setting in settings_of(Settings)),
        ]
        names = [str(option.name) for option in common]
        return Command(
            name,
            callback=run,
            params=[*params, *common],
            help=function.__doc__,
            epilog=None if with_all_settings else REST,
        )

    return decorate


def _option(setting: Setting, is_shown: bool) -> Option:  # noqa: FBT001 - one caller
    name, attributes = flag(setting.name), dict[str, Any]()
    if setting.value == "BOOLEAN":
        name = f"{name}/--no-{name.removeprefix('--')}"
    elif setting.choices:
        attributes["type"] = click.Choice(setting.choices)
    else:
        attributes["metavar"] = setting.value
    default = shown_default(setting)
    text = re.sub("`", "", setting.text) + (
        f"  [default: {default}]" if default else ""
    )
    return Option(
        [name, setting.name],
        default=None,
        multiple=setting.is_list,
        help=text,
        hidden=setting.is_secret or not (is_shown or setting.name in SHOWN_EVERYWHERE),
        group=setting.group if is_shown else "Settings",
        **attributes,
    )


def shown_default(setting: Setting) -> str:
    """Return the default of a setting as it is written; empty if there is none."""
    default = setting.default
    if default in ("", (), {}, None) or setting.is_secret:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def warn(loaded: Loaded) -> None:
    """Print on standard error what `load` noticed."""
    for warning in loaded.warnings:
        stderr.say(f"warning: {warning}")
