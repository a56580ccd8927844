"""What the rules look at, gathered once: settings, volume, receipts, and the source."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from agent.doctor.rule import SkippedError, UnknownError
from agent.domain.dsn_check import dsns_of
from agent.domain.provenance import TUNING_FILE
from agent.domain.value import replace
from agent.domain.wishes import OPERATOR
from agent.dsn_check.send import check_sender
from agent.errors import AgentError, SettingsError
from agent.parts import USER_AGENT
from agent.publish.files import gid_of
from agent.source.choose import open_source
from resentry import formats
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.doctor.bridge_facts import BridgeFacts
    from agent.domain.candidate import Candidate
    from agent.domain.rollout import Rollout
    from agent.observe.results import SourceReport, StatusResult
    from agent.settings import Settings
    from agent.source.vault import VaultSource
    from resentry.contract import Snapshot


_TRY_SECONDS = 3.0
_PATH = "MOUNT/data/PATH"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the source answered when it was asked just now."""

    error: AgentError | None = None
    candidate: Candidate | None = None
    surplus: tuple[str, ...] | None = None
    """Rights of the token that the agent does not need; `None` if Vault did not tell."""
    is_renewable: bool | None = None
    token_ends_at: str | None = None
    clock_seconds: float | None = None
    """How far this machine's clock is ahead of the source's."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is known at one moment."""

    settings: Settings
    status: StatusResult
    rollout: Rollout
    current: Snapshot | None
    now: float
    environ: Mapping[str, str]
    settings_error: AgentError | None = None
    warnings: tuple[str, ...] = ()
    asked: Asked | None = None
    """`None` if the source was left out by choice."""
    tried: Mapping[str, str] = field(default_factory=dict)
    """What a request from here met, for each published DSN that a process cannot reach."""
    bridge: BridgeFacts | None = None
    """`None` if no bridge is configured here."""
    why_unknown: str = ""
    """Why nobody knows whether an agent runs."""
    is_copy: bool = False
    """Whether the volume is a copy, or an orphan: nothing here belongs to it."""

    @property
    def own(self) -> Settings:
        """The settings of the volume's agent. For a copy they are not known: skipped."""
        self.must_be_own()
        return self.settings

    def must_be_own(self) -> None:
        """Skip the rule for a copied volume."""
        if self.is_copy:
            raise SkippedError("a copied volume does not tell this (--from-volume)")

    @property
    def published(self) -> Snapshot:
        """The published snapshot. Without one the rule is skipped."""
        if self.current is None:
            raise SkippedError("nothing is published")
        return self.current

    @property
    def last_pass(self) -> SourceReport:
        """What the agent's last pass told. Without one the rule is skipped."""
        if not self.status.source.outcome:
            raise SkippedError("no pass of an agent is known")
        return self.status.source

    @property
    def values_by_role(self) -> dict[str, dict[str, Any]]:
        """What is published for each role; `every role` is one that has no own values."""
        snapshot = self.published
        roles = {"every role": {}, **snapshot.roles}
        return {role: {**snapshot.settings, **own} for role, own in roles.items()}

    @property
    def source(self) -> Asked:
        """What the source answered. With `--offline` the rule is skipped."""
        self.must_be_own()
        if self.settings_error is not None:
            raise UnknownError("the settings are wrong")
        if self.asked is None:
            raise SkippedError("the source was left out (--offline)")
        return self.asked

    @property
    def vault(self) -> Asked:
        """What Vault answered. The rule is skipped for a mounted source."""
        if self.settings.source_path:
            raise SkippedError("the source is mounted: no Vault is asked")
        return self.source

    @property
    def candidate(self) -> Candidate:
        """What the source holds. The rule is unknown if it could not be read."""
        asked = self.source
        if asked.candidate is None:
            raise UnknownError("the source could not be read")
        return asked.candidate

    def write(self, setting: str) -> str:
        """Return what to type so that the source holds this setting, as `KEY=VALUE`."""
        if self.is_copy:
            return f"write {setting} to the source of the volume's agent"
        tuning = self.status.tuning
        if tuning is not None and setting.partition("=")[0] in tuning.keys:
            return f"write {setting} to the tuning file, {tuning.path}"
        if self.settings.source_path:
            return f"write {setting} to {self.settings.source_path}"
        path = next(iter(self.settings.vault_paths), _PATH)
        return f"vault kv patch {secret_of(path)} {setting}"

    def write_anew(self, text: str) -> str:
        """Return what to type to write a secret that is missing, with all its keys.

        The secret is the one that the text names, or else the first one. Its keys are those
        that are published.
        """
        origins = self.current.provenance if self.current else {}
        if self.settings.source_path:
            of_source = (
                key
                for key, origin in origins.items()
                if origin.get("source") not in {TUNING_FILE, *OPERATOR.values()}
            )
            names = ", ".join(of_source) or "SENTRY_DSN"
            return f"write {names} to {self.settings.source_path}"
        paths = [plain_path(path) for path in self.settings.vault_paths]
        path = next((path for path in paths if path in text), (*paths, _PATH)[0])
        keys = [key for key, origin in origins.items() if origin.get("path") == path]
        pairs = " ".join(f"{key}=VALUE" for key in keys or ["SENTRY_DSN"])
        return f"vault kv put {secret_of(path)} {pairs}"

    def seconds_since(self, text: str | None) -> float | None:
        """Return how long ago a time of a document was; `None` without a time."""
        try:
            return self.now - formats.moment(text)
        except ValueError:
            return None


def plain_path(configured: str) -> str:
    """Return the path of a secret, without a version and what else may stand around it."""
    return configured.partition("?")[0].strip("/").removeprefix("v1/")


def secret_of(path: str) -> str:
    """Return how the commands `vault kv` name a secret."""
    path = plain_path(path)
    mount, marker, name = path.partition("/data/")
    if not marker:
        mount, _, name = path.partition("/")
    return f"-mount={mount} {name}"


def ask_source(settings: Settings) -> Asked:
    """Ask the source as a pass does, and Vault also what the token may do."""
    with contextlib.closing(open_source(settings, USER_AGENT)) as source:
        try:
            asked = Asked(
                candidate=source.read(time.monotonic() + settings.pass_seconds)
            )
        except AgentError as error:
            asked = Asked(error)
        if settings.source_path:
            return asked
        return _with_vault(asked, settings, cast("VaultSource", source))


def _with_vault(asked: Asked, settings: Settings, source: VaultSource) -> Asked:
    """Add what only Vault can tell."""
    from agent.source import rights  # noqa: PLC0415 - with hvac, which files do without

    surplus = None
    if asked.error is None:
        with contextlib.suppress(AgentError):
            surplus = rights.surplus(source, settings.vault_paths)
    return replace(
        asked,
        surplus=surplus,
        is_renewable=source.token.is_renewable,
        token_ends_at=source.token.ends_at(),
        clock_seconds=source.api.session.clock_seconds,
    )


def try_dsns(current: Snapshot | None, rollout: Rollout) -> dict[str, str]:
    """Ask the server of each published DSN that a process cannot reach, as a DSN check does.

    Returns what came of it, by fingerprint. It uses no quota.
    """
    answers = [each for target, _ in rollout.targets for each in target.receipt.answers]
    unreached = {answer.dsn for answer in answers if answer.kind == "unreached"}
    dsns = {fingerprint(dsn): dsn for dsn in (dsns_of(current) if current else ())}
    tried = {}
    for mark in unreached & dsns.keys():
        try:
            answer = check_sender(USER_AGENT)(dsns[mark], _TRY_SECONDS)
        except OSError as error:
            tried[mark] = f"from the agent: {error}"
        else:
            tried[mark] = f"from the agent its server can be reached: {answer}"
    return tried


def problem_of(settings: Settings) -> AgentError | None:
    """Return what is wrong with settings that can only be seen together, or on this system."""
    try:
        open_source(settings, USER_AGENT).close()
        gid_of(settings.group)
    except SettingsError as error:
        return error
    return None
