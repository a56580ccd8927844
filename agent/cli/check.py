"""`check`: is everything good that a pass will need? Step by step, leaving nothing."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, cast

import click

from agent.cli import options
from agent.cli.answer import NO, Answer, named_error
from agent.cli.check_volume import receipts_step, volume_step
from agent.cli.gather import UNRESPONSIVE_HINT, gather
from agent.cli.lines import idle_role_text
from agent.cli.results import CheckResult, Step
from agent.domain.newest import decode_marks
from agent.domain.validate import validate
from agent.domain.view import TUNING_PATH, VOLUME
from agent.errors import (
    AgentAway,
    AgentError,
    PublishError,
    SettingsError,
    SourceDenied,
)
from agent.listen import must_be_free, must_be_usable
from agent.parts import USER_AGENT
from agent.protect import protect
from agent.publish.memory import NEWEST
from agent.publish.volume import Volume
from agent.source.choose import open_source
from resentry.values import show_dsn

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.domain.candidate import Candidate
    from agent.settings import Loaded, Settings
    from agent.source import Source
    from agent.source.vault import VaultSource
    from resentry.contract import Snapshot


@options.command("check", with_all_settings=True, is_warning=False, is_heavy=True)
@click.option("--policy", is_flag=True, help="Print the Vault policy that is needed.")
def command(loaded: Loaded, *, policy: bool) -> Answer:
    """Check settings, source, values, volume and processes.

    Prints one step per line and publishes nothing. Exits with 0 if all is good, else
    with the code of the first problem.
    """
    protect()
    if policy:
        options.warn(loaded)
        text = _policy(loaded.settings)
        return Answer(CheckResult(steps=[], policy=text), tuple(text.splitlines()))
    checks = _Checks(loaded)
    checks.run()
    lines = []
    for step in checks.steps:
        lines.append(f"{step.result:7} {step.step:9} {step.detail}")
        if step.hint:
            lines.append(f"{'':17} {step.hint}")
    problem = checks.problem
    return Answer(
        CheckResult(steps=checks.steps),
        tuple(lines),
        named_error(problem) if problem else None,
        problem.exit_code if problem else 0,
    )


def _joined(*texts: str) -> str:
    return "; ".join(filter(None, texts))


def _policy(settings: Settings) -> str:
    if settings.source_path:
        raise SettingsError("a mounted source needs no Vault policy")
    from agent.source import rights  # noqa: PLC0415 - with hvac, which files do without
    from agent.source.vault import VaultSource  # noqa: PLC0415

    with contextlib.closing(VaultSource(settings, USER_AGENT)) as source:
        source.limit(_deadline(settings))
        return rights.vault_policy(settings, source)


def _deadline(settings: Settings) -> float:
    """Return when a pass that began now would have to end."""
    return time.monotonic() + settings.pass_seconds


class NotConfirmed(AgentError):
    """Some process does not run what is published."""

    exit_code = NO


class _Checks:
    """The steps in the order in which a pass needs them."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._source: Source | None = None
        self._until = _deadline(loaded.settings)
        self._candidate: Candidate | None = None
        self._snapshot: Snapshot | None = None
        self.problem: AgentError | None = None
        """The first problem."""
        self.steps: list[Step] = []

    def run(self) -> None:
        """Do each step. A step is skipped if it needs one that has a problem."""
        self._step("settings", self._settings)
        with contextlib.ExitStack() as stack:
            if self._source is not None:
                stack.callback(self._source.close)
            self._step("source", self._reach)
            self._step("rights", self._rights)
            self._step("secret", self._secret)
        self._step("values", self._values)
        if self._loaded.settings.tuning_path:
            self._step("tuning", self._tuning)
        self._step("volume", lambda settings: volume_step(settings, self._snapshot))
        self._step("listen", self._listen)
        self._step("receipts", receipts_step)
        self._step("targets", self._targets)

    def _step(self, name: str, step: Callable[[Settings], str | None]) -> None:
        try:
            detail = step(self._loaded.settings)
        except AgentError as error:
            self.problem = self.problem or error
            row = Step(step=name, result="problem", detail=error.what, hint=error.hint)
        else:
            row = Step(step=name, result="ok", detail=detail or "", hint="")
            if detail is None:
                missing = "an earlier step has a problem"
                row = Step(step=name, result="skipped", detail=missing, hint="")
        self.steps.append(row)

    def _settings(self, settings: Settings) -> str:
        warnings = "; ".join(self._loaded.warnings)
        try:
            self._source = open_source(settings, USER_AGENT)
        except SettingsError as error:  # a misspelt name explains a missing setting
            raise SettingsError(error.what, _joined(warnings, error.hint)) from None
        return warnings or "complete"

    def _reach(self, settings: Settings) -> str | None:
        if self._source is None:
            return None
        if settings.source_path:
            return settings.source_path
        source = cast("VaultSource", self._source)
        source.limit(self._until)
        source.log_in()
        try:
            locations = [source.locate(path) for path in settings.vault_paths]
        except SourceDenied:
            source.token.recheck()  # says so, if the token itself is not known
            raise
        kinds = ", ".join(f"{each.path} (KV v{each.version})" for each in locations)
        return f"{settings.shown_addr} answers: {kinds}"

    def _rights(self, settings: Settings) -> str | None:
        if self.problem:
            return None
        if settings.source_path:
            return "a mounted source needs no rights"
        from agent.source import rights  # noqa: PLC0415 - with hvac

        source = cast("VaultSource", self._source)
        unreadable = rights.unreadable(source, settings.vault_paths)
        if unreadable is None:
            return "unknown: the token may not ask Vault for its rights"
        if unreadable:
            raise SourceDenied(
                f"the token may not read {', '.join(unreadable)}",
                "resentry-agent check --policy prints the policy that the token needs",
            )
        return "the token may read each path"

    def _secret(self, settings: Settings) -> str | None:
        if self.problem or self._source is None:
            return None
        memory = Volume(settings.dir, settings.receipts_dir).memory
        self._source.remember(decode_marks(memory.read(NEWEST)))
        self._candidate = self._source.read(self._until)
        count = len(self._candidate.values)
        keys = "1 key" if count == 1 else f"{count} keys"
        return "; ".join((keys, *self._candidate.notes))

    def _values(self, settings: Settings) -> str | None:
        if self._candidate is None:
            return None
        current = Volume(settings.dir, settings.receipts_dir).current()
        snapshot, notes = validate(
            self._candidate, settings.guard_rails, current, time.time()
        )
        self._snapshot = snapshot
        dsn = snapshot.settings.get("SENTRY_DSN")
        shown = "no DSN in it" if dsn is None else f"DSN {show_dsn(dsn)}"
        return "; ".join((f"revision {snapshot.revision}, {shown}", *notes))

    def _tuning(self, settings: Settings) -> str | None:
        """Judge the tuning file on top of what the source holds."""
        if self._snapshot is None:
            return None
        from agent.source.tuning import open_tuning  # noqa: PLC0415 - most have none

        with contextlib.closing(open_tuning(settings)) as tuning:
            tuning.look()
            tuning.wait(self._until - time.monotonic())
            self._snapshot = tuning.over(self._snapshot, time.time())
            if tuning.error is not None:
                raise tuning.error
            report = tuning.report()
        keys = ", ".join(report["keys"]) or "nothing on top of the source"
        return "; ".join((f"{report['path']}: {keys}", *report["notes"]))

    def _listen(self, settings: Settings) -> str:
        """Say whether addresses and control socket can be used, or are in use."""
        control = settings.control_path
        places = (settings.http_listen, settings.probes_listen, control)
        named = ", ".join(str(place) for place in places if place is not None)
        status = gather(settings)
        if status.agent == "not responding":
            raise AgentAway(
                f"the agent does not respond: {status.origin.why}", UNRESPONSIVE_HINT
            )
        if status.agent == "running":
            for problem in status.problems:
                if problem.setting == TUNING_PATH:
                    continue  # a step of its own
                if problem.setting == VOLUME:
                    raise PublishError(problem.what, problem.hint)
                raise SettingsError(problem.what, problem.hint)
            return f"{named} are used by the running agent"
        must_be_free(settings.http_listen)
        must_be_free(settings.probes_listen)
        must_be_usable(control)
        return f"{named} can be used"

    def _targets(self, settings: Settings) -> str:
        """Say which snapshot the live targets run, and what keeps them from it."""
        rollout = gather(settings, is_asking=False).rollout
        if rollout.unknown:
            raise PublishError(rollout.unknown, f"this runs as user {os.geteuid()}")
        bad = [target for target in rollout.targets if target.error]
        blind = [f"{each.name}: {each.error}" for each in bad if each.readable]
        if blind:
            raise PublishError(
                f"processes that cannot apply the snapshot: {'; '.join(blind)}",
                "a process must be in the group of the volume: see RESENTRY_GROUP",
            )
        if bad:
            errors = "; ".join(f"{each.name}: {each.error}" for each in bad)
            raise PublishError(
                f"processes without a readable receipt: {errors}",
                "agent and library must be of the same or of neighbouring versions",
            )
        if rollout.obstacle or rollout.state == "overdue":
            raise NotConfirmed(rollout.sentence, rollout.hint)
        return "; ".join((rollout.sentence, *map(idle_role_text, rollout.idle_roles)))
