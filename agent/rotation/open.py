"""Makes the parts of a rotation from the settings, and its plan."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from agent._version import __version__
from agent.domain.dsn_check import Times
from agent.dsn_check.checker import Checker
from agent.dsn_check.send import check_sender
from agent.errors import SettingsError, SourceMissing
from agent.fleet.open import ask_fleet, must_be_named
from agent.rotation.given import GivenKeys
from agent.rotation.journal import REFUSED_SECONDS, Journal
from agent.rotation.keeper import Keeper, RotationBusy
from agent.rotation.keys import SUBJECT, Keys
from agent.rotation.vault import DsnSecret, JournalFile
from agent.rotation.world import Refusals, Servers, fleet_of, is_denied
from agent.sentry_api.open import open_api
from agent.source.vault import VaultSource
from resentry.contract import fingerprint, time_text
from resentry.values import show_dsn, split_dsn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.rotation.keys import Key
    from agent.rotation.parts import KeyServer
    from agent.settings import Settings

QUIET_SECONDS = 1800.0
"""So long nothing may have come by the old key, where the server can say."""
USER_AGENT = f"resentry-agent/{__version__}"


class Choice(NamedTuple):
    """What an operator chose for a rotation."""

    secret: str
    role: str = ""
    new_dsn: str = ""
    quiet_seconds: float | None = None
    refused_seconds: float | None = None
    leaked_seconds: float | None = None
    forced: tuple[str, ...] = ()


class Opened(NamedTuple):
    """The parts of the rotations of one secret."""

    keeper: Keeper
    servers: Servers
    file: JournalFile
    secret: DsnSecret


def open_rotation(settings: Settings, choice: Choice) -> Opened:
    """Make the parts. Raises `SettingsError` if a setting is missing."""
    if not settings.rotation_path:
        raise SettingsError(
            "a rotation needs a place for its journal",
            "set RESENTRY_ROTATION_PATH, as secret/data/rotations/lms",
        )
    must_be_named(settings)
    source = VaultSource(settings, USER_AGENT)
    secret = DsnSecret(source, choice.secret, choice.role)
    file = JournalFile(source, settings.rotation_path)
    if file.path == secret.path:
        raise SettingsError(
            "RESENTRY_ROTATION_PATH is the path of the secret itself",
            "give the journal a secret of its own",
        )
    times = Times(settings.dsn_check_seconds)
    is_glitchtip = settings.dsn_check_backend == "glitchtip"
    checker = Checker(times, check_sender(USER_AGENT), is_glitchtip=is_glitchtip)
    refusals = Refusals(checker)
    keys = _keys(settings, choice, file, secret, checker, refusals)
    servers = Servers(
        keys,
        secret,
        checker,
        lambda: fleet_of(ask_fleet(settings), choice.role, int(settings.fleet_expect)),
        None if is_glitchtip else refusals,
    )
    holder = f"{socket.gethostname()} pid {os.getpid()} {secrets.token_hex(4)}"
    return Opened(Keeper(file, servers, holder), servers, file, secret)


def _keys(
    settings: Settings,
    choice: Choice,
    file: JournalFile,
    secret: DsnSecret,
    checker: Checker,
    refusals: Refusals,
) -> KeyServer:
    if settings.sentry_api:
        if choice.new_dsn:
            raise SettingsError(
                "a new DSN was given, and RESENTRY_SENTRY_API makes new keys",
                "leave out --new-dsn, or unset RESENTRY_SENTRY_API",
            )
        api = open_api(settings, SUBJECT)
        return Keys(api, settings.sentry_organization, settings.sentry_project)

    if settings.dsn_check_backend == "glitchtip":
        raise SettingsError(
            "GlitchTip blocks a whole project when it is asked about a wrong key, so only "
            "its API can tell whether a key was deleted",
            "set RESENTRY_SENTRY_API, the organization, the project and a token",
        )
    if choice.new_dsn:
        try:
            split_dsn(choice.new_dsn)
        except ValueError as error:
            raise SettingsError(
                f"the new DSN {error}", "give a file that holds the DSN alone"
            ) from None
    return GivenKeys(
        partial(_dsns_of, file, secret),
        choice.new_dsn,
        lambda: _wanted(file),
        refusals,
        partial(is_denied, checker),
    )


def _dsns_of(file: JournalFile, secret: DsnSecret) -> list[str]:
    """Return the DSNs that the secret holds, and has held in the newest rotation."""
    journal, _ = file.load()
    found = [secret.read().dsn]
    before = journal.version if journal is not None else 0
    for version in (before, before + 1) if before else ():  # check-and-set: one more
        try:
            found.append(secret.read(version).dsn)
        except SourceMissing:  # not written yet, or so old that Vault has dropped it
            if version == before and journal is not None and not journal.has_ended:
                raise
    return found


def _wanted(file: JournalFile) -> str:
    journal, _ = file.load()
    return "" if journal is None or journal.has_ended else journal.new


def decided(
    journal: Journal, choice: Choice, now: float, *, is_aborting: bool
) -> dict[str, Any]:
    """Return what a person changes in a rotation that is under way; its journal says so."""
    texts = []
    changes: dict[str, Any] = {
        "is_aborting": is_aborting or journal.is_aborting,
        "forced": tuple(sorted({*journal.forced, *choice.forced})),
        "held": "",
        "tries": 0,
    }
    if is_aborting:
        texts.append("a person goes back to the old DSN")
    elif journal.held:
        texts.append("a person goes on")
    if choice.forced:
        texts.append(f"not waited for: {', '.join(choice.forced)}")
    if choice.leaked_seconds is not None:
        until = now + choice.leaked_seconds
        changes |= {"deadline": until, "quiet_seconds": choice.quiet_seconds or 0.0}
        texts.append(f"the old key has leaked: it is retired at {_time(until)}")
    elif choice.quiet_seconds is not None:
        changes["quiet_seconds"] = choice.quiet_seconds
        texts.append(f"quiet is {choice.quiet_seconds:g} s")
    if {choice.leaked_seconds, choice.quiet_seconds} != {None}:
        changes["needs_quiet"] = False
    if choice.refused_seconds is not None:
        changes["refused_seconds"] = choice.refused_seconds
    if texts:
        changes["entries"] = journal.note(now, "; ".join(texts)).entries
    return changes


def _time(moment: float) -> str:
    return time_text(moment, "seconds")


def plan(opened: Opened, choice: Choice) -> Journal:
    """Return the first journal of a rotation. Nothing is changed.

    Raises `SettingsError` if the choice does not fit the secret.
    """
    held = opened.secret.read()
    if not fingerprint(held.dsn):
        owner = f"role {choice.role}" if choice.role else "all roles"
        raise SettingsError(
            f"{opened.secret.path} holds no DSN for {owner}",
            "check --secret and --role",
        )
    own = [
        role for role, values in opened.secret.roles().items() if "SENTRY_DSN" in values
    ]
    if own and not choice.role:
        raise SettingsError(
            f"these roles have a DSN of their own: {', '.join(sorted(own))}",
            "name one with --role, and rotate one after the other",
        )
    if choice.new_dsn and fingerprint(choice.new_dsn) == fingerprint(held.dsn):
        raise SettingsError(
            "the secret already holds this DSN",
            "make another key, and give its DSN with --new-dsn FILE",
        )
    now, leaked, quiet = time.time(), choice.leaked_seconds, choice.quiet_seconds
    keys = opened.servers.keys.all()
    old = _old_key(keys, held.dsn)
    mark = mark_of(opened.secret.path, choice.role)
    must_be_alone(keys, mark, old)
    if quiet is None and leaked is None:
        quiet = QUIET_SECONDS
        if opened.servers.keys.quiet_for(old, now) is None:
            raise SettingsError(
                "this server does not tell when something came by a key last",
                "set --quiet to the time of your longest job, as 30m",
            )
    journal = Journal(
        rotation=f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{mark}-{secrets.token_hex(2)}",
        secret=opened.secret.path,
        role=choice.role,
        old=fingerprint(held.dsn),
        quiet_seconds=quiet or 0.0,
        needs_quiet=choice.quiet_seconds is None and leaked is None,
        refused_seconds=(
            REFUSED_SECONDS
            if choice.refused_seconds is None
            else choice.refused_seconds
        ),
        deadline=None if leaked is None else now + leaked,
        forced=choice.forced,
        since=now,
    )
    changes = decided(journal, choice, now, is_aborting=False)
    return (
        replace(journal, entries=changes["entries"])
        if "entries" in changes
        else journal
    )


def mark_of(secret: str, role: str) -> str:
    """Return what the names of all new keys of one secret and role have in common."""
    return hashlib.sha256(f"{secret}\n{role}".encode()).hexdigest()[:6]


def must_be_alone(keys: Iterable[Key], mark: str, old: Key) -> None:
    """Raise `RotationBusy` if a rotation with another journal has made a key."""
    for key in keys:
        is_made = key.name.startswith("resentry-") and f"-{mark}-" in key.name
        if is_made and key.is_active and key.id != old.id:
            raise RotationBusy(
                f"the key {key.name} is active, and the secret does not hold its DSN: "
                "another rotation of this secret, with another journal, may be under way",
                "end that one with its RESENTRY_ROTATION_PATH and --abort; if there is "
                "none, deactivate the key at the server",
            )


def _old_key(keys: Iterable[Key], dsn: str) -> Key:
    """Return the key to retire. Raises `SettingsError` if the server does not know it."""
    mark = fingerprint(dsn)
    old = next((key for key in keys if key.fingerprint == mark), None)
    if old is None:
        raise SettingsError(
            f"the project of the API has no key with the DSN {show_dsn(dsn)}, so the "
            "rotation could not retire it",
            "check RESENTRY_SENTRY_API, RESENTRY_SENTRY_ORGANIZATION and "
            "RESENTRY_SENTRY_PROJECT; if the DSN has another host than the server's own "
            "DSNs (a Relay), unset RESENTRY_SENTRY_API and use --new-dsn",
        )
    return old
