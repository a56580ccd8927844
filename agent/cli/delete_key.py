"""`delete-key`: deletes what a rotation has retired."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from agent.cli import options
from agent.cli.durations import seconds_of
from agent.cli.rotate import only_secret
from agent.cli.rotating import answer_of
from agent.domain.value import replace
from agent.errors import SettingsError

if TYPE_CHECKING:
    from agent.cli.answer import Answer
    from agent.settings import Loaded


@options.command("delete-key")
@click.option(
    "--secret",
    metavar="PATH",
    help="The secret (default: that of RESENTRY_VAULT_PATHS).",
)
@click.option("--role", default="", metavar="ROLE", help="The role of the rotation.")
@click.option(
    "--after",
    default="168h",
    show_default=True,
    metavar="TIME",
    help="Only so long after the rotation was done. Until then (a week) the key can be "
    "activated again.",
)
def command(loaded: Loaded, *, secret: str | None, role: str, after: str) -> Answer:
    """Delete the key that the last rotation retired.

    It cannot be activated again. Only the key of a rotation that is done is deleted, and
    only if it is not active. Needs a token with the scope project:admin, which no other
    command needs: give it to this command alone.
    """
    from agent.rotation.delete import delete_retired  # noqa: PLC0415 - heavy
    from agent.rotation.open import Choice, open_rotation  # noqa: PLC0415 - heavy

    settings, seconds = loaded.settings, seconds_of("--after", after)
    if not settings.sentry_api:
        raise SettingsError(
            "this command deletes keys by the API of Sentry or GlitchTip",
            "set RESENTRY_SENTRY_API, or delete the key on the server's page",
        )
    opened = open_rotation(settings, Choice(secret or only_secret(settings), role))
    keys, owner = opened.servers.keys, (opened.secret.path, role)
    done = delete_retired(opened.file, owner, keys, seconds, time.time())
    answer = answer_of(done)
    return replace(answer, lines=(*answer.lines, done.entries[-1].text))
