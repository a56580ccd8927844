"""What `validate` prints with `--json`, field by field."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct


class ValidateChange(Struct, frozen=True, kw_only=True):
    """What one value or one entry of a list would become."""

    key: Annotated[str, Meta(description="The key of the source.")]
    role: Annotated[
        str, Meta(description="The role; empty for all without an own value.")
    ]
    before: Annotated[Any, Meta(description="What is there now; null for nothing.")]
    after: Annotated[Any, Meta(description="What would be there; null for nothing.")]


class ValidatedFile(Struct, frozen=True, kw_only=True):
    """The verdict on one file."""

    path: Annotated[str, Meta(description="The file or directory.")]
    accepted: Annotated[bool, Meta(description="Whether an agent would publish it.")]
    revision: Annotated[
        str | None, Meta(description="The revision that it has; null if refused.")
    ]
    problems: Annotated[list[str], Meta(description="Why it is refused, in words.")]
    notes: Annotated[list[str], Meta(description="What an agent would note, in words.")]
    changes: Annotated[
        list[ValidateChange] | None,
        Meta(description="What would change; null if that is not asked or not known."),
    ]


class ValidateResult(Struct, frozen=True, kw_only=True):
    """The result of `validate`."""

    environment: Annotated[
        str, Meta(description="The environment whose guard rails hold.")
    ]
    place: Annotated[str, Meta(description="Where that environment is set.")]
    files: Annotated[list[ValidatedFile], Meta(description="Each file.")]
