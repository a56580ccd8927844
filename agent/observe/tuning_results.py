"""Boosts and ceilings, as every document shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Moment = Annotated[str, Meta(description="A time, as `2026-01-31T12:00:00.000Z`.")]


class Boost(Struct, frozen=True, kw_only=True):
    """A boost: more traces for a while."""

    id: Annotated[str, Meta(description="Its name, for `boost --end`.")]
    traces: Annotated[float, Meta(description="The trace rate, from 0 to 1.")]
    until: Annotated[Moment, Meta(description="When the boost ends.")]
    match: Annotated[
        str | None, Meta(description="Which transactions it is for; null for all.")
    ]
    role: Annotated[str | None, Meta(description="Which role it is for; null for all.")]
    parent: Annotated[
        Literal["keep"] | None,
        Meta(description="`keep` if a parent's decision stands; null if it does not."),
    ] = None
    left_seconds: Annotated[int, Meta(description="The seconds until it ends.")]


class TuningFile(Struct, frozen=True, kw_only=True):
    """The tuning file (`RESENTRY_TUNING_PATH`). What is wrong with it stands in `problems`."""

    path: Annotated[str, Meta(description="The file or directory.")]
    state: Annotated[
        Literal["in force", "refused", "failed", "not read yet"],
        Meta(
            description="`refused` or `failed` if its content of now is not in force: its "
            "last good content stays, if it may."
        ),
    ]
    watch: Annotated[
        Literal["inotify", "poll"], Meta(description="How a change is noticed.")
    ]
    keys: Annotated[list[str], Meta(description="The keys that are in force from it.")]
    roles: Annotated[
        dict[str, list[str]],
        Meta(description="The rates that are in force from it for one role, by role."),
    ] = {}
    notes: Annotated[
        list[str], Meta(description="What was noticed beside, in words.")
    ] = []
    since: Annotated[
        Moment | None,
        Meta(
            description="Since when this has been its state, with these values in force."
        ),
    ] = None


class Ceiling(Struct, frozen=True, kw_only=True):
    """A ceiling: the highest rate of traces, of errors, or of both."""

    id: Annotated[
        str | None,
        Meta(
            description="Its name, for `throttle --end`; null if the source holds it."
        ),
    ]
    traces: Annotated[
        float | None, Meta(description="The highest trace rate; null for no bound.")
    ]
    errors: Annotated[
        float | None, Meta(description="The highest rate of errors; null for no bound.")
    ]
    until: Annotated[
        Moment | None, Meta(description="When it ends; null if it does not.")
    ]
    match: Annotated[
        str | None, Meta(description="Which transactions it is for; null for all.")
    ]
    role: Annotated[str | None, Meta(description="Which role it is for; null for all.")]
    left_seconds: Annotated[
        int | None, Meta(description="The seconds until it ends; null if it does not.")
    ]
