"""`rotate`: a new DSN everywhere, then the old key's end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from agent.cli import options
from agent.cli.durations import seconds_of
from agent.cli.rotating import (
    LOOK_SECONDS,
    answer_of,
    follow,
    force_lines,
    go_on,
    plan_lines,
)
from agent.errors import SettingsError
from agent.observe import stderr

if TYPE_CHECKING:
    from agent.cli.answer import Answer
    from agent.rotation.journal import Journal
    from agent.rotation.open import Choice, Opened
    from agent.settings import Loaded, Settings

MODES = ("resume", "abort", "watch", "dry_run", "scheduled")


@options.command("rotate")
@click.option(
    "--secret",
    metavar="PATH",
    help="The secret (default: that of RESENTRY_VAULT_PATHS).",
)
@click.option(
    "--role", default="", metavar="ROLE", help="Replace the DSN of this role."
)
@click.option(
    "--new-dsn",
    type=click.File(),
    metavar="FILE",
    help="The new DSN, where no API makes keys.",
)
@click.option(
    "--quiet",
    metavar="TIME",
    help="So long nothing may hold the old DSN: the time of your longest job, as 30m.",
)
@click.option(
    "--refused",
    metavar="TIME",
    help="So long the old key must be refused (default: 7m).",
)
@click.option(
    "--leaked",
    metavar="TIME",
    help="Leaked: retire the old key after this time in any case.",
)
@click.option(
    "--force",
    "forced",
    multiple=True,
    metavar="NAME",
    help="Do not wait for this process or pod, as the reason of a wait names it; may be "
    "repeated.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with a rotation, also a held one. --quiet, --refused, --leaked and "
    "--force then hold for it.",
)
@click.option(
    "--abort", is_flag=True, help="Go back to the old DSN, and retire the new key."
)
@click.option("--watch", is_flag=True, help="Show how a rotation goes; change nothing.")
@click.option("--dry-run", is_flag=True, help="Show the plan, and end.")
@click.option(
    "--scheduled",
    is_flag=True,
    help="Go on with one, or begin one if all is well.",
)
def command(loaded: Loaded, **given: Any) -> Answer:
    """Replace the DSN, then retire the old key.

    Makes a key, writes its DSN to Vault, and waits until no process can send by the old
    one. Begin with --dry-run: it shows the plan and changes nothing. The command can be
    ended at any time: --resume goes on, --abort goes back. A rotation that cannot go on
    is held until a person decides: both keys live.
    """
    from agent.rotation.open import open_rotation, plan  # noqa: PLC0415 - heavy

    modes = [mode for mode in MODES if given[mode]]
    if len(modes) > 1:
        raise click.UsageError(f"use one of {', '.join(map(_flag, MODES))}")
    if given["abort"] and given["leaked"]:
        raise click.UsageError(
            "--abort keeps the old key, --leaked retires it: use one"
        )
    mode = modes[0] if modes else ""
    choice = _choice(loaded.settings, given)
    opened = open_rotation(loaded.settings, choice)
    if mode == "watch":
        return answer_of(follow(opened))
    if mode == "scheduled":
        journal, _ = opened.file.load()
        if journal is not None and journal.held:
            return answer_of(journal)
        if journal is not None and not journal.has_ended:
            return go_on(opened, _changed(opened, _as_begun(choice)))
        _must_be_calm(loaded.settings)
    if mode in ("resume", "abort"):
        return go_on(opened, _changed(opened, choice, is_aborting=mode == "abort"))
    opened.keeper.must_be_free(opened.secret.path)
    first = plan(opened, choice)
    for line in plan_lines(first, opened, choice):
        stderr.say(line)
    if mode == "dry_run":
        return answer_of(first, is_dry=True)
    return go_on(opened, opened.keeper.begin(first))


def _as_begun(choice: Choice) -> Choice:
    """Leave out what a schedule says each time: a person may have decided otherwise."""
    return choice._replace(
        quiet_seconds=None, refused_seconds=None, leaked_seconds=None, forced=()
    )


def _flag(mode: str) -> str:
    return f"--{mode.replace('_', '-')}"


def _must_be_calm(settings: Settings) -> None:
    """Raise `RotationBusy` during an outage, a boost or a ceiling: nobody watches."""
    from agent.fleet import judge  # noqa: PLC0415 - heavy
    from agent.fleet.open import ask_fleet  # noqa: PLC0415 - heavy
    from agent.rotation.keeper import RotationBusy  # noqa: PLC0415 - heavy

    answers, expected = ask_fleet(settings), int(settings.fleet_expect)
    if trouble := [*judge.lacking(answers, expected=expected), *judge.unrest(answers)]:
        raise RotationBusy(
            f"no rotation is begun now: {'; '.join(trouble[:5])}",
            "the next run of the schedule tries again; without --scheduled it begins now",
        )


def _choice(settings: Settings, given: dict[str, Any]) -> Choice:
    from agent.rotation.open import Choice  # noqa: PLC0415 - as above

    file, quiet, leaked = given["new_dsn"], given["quiet"], given["leaked"]
    refused = given["refused"]
    return Choice(
        given["secret"] or only_secret(settings),
        given["role"],
        file.read().strip() if file else "",
        seconds_of("--quiet", quiet) if quiet else None,
        seconds_of("--refused", refused) if refused else None,
        seconds_of("--leaked", leaked) if leaked else None,
        given["forced"],
    )


def only_secret(settings: Settings) -> str:
    """Return the one secret that the settings name; raise `SettingsError`."""
    if len(settings.vault_paths) == 1:
        return settings.vault_paths[0]
    raise SettingsError(
        "RESENTRY_VAULT_PATHS does not name exactly one secret",
        "name the secret that holds the DSN with --secret",
    )


def _changed(opened: Opened, choice: Choice, *, is_aborting: bool = False) -> Journal:
    """Write what a person decides; return the journal when the lock is ours.

    If somebody else has the lock, that process carries the decision out: then the journal
    of the rotation's end is returned.
    """
    from agent.rotation.keeper import RotationBusy  # noqa: PLC0415 - heavy
    from agent.rotation.open import Choice, decided  # noqa: PLC0415 - heavy

    def decision(journal: Journal) -> Journal:
        if journal.secret != opened.secret.path or journal.role != choice.role:
            of_role = f" --role {journal.role}" if journal.role else ""
            raise SettingsError(
                f"rotation {journal.rotation} is of another secret or role",
                f"use --secret {journal.secret}{of_role}",
            )
        changes = decided(journal, choice, time.time(), is_aborting=is_aborting)
        return replace(journal, **changes)

    opened.keeper.decide(decision)
    for line in (
        force_lines(choice.forced, opened.servers.fleet()) if choice.forced else ()
    ):
        stderr.say(line)
    if choice == Choice(choice.secret, choice.role, choice.new_dsn) and not is_aborting:
        return _taken(opened)
    is_said = False
    while True:
        try:
            return opened.keeper.take()
        except RotationBusy as error:
            if not is_said:
                stderr.say(f"{error.what}, and takes this decision up at its next step")
            is_said = True
        journal = follow(opened, is_heir=True)
        if journal.has_ended or journal.held:
            return journal


def _taken(opened: Opened) -> Journal:
    """Take the lock; wait as long as one that was killed may still have it."""
    from agent.rotation.journal import LEASE_SECONDS  # noqa: PLC0415 - heavy
    from agent.rotation.keeper import RotationBusy  # noqa: PLC0415 - heavy

    until, said = time.monotonic() + LEASE_SECONDS + LOOK_SECONDS, False
    while True:
        try:
            return opened.keeper.take()
        except RotationBusy as error:
            if time.monotonic() >= until:
                raise
            if not said:
                stderr.say(f"{error.what}: waiting until its lock ends")
            said = True
        time.sleep(LOOK_SECONDS)
