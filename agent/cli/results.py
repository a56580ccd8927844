"""What the commands besides `status` print with `--json`, field by field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from agent.doctor.results import DoctorResult
from agent.domain.outcome import Kind
from agent.observe.results import (
    Boost,
    Envelope,
    Moment,
    Receiver,
    StatusResult,
)
from agent.observe.target_results import RolloutSummary


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


class BoostResult(Struct, frozen=True, kw_only=True):
    """The result of `boost`."""

    boosts: Annotated[list[Boost], Meta(description="The boosts that have not ended.")]
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


DOCUMENTS: dict[str, Any] = {
    "once": Envelope[OnceResult],
    "check": Envelope[CheckResult],
    "doctor": Envelope[DoctorResult],
    "status": Envelope[StatusResult],
    "wait": Envelope[WaitResult],
    "refresh": Envelope[RequestResult],
    "history": Envelope[HistoryResult],
    "rollback": Envelope[RequestResult],
    "boost": Envelope[BoostResult],
}
"""What each command prints, by its name."""
