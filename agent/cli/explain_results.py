"""What `explain` prints with `--json`, field by field."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class ExplainStep(Struct, frozen=True, kw_only=True):
    """What one step says."""

    step: Annotated[str, Meta(description="Its name.")]
    rate: Annotated[
        float | None, Meta(description="The rate that it says; null if it says none.")
    ]
    text: Annotated[str, Meta(description="The same in words.")]


class Explained(Struct, frozen=True, kw_only=True):
    """How the processes of one role with the same rates decide."""

    role: Annotated[str, Meta(description="The role; empty for every other one.")]
    processes: Annotated[
        int, Meta(description="So many live processes have this role and these rates.")
    ]
    rate: Annotated[
        float | None,
        Meta(description="What is compared in the end; null if tracing is off."),
    ]
    decided_by: Annotated[str, Meta(description="The step that decides.")]
    bounded_by: Annotated[list[str], Meta(description="The steps that lower the rate.")]
    steps: Annotated[list[ExplainStep], Meta(description="All steps, in their order.")]
    gap: Annotated[
        str, Meta(description="Which part of a trace is missing; may be empty.")
    ]
    sure: Annotated[
        bool, Meta(description="False if something that may decide is not known here.")
    ]
    sentence: Annotated[str, Meta(description="The result in words.")]
    notes: Annotated[list[str], Meta(description="What is not known, in words.")]


class ExplainResult(Struct, frozen=True, kw_only=True):
    """The result of `explain`."""

    revision: Annotated[str, Meta(description="The snapshot that is explained.")]
    explained: Annotated[list[Explained], Meta(description="By role and rates.")]
