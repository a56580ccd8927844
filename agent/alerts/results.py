"""What the commands of `alerts` print with `--json`, field by field."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from agent.observe.tuning_results import Moment


class RuleChange(Struct, frozen=True, kw_only=True):
    """One difference between the file and the server."""

    verb: Annotated[
        Literal["create", "change", "delete"],
        Meta(description="What makes the server hold what the file says."),
    ]
    kind: Annotated[
        Literal["monitor", "alert"],
        Meta(description="A monitor measures; an alert tells."),
    ]
    name: Annotated[str, Meta(description="Its name in Sentry.")]
    id: Annotated[str, Meta(description="Its id in Sentry; empty before it exists.")]
    details: Annotated[
        list[str], Meta(description="Of a change, each field: now, and as in the file.")
    ]


class RulesResult(Struct, frozen=True, kw_only=True):
    """The result of `alerts plan`, `alerts check` and `alerts apply`."""

    rules: Annotated[int, Meta(description="The rules of the file.")]
    made: Annotated[
        list[RuleChange], Meta(description="What `apply` has done; else empty.")
    ]
    left: Annotated[
        list[RuleChange], Meta(description="How the server differs from the file.")
    ]


class NoticeResult(Struct, frozen=True, kw_only=True):
    """The result of `alerts notice deploy` and `alerts notice maintenance`."""

    sentry: Annotated[
        Literal["new", "known", "failed"] | None,
        Meta(description="The deploy in Sentry; null if Sentry is not told."),
    ]
    alertmanagers: Annotated[
        dict[str, str],
        Meta(description="By host, why it was not told; empty if it was."),
    ]
    ends_at: Annotated[Moment, Meta(description="When the notice ends by itself.")]
