"""One stage of the chain from the source to the processes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Name = Literal[
    "source", "values", "checks", "publish", "notify", "confirm", "drain", "arrive"
]
StageState = Literal["ok", "waiting", "held", "broken", "unknown", "off"]


class Stage(Struct, frozen=True, kw_only=True):
    """One stage of the chain."""

    stage: Annotated[Name, Meta(description="The stage.")]
    state: Annotated[
        StageState,
        Meta(
            description="`held`: an operator's rollback is in force. `unknown`: nobody "
            "knows, as when an earlier stage is broken. `off`: the stage is not used."
        ),
    ]
    sentence: Annotated[str, Meta(description="The state in words.")]
    since: Annotated[
        str | None, Meta(description="Since when; null if that is not known.")
    ] = None
    hint: Annotated[str, Meta(description="What to do; may be empty.")] = ""
    first_broken: Annotated[
        bool, Meta(description="True for the first stage that is broken.")
    ] = False
