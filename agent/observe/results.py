"""What `--json` prints and `/status` answers, field by field.

docs/json.md and the JSON Schemas in `agent/schemas` are generated from these types.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import Meta, Struct

from agent.domain.dsn_check import Verdict
from agent.domain.last import LastProcess
from agent.domain.outcome import Kind
from agent.domain.timeline import Event
from agent.observe.rotation_results import RotationReport
from agent.observe.stage import Stage
from agent.observe.target_results import RoleReport, RolloutReport
from agent.observe.tuning_results import Boost, Ceiling, Moment, TuningFile

SCHEMA = 1
"""The version of all these documents. It rises when a field changes or goes."""

Agent = Literal["running", "not responding", "not running", "unknown"]
Result = TypeVar("Result")


class Error(Struct, frozen=True, kw_only=True):
    """Why a command did not do what was asked for, or why its answer is no."""

    code: Annotated[
        str,
        Meta(description="The kind of error, for programs. docs/json.md lists them."),
    ]
    what: Annotated[str, Meta(description="What went wrong, for people.")]
    hint: Annotated[
        str, Meta(description="What to do about it, for people; may be empty.")
    ]


class Envelope(Struct, Generic[Result], frozen=True, kw_only=True):
    """The one object that every command prints."""

    schema: Annotated[int, Meta(description="The version of this document; now 1.")] = (
        SCHEMA
    )
    command: Annotated[
        str | None,
        Meta(description="The command; null if the command line names none."),
    ]
    ok: Annotated[
        bool, Meta(description="True exactly when the command exits with code 0.")
    ]
    result: Annotated[
        Result | None,
        Meta(
            description="What the command found or did; null if it found nothing out."
        ),
    ]
    error: Annotated[Error | None, Meta(description="Null exactly when `ok` is true.")]


class CurrentSnapshot(Struct, frozen=True, kw_only=True):
    """The published snapshot."""

    revision: Annotated[str, Meta(description="Its name, made from its content.")]
    sequence: Annotated[
        int, Meta(description="Its number on this volume; each snapshot has the next.")
    ]
    published_at: Annotated[Moment, Meta(description="When it was published.")]
    settings: Annotated[
        dict[str, Any],
        Meta(description="The settings for all roles. Keys of DSNs are masked."),
    ]
    roles: Annotated[
        dict[str, dict[str, Any]],
        Meta(description="By role, the settings that differ for that role."),
    ]
    rules: Annotated[int, Meta(description="The number of sampling rules.")]
    boosts: Annotated[list[Boost], Meta(description="The boosts that have not ended.")]
    ceilings: Annotated[list[Ceiling], Meta(description="The ceilings in force.")]
    provenance: Annotated[
        dict[str, dict[str, Any]],
        Meta(description="By setting, where its value comes from."),
    ]


class SourceReport(Struct, frozen=True, kw_only=True):
    """What the newest pass came to."""

    outcome: Annotated[
        Kind | None, Meta(description="The outcome; null before the first pass.")
    ] = None
    error: Annotated[
        str, Meta(description="The code of the error; empty if the pass went well.")
    ] = ""
    sentence: Annotated[str, Meta(description="The outcome in words.")] = (
        "no pass has ended yet"
    )
    hint: Annotated[str, Meta(description="What to do; may be empty.")] = ""
    notes: Annotated[
        list[str], Meta(description="What else the pass noticed, in words.")
    ] = []
    fingerprint: Annotated[
        str | None,
        Meta(description="Of a candidate that was refused or waits, its name."),
    ] = None
    since: Annotated[
        Moment | None, Meta(description="Since when this has been the outcome.")
    ] = None
    failures: Annotated[int, Meta(description="The passes that failed in a row.")] = 0
    where: Annotated[
        dict[str, Any],
        Meta(description="What the source says of itself; it differs by kind."),
    ] = {}
    last_success_at: Annotated[
        Moment | None, Meta(description="When the source was last read well.")
    ] = None
    next_at: Annotated[
        Moment | None,
        Meta(description="When the next pass is planned; null if nobody knows."),
    ] = None


class DsnCheckReport(Struct, frozen=True, kw_only=True):
    """What the DSN check of one DSN has found."""

    dsn: Annotated[str, Meta(description="The DSN, its key masked.")]
    verdict: Annotated[Verdict, Meta(description="What the answers so far mean.")]
    settled: Annotated[
        bool, Meta(description="True if more answers would not change the verdict.")
    ]
    since: Annotated[
        Moment | None, Meta(description="Since when this has been the verdict.")
    ]
    answers: Annotated[int, Meta(description="The number of answers so far.")]
    sentence: Annotated[str, Meta(description="The verdict in words.")]
    fingerprint: Annotated[
        str, Meta(description="The DSN's fingerprint, as in the metrics.")
    ] = ""


class DsnUseReport(Struct, frozen=True, kw_only=True):
    """What the server of one published DSN answers to the processes."""

    dsn: Annotated[str, Meta(description="The DSN, its key masked.")]
    fingerprint: Annotated[str, Meta(description="Its fingerprint, as in the metrics.")]
    processes: Annotated[
        dict[str, int],
        Meta(description="How many processes were answered so last, by kind."),
    ]
    since: Annotated[
        Moment | None, Meta(description="Since when not all answers are `accepted`.")
    ]
    accepted_at: Annotated[
        Moment | None, Meta(description="When an envelope was accepted last.")
    ]
    sentence: Annotated[str, Meta(description="The same in words.")]
    hint: Annotated[str, Meta(description="What to do; may be empty.")]


class Receiver(Struct, frozen=True, kw_only=True):
    """How far the notification of one receiver has got."""

    receiver: Annotated[str, Meta(description="The receiver's host.")]
    revision: Annotated[
        str | None, Meta(description="The revision that was delivered last.")
    ]
    sequence: Annotated[int, Meta(description="The sequence number of that revision.")]
    failures: Annotated[int, Meta(description="The deliveries that failed in a row.")]
    error: Annotated[
        str | None, Meta(description="Why the last one failed; null if none did.")
    ]
    since: Annotated[
        Moment | None,
        Meta(description="When it was delivered, or when it began to fail."),
    ]


class ProblemReport(Struct, frozen=True, kw_only=True):
    """Something that the agent was set to do and cannot do now. It tries again."""

    setting: Annotated[
        str, Meta(description="The setting, as an environment variable.")
    ]
    what: Annotated[str, Meta(description="What went wrong, for people.")]
    hint: Annotated[str, Meta(description="What to do about it; may be empty.")]


class Origin(Struct, frozen=True, kw_only=True):
    """Where `source`, `dsn_checks`, `notify`, `problems` and `held` come from."""

    by: Annotated[
        Literal["agent", "volume"],
        Meta(
            description="`agent` if the running agent was asked just now; `volume` if it "
            "is what an agent wrote into its state file."
        ),
    ]
    at: Annotated[
        Moment | None,
        Meta(description="When this was so; null if that is not known."),
    ] = None
    why: Annotated[
        str,
        Meta(description="Why no agent answered, or does not respond; else empty."),
    ] = ""


class StatusResult(Struct, frozen=True, kw_only=True):
    """The result of `status` and of `/status`."""

    agent: Annotated[
        Agent,
        Meta(
            description="Whether an agent has the volume; `not responding` if it has the "
            "volume, and does not answer or ends no pass; unknown if none ever ran here or "
            "this user has no rights."
        ),
    ]
    origin: Annotated[
        Origin, Meta(description="Where what only an agent knows comes from.")
    ]
    current: Annotated[
        CurrentSnapshot | None,
        Meta(description="The published snapshot; null if nothing is published."),
    ]
    source: Annotated[SourceReport, Meta(description="The newest pass.")]
    tuning: Annotated[
        TuningFile | None,
        Meta(description="The tuning file; null if no setting names one."),
    ] = None
    dsn_checks: Annotated[
        list[DsnCheckReport], Meta(description="The DSNs that are being checked.")
    ]
    dsns: Annotated[
        list[DsnUseReport],
        Meta(description="The published DSNs, and what processes are answered."),
    ] = []
    notify: Annotated[
        list[Receiver], Meta(description="The receivers of notifications.")
    ]
    held: Annotated[
        str | None,
        Meta(
            description="The revision that an operator's rollback holds; null without one."
        ),
    ] = None
    undone: Annotated[
        list[str],
        Meta(
            description="The settings whose undone values the source still holds, while "
            "a rollback is held."
        ),
    ] = []
    ends: Annotated[
        dict[str, int],
        Meta(
            description="By role, how many processes ended within two minutes of their "
            "start, in the last 15 minutes, however they ended. Forked children do not count."
        ),
    ] = {}
    ended: Annotated[
        list[LastProcess],
        Meta(description="The last process of each role that has none left."),
    ] = []
    rollout: Annotated[RolloutReport, Meta(description="The processes.")]
    roles: Annotated[
        list[RoleReport], Meta(description="What the processes of each role send.")
    ] = []
    version: Annotated[
        str | None, Meta(description="The version of the agent; null if nobody knows.")
    ] = None
    problems: Annotated[
        list[ProblemReport],
        Meta(description="What the agent was set to do and cannot do now."),
    ] = []
    chain: Annotated[
        list[Stage], Meta(description="The stages, from the source to the processes.")
    ] = []
    timeline: Annotated[
        list[Event], Meta(description="What happened lately, the newest last.")
    ] = []
    rotation: Annotated[
        RotationReport | None,
        Meta(description="The newest rotation; null if no setting names its journal."),
    ] = None
