"""What the commands besides `status` print with `--json`, field by field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from agent.alerts.results import NoticeResult, RulesResult
from agent.cli.explain_results import ExplainResult
from agent.cli.fleet_results import FleetResult
from agent.cli.validate_results import ValidateResult
from agent.doctor.results import DoctorResult
from agent.domain.outcome import Kind
from agent.domain.verified import Stored, Verdict
from agent.observe.results import (
    Envelope,
    Receiver,
    StatusResult,
)
from agent.observe.target_results import RolloutSummary
from agent.observe.tuning_results import Boost, Ceiling, Moment


class PassResult(Struct, frozen=True, kw_only=True):
    """What a pass came to."""

    outcome: Annotated[Kind, Meta(description="The outcome.")]
    sentence: Annotated[str, Meta(description="The outcome in words.")]
    hint: Annotated[str, Meta(description="What to do; may be empty.")]
    notes: Annotated[
        list[str], Meta(description="What else the pass noticed, in words.")
    ]
    revision: Annotated[
        str | None, Meta(description="The revision that is published after the pass.")
    ]
    sequence: Annotated[int, Meta(description="The sequence number of that revision.")]


class OnceResult(PassResult, frozen=True, kw_only=True):
    """The result of `once`."""

    rollout: Annotated[RolloutSummary, Meta(description="The processes.")]
    notify: Annotated[
        list[Receiver], Meta(description="The receivers of notifications.")
    ]


class RequestResult(PassResult, frozen=True, kw_only=True):
    """The result of `refresh` and `rollback`: what the running agent did."""

    boosts: Annotated[list[Boost], Meta(description="The boosts that have not ended.")]
    ceilings: Annotated[list[Ceiling], Meta(description="The ceilings in force.")]


class WishResult(Struct, frozen=True, kw_only=True):
    """The result of `boost` and `throttle`."""

    boosts: Annotated[list[Boost], Meta(description="The boosts that have not ended.")]
    ceilings: Annotated[list[Ceiling], Meta(description="The ceilings in force.")]
    done: Annotated[
        PassResult | None,
        Meta(description="What the running agent did; null for `--list`."),
    ]


class Step(Struct, frozen=True, kw_only=True):
    """One step of `check`."""

    step: Annotated[str, Meta(description="The name of the step.")]
    result: Annotated[
        Literal["ok", "problem", "skipped"],
        Meta(description="`skipped` if an earlier step has a problem."),
    ]
    detail: Annotated[str, Meta(description="What was found, in words.")]
    hint: Annotated[str, Meta(description="What to do; may be empty.")]


class CheckResult(Struct, frozen=True, kw_only=True):
    """The result of `check`."""

    steps: Annotated[list[Step], Meta(description="The steps; none with `--policy`.")]
    policy: Annotated[
        str | None, Meta(description="The Vault policy; null without `--policy`.")
    ] = None


class HistoryEntry(Struct, frozen=True, kw_only=True):
    """One earlier snapshot."""

    sequence: Annotated[int, Meta(description="Its number on this volume.")]
    revision: Annotated[str, Meta(description="Its name, made from its content.")]
    published_at: Annotated[Moment, Meta(description="When it was published.")]
    changed: Annotated[
        list[str], Meta(description="The settings that changed with it.")
    ]
    rollback: Annotated[
        bool, Meta(description="True if an operator's rollback published it.")
    ]
    settings: Annotated[
        dict[str, Any],
        Meta(description="The settings for all roles. Keys of DSNs are masked."),
    ]


class HistoryResult(Struct, frozen=True, kw_only=True):
    """The result of `history`."""

    history: Annotated[
        list[HistoryEntry], Meta(description="The snapshots, newest first.")
    ]


class WaitResult(Struct, frozen=True, kw_only=True):
    """The result of `wait`."""

    lacking: Annotated[
        list[str],
        Meta(description="What is still missing, in words; nothing when all is done."),
    ]
    status: Annotated[
        StatusResult, Meta(description="The last status, as of `status`.")
    ]


class VerifyItem(Struct, frozen=True, kw_only=True):
    """One test item of one process."""

    kind: Annotated[str, Meta(description="What was sent.")]
    verdict: Annotated[
        Verdict,
        Meta(
            description="`off`: nothing of the kind was to be sent, or this server keeps "
            "none. `unknown`: it could not be examined."
        ),
    ]
    state: Annotated[
        str,
        Meta(
            description="What the process reports: `handed`, `accepted`, `refused`, "
            "`limited`, `failed`, `unreached`, `unused`, `busy` or `swapped`."
        ),
    ]
    status: Annotated[
        int | None,
        Meta(description="The server's status code; null without an answer."),
    ]
    event: Annotated[str, Meta(description="Its id at the server; may be empty.")]
    ms: Annotated[float, Meta(description="The time until the server's answer.")]
    stored: Annotated[
        Stored,
        Meta(
            description="Whether the server has it. `never`: this server keeps no items of "
            "the kind. `not asked` without `--stored`."
        ),
    ]
    environment: Annotated[
        str, Meta(description="As the server has stored it; may be empty.")
    ]
    release: Annotated[
        str, Meta(description="As the server has stored it; may be empty.")
    ]
    sentence: Annotated[str, Meta(description="What became of it, in words.")]
    hint: Annotated[str, Meta(description="What to do; may be empty.")]


class VerifyProcess(Struct, frozen=True, kw_only=True):
    """One process's part in a verification."""

    id: Annotated[str, Meta(description="The name of its receipt.")]
    name: Annotated[str, Meta(description="The process for people, as `api pid 7`.")]
    role: Annotated[str, Meta(description="Its role.")]
    pid: Annotated[int | None, Meta(description="Its process id, if it is known.")]
    dsn: Annotated[str, Meta(description="The fingerprint of the DSN it sends by.")]
    environment: Annotated[str, Meta(description="The environment that it runs.")]
    release: Annotated[str, Meta(description="The release that it runs.")]
    verdict: Annotated[
        Verdict,
        Meta(
            description="`off`: it was to send nothing. `unknown`: it could not be "
            "examined. `waiting` with `--dry-run`: it would send the items."
        ),
    ]
    sentence: Annotated[str, Meta(description="The verdict in words.")]
    hint: Annotated[str, Meta(description="What to do; may be empty.")]
    items: Annotated[list[VerifyItem], Meta(description="What it sent.")]


class VerifyResult(Struct, frozen=True, kw_only=True):
    """The result of `verify`."""

    nonce: Annotated[
        str | None,
        Meta(
            description="The value of the tag `resentry.verify` of all items; null with "
            "`--dry-run`."
        ),
    ]
    kinds: Annotated[list[str], Meta(description="What the processes were asked for.")]
    unknown: Annotated[
        str, Meta(description="Why there may be other processes; mostly empty.")
    ]
    sentence: Annotated[str, Meta(description="The whole in words.")]
    processes: Annotated[list[VerifyProcess], Meta(description="The processes.")]


class LogLevelResult(Struct, frozen=True, kw_only=True):
    """The result of `log-level`."""

    level: Annotated[str, Meta(description="The lowest level that the agent logs now.")]
    at_start: Annotated[
        str,
        Meta(description="The level of the settings, which counts after a restart."),
    ]


class RotateResult(Struct, frozen=True, kw_only=True):
    """The result of `rotate` and `delete-key`."""

    rotation: Annotated[str, Meta(description="The name of the rotation.")]
    phase: Annotated[str, Meta(description="How far it has got.")]
    old: Annotated[str, Meta(description="The fingerprint of the old DSN.")]
    new: Annotated[
        str, Meta(description="The fingerprint of the new DSN; empty before its key.")
    ]
    held: Annotated[
        str, Meta(description="Why a person has to decide; empty if nobody has to.")
    ]
    left_out: Annotated[
        list[str],
        Meta(description="Who may still send by the old key: a person has not waited."),
    ]
    entries: Annotated[list[str], Meta(description="The journal, the oldest first.")]


DOCUMENTS: dict[str, Any] = {
    "once": Envelope[OnceResult],
    "check": Envelope[CheckResult],
    "doctor": Envelope[DoctorResult],
    "status": Envelope[StatusResult],
    "wait": Envelope[WaitResult],
    "refresh": Envelope[RequestResult],
    "history": Envelope[HistoryResult],
    "rollback": Envelope[RequestResult],
    "boost": Envelope[WishResult],
    "throttle": Envelope[WishResult],
    "explain": Envelope[ExplainResult],
    "validate": Envelope[ValidateResult],
    "verify": Envelope[VerifyResult],
    "log-level": Envelope[LogLevelResult],
    "rotate": Envelope[RotateResult],
    "delete-key": Envelope[RotateResult],
    "fleet": Envelope[FleetResult],
    "alerts plan": Envelope[RulesResult],
    "alerts apply": Envelope[RulesResult],
    "alerts check": Envelope[RulesResult],
    "alerts notice deploy": Envelope[NoticeResult],
    "alerts notice maintenance": Envelope[NoticeResult],
}
"""What each command prints, by its name."""
