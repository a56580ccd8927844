"""What `--json` prints of the live processes, field by field."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from agent.domain.rollout import State


class HolderReport(Struct, frozen=True, kw_only=True):
    """Something in a process that still sends by an older DSN."""

    kind: Annotated[
        str,
        Meta(
            description="`client` for a client that the application made, `otlp` for an "
            "exporter."
        ),
    ]
    dsn: Annotated[str, Meta(description="The fingerprint of that DSN.")]


class Target(Struct, frozen=True, kw_only=True):
    """One live application process."""

    id: Annotated[str, Meta(description="The name of its receipt.")]
    name: Annotated[str, Meta(description="The process for people, as `api pid 7`.")]
    role: Annotated[str, Meta(description="Its role.")]
    pid: Annotated[int | None, Meta(description="Its process id, if it is known.")]
    main: Annotated[
        bool, Meta(description="True if other targets were forked from it.")
    ]
    readable: Annotated[bool, Meta(description="True if its receipt can be read.")]
    state: Annotated[State, Meta(description="How it stands to the current snapshot.")]
    revision: Annotated[str | None, Meta(description="The revision that it runs.")]
    sequence: Annotated[int, Meta(description="The sequence number that it runs.")]
    since: Annotated[str, Meta(description="Since when; may be empty.")]
    swap_ms: Annotated[
        float, Meta(description="How long its last swap took; 0 before the first swap.")
    ]
    error: Annotated[str | None, Meta(description="Why it could not apply a snapshot.")]
    dsn: Annotated[str, Meta(description="The fingerprint of the DSN it sends by.")]
    holders: Annotated[
        list[HolderReport], Meta(description="What in it still sends by an older DSN.")
    ]
    ignored: Annotated[
        list[str],
        Meta(description="Fields of the snapshot that its library does not know."),
    ]
    notes: Annotated[list[str], Meta(description="What else there is to know of it.")]
    library: Annotated[
        str, Meta(description="The version of its library; may be empty.")
    ] = ""
    sdk: Annotated[
        str, Meta(description="The version of its sentry-sdk; may be empty.")
    ] = ""
    is_apart: Annotated[
        bool,
        Meta(
            description="True if its library is more than one minor version from the agent."
        ),
    ] = False
    tally: Annotated[
        dict[str, int],
        Meta(
            description="Since the process began: envelopes that were `accepted`, `refused`, "
            "`limited`, `failed` or `unreached`, and those that were `parked`, `rerouted` or "
            "`dropped`."
        ),
    ] = {}
    dropped: Annotated[
        dict[str, int] | None,
        Meta(
            description="Errors that were not sent since the process began, by cause: "
            "`rule 0`, `rate`, `ceiling` or `budget`; null if its library does not say so."
        ),
    ] = None
    unhonoured: Annotated[
        list[str],
        Meta(
            description="What of the snapshot its library is too old for: `ceilings`, `error "
            "rules`, `budgets`."
        ),
    ] = []


class BudgetReport(Struct, frozen=True, kw_only=True):
    """One budget, and what passes."""

    kind: Annotated[str, Meta(description="`transactions` or `errors`.")]
    per_minute: Annotated[
        float, Meta(description="The highest number per minute and process.")
    ]
    share: Annotated[
        float | None,
        Meta(
            description="The lowest share that passes in a process now, from 0 to 1, of what no "
            "rule and no boost names; null if no process says so."
        ),
    ]


class RateReport(Struct, frozen=True, kw_only=True):
    """One rate that processes run."""

    setting: Annotated[str, Meta(description="The setting.")]
    value: Annotated[
        float | None,
        Meta(
            description="From 0 to 1; null if it is not set, so nothing is sent. For "
            "`SENTRY_ENABLE_LOGS` 1 is on and 0 is off."
        ),
    ]
    origin: Annotated[
        str,
        Meta(
            description="Where they have it from: `role`, `snapshot`, `environment` or "
            "`default`; empty if that is not known."
        ),
    ]


class RoleReport(Struct, frozen=True, kw_only=True):
    """What processes of one role send. Processes that differ have a report of their own."""

    role: Annotated[str, Meta(description="The role.")]
    processes: Annotated[list[str], Meta(description="The processes, for people.")]
    off: Annotated[str, Meta(description="Why they send nothing; else empty.")]
    rates: Annotated[list[RateReport], Meta(description="The rates that they run.")]
    rules: Annotated[
        int, Meta(description="The number of sampling rules that are for this role.")
    ]
    boosts: Annotated[
        list[str], Meta(description="The ids of the boosts that are for this role.")
    ]
    budgets: Annotated[
        list[BudgetReport], Meta(description="The budgets of each of these processes.")
    ] = []


class RolloutSummary(Struct, frozen=True, kw_only=True):
    """Which processes run the current snapshot, in one word and one sentence."""

    state: Annotated[
        State, Meta(description="The state of the target furthest behind.")
    ]
    sentence: Annotated[str, Meta(description="The state in words.")]


class RolloutReport(RolloutSummary, frozen=True, kw_only=True):
    """Which processes run the current snapshot."""

    idle_roles: Annotated[
        list[str],
        Meta(
            description="Roles that the snapshot names and that no process here has: a "
            "typing error, or processes of another pod."
        ),
    ]
    unknown: Annotated[
        str, Meta(description="Why targets may be missing here; mostly empty.")
    ]
    obstacle: Annotated[
        str,
        Meta(description="What keeps processes from confirming; mostly empty."),
    ] = ""
    hint: Annotated[str, Meta(description="What to do; may be empty.")] = ""
    targets: Annotated[list[Target], Meta(description="The live processes.")]
