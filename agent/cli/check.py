"""`check`: is everything good that a pass will need? Step by step, changing nothing."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

from agent.cli import USER_AGENT, settings_options
from agent.domain.validate import validate
from agent.errors import AgentError, PublishError
from agent.publish.volume import Volume
from agent.source.vault import VaultSource
from resentry.values import show_dsn

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.domain.candidate import Candidate
    from agent.settings import Loaded, Settings


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def command(loaded: Loaded, *, as_json: bool) -> None:
    """Say whether settings, Vault, secret, values, volume and rights are good.

    Publishes nothing. Exits 0 if all are, else with the first problem's code.
    """
    checks = _Checks(loaded)
    steps = checks.run()
    if as_json:
        click.echo(json.dumps({"good": checks.exit_code == 0, "steps": steps}))
    else:
        for step in steps:
            click.echo(f"{step['result']:7} {step['step']:9} {step['detail']}")
            if step["hint"]:
                click.echo(f"{'':17} {step['hint']}")
    sys.exit(checks.exit_code)


class _Checks:
    """The steps in the order in which a pass needs them."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._source: VaultSource | None = None
        self._candidate: Candidate | None = None
        self.exit_code = 0

    def run(self) -> list[dict[str, str]]:
        """Return one row per step; a step whose ground is missing is skipped."""
        steps: list[tuple[str, Callable[[Settings], str | None]]] = [
            ("settings", self._settings),
            ("vault", self._vault),
            ("secret", self._secret),
            ("values", self._values),
            ("volume", self._volume),
            ("rights", self._rights),
        ]
        return [self._step(name, step) for name, step in steps]

    def _step(
        self, name: str, step: Callable[[Settings], str | None]
    ) -> dict[str, str]:
        row = {"step": name, "result": "ok", "detail": "", "hint": ""}
        try:
            detail = step(self._loaded.settings)
        except AgentError as error:
            self.exit_code = self.exit_code or error.exit_code
            return row | {"result": "problem", "detail": error.what, "hint": error.hint}
        if detail is None:
            return row | {"result": "skipped", "detail": "needs the step before it"}
        return row | {"detail": detail}

    def _settings(self, settings: Settings) -> str:
        self._source = VaultSource(settings, USER_AGENT)
        return "; ".join(self._loaded.warnings) or "complete"

    def _vault(self, settings: Settings) -> str | None:
        if self._source is None:
            return None
        self._source.log_in()
        found = [self._source.locate(path) for path in settings.vault_paths]
        kinds = ", ".join(f"{at.path} (KV v{at.version})" for at in found)
        return f"{settings.vault_addr} answers: {kinds}"

    def _secret(self, _settings: Settings) -> str | None:
        if self._source is None or self.exit_code:
            return None
        self._candidate = self._source.read()
        return f"{len(self._candidate.values)} keys"

    def _values(self, settings: Settings) -> str | None:
        if self._candidate is None:
            return None
        current = Volume(settings.dir, settings.receipts_dir).current()
        snapshot, notes = validate(self._candidate, settings.policy, current)
        dsn = snapshot.settings.get("SENTRY_DSN")
        shown = "no DSN in it" if dsn is None else f"DSN {show_dsn(dsn)}"
        return "; ".join((f"revision {snapshot.revision}, {shown}", *notes))

    def _volume(self, settings: Settings) -> str:
        directory = settings.dir
        while directory and not os.path.isdir(directory):
            directory = os.path.dirname(directory)
        if not os.access(directory or ".", os.W_OK | os.X_OK):
            raise PublishError(
                f"cannot write {directory}", f"this runs as user {os.geteuid()}"
            )
        if Volume(settings.dir, settings.receipts_dir, settings.group).is_open():
            return f"{settings.dir} is in use by a running agent"
        return f"{settings.dir} can be written"

    def _rights(self, settings: Settings) -> str:
        receipts = settings.receipts_dir
        if not os.path.isdir(receipts):
            return f"{receipts} will be made"
        found = os.stat(receipts)
        if os.geteuid() not in (0, found.st_uid):
            raise PublishError(
                f"{receipts} belongs to user {found.st_uid}",
                "the agent must own it, to remove what dead targets leave",
            )
        mode = f"{found.st_mode & 0o7777:o}"
        return f"{receipts} has mode {mode} and group {found.st_gid}"
