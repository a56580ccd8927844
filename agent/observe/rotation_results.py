"""What `status` says of the newest rotation, field by field."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class RotationReport(Struct, frozen=True, kw_only=True):
    """What stands in the journal of the rotations. Without a rotation all is empty."""

    rotation: Annotated[str, Meta(description="Its name.")] = ""
    secret: Annotated[
        str, Meta(description="The path of the secret that holds the DSN.")
    ] = ""
    role: Annotated[
        str, Meta(description="The role whose DSN is replaced; empty for all roles.")
    ] = ""
    phase: Annotated[
        str, Meta(description="How far it is; docs/rotation.md lists the phases.")
    ] = ""
    since: Annotated[
        str | None, Meta(description="When this phase began; null without a rotation.")
    ] = None
    has_ended: Annotated[
        bool, Meta(description="True if nothing is left to do, and without a rotation.")
    ] = True
    held: Annotated[
        str, Meta(description="Why a person has to decide; empty if it is not held.")
    ] = ""
    waits: Annotated[
        str, Meta(description="What its phase waits for; may be empty.")
    ] = ""
    holder: Annotated[
        str, Meta(description="The process that carries it on now; empty without one.")
    ] = ""
    deadline: Annotated[
        str | None,
        Meta(description="Of a leaked key: when it is retired in any case; else null."),
    ] = None
    error: Annotated[
        str,
        Meta(description="Why the journal could not be read; then all else is empty."),
    ] = ""
    hint: Annotated[
        str, Meta(description="What to do about the error; may be empty.")
    ] = ""
