"""Makes the parts of a rotation from the settings, and its plan."""

from __future__ import annotations

import os
import secrets
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from agent._version import __version__
from agent.domain.dsn_check import Times
from agent.dsn_check.checker import Checker
from agent.dsn_check.send import check_sender
from agent.errors import SettingsError
from agent.fleet.open import ask_fleet, must_be_named
from agent.rotation.given import GivenKeys
from agent.rotation.journal import REFUSED_SECONDS, Journal
from agent.rotation.keeper import Keeper
from agent.rotation.keys import SUBJECT, Keys
from agent.rotation.vault import DsnSecret, JournalFile
from agent.rotation.world import Servers, fleet_of, is_refused
from agent.sentry_api.open import open_api
from agent.source.vault import VaultSource
from resentry.contract import fingerprint
from resentry.values import split_dsn

if TYPE_CHECKING:
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
    refused_seconds: float = REFUSED_SECONDS
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
    keys = _keys(settings, choice, file, secret, checker)
    servers = Servers(
        keys,
        secret,
        checker,
        lambda: fleet_of(ask_fleet(settings), choice.role, int(settings.fleet_expect)),
        is_glitchtip=is_glitchtip,
    )
    holder = f"{socket.gethostname()} pid {os.getpid()} {secrets.token_hex(4)}"
    return Opened(Keeper(file, servers, holder), servers, file, secret)


def _keys(
    settings: Settings,
    choice: Choice,
    file: JournalFile,
    secret: DsnSecret,
    checker: Checker,
) -> KeyServer:
    if settings.sentry_api:
        api = open_api(settings, SUBJECT)
        return Keys(api, settings.sentry_organization, settings.sentry_project)

    def dsns() -> list[str]:
        journal, _ = file.load()
        before = journal.version if journal is not None else 0
        newest = secret.read().dsn
        return [newest, *([secret.read(before).dsn] if before else [])]

    return GivenKeys(dsns, choice.new_dsn, partial(is_refused, checker))


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
    if choice.new_dsn:
        try:
            split_dsn(choice.new_dsn)
        except ValueError as error:
            raise SettingsError(f"the new DSN {error}") from None
        if fingerprint(choice.new_dsn) == fingerprint(held.dsn):
            raise SettingsError("the secret already holds this DSN")
    now, leaked, quiet = time.time(), choice.leaked_seconds, choice.quiet_seconds
    if quiet is None and leaked is None:
        quiet = QUIET_SECONDS
        if not _tells_quiet(opened, fingerprint(held.dsn), now):
            raise SettingsError(
                "this server does not tell when something came by a key last",
                "set --quiet to the time of your longest job, as 30m",
            )
    return Journal(
        rotation=f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(2)}",
        secret=opened.secret.path,
        role=choice.role,
        old=fingerprint(held.dsn),
        quiet_seconds=quiet or 0.0,
        needs_quiet=choice.quiet_seconds is None and leaked is None,
        refused_seconds=choice.refused_seconds,
        deadline=None if leaked is None else now + leaked,
        forced=choice.forced,
        since=now,
    )


def _tells_quiet(opened: Opened, mark: str, now: float) -> bool:
    """Whether the server can say how long nothing came by the old key."""
    keys = opened.servers.keys
    old = next((key for key in keys.all() if key.fingerprint == mark), None)
    return old is not None and keys.quiet_for(old, now) is not None
