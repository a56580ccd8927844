"""What `fleet` prints with `--json`, field by field."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class FleetDsn(Struct, frozen=True, kw_only=True):
    """The use of one DSN over all pods."""

    dsn: Annotated[str, Meta(description="Its fingerprint.")]
    runs: Annotated[int, Meta(description="The processes that run it.")]
    holds: Annotated[
        int, Meta(description="The processes that run another, and still send by it.")
    ]


class FleetPod(Struct, frozen=True, kw_only=True):
    """What one pod told."""

    name: Annotated[str, Meta(description="Its address.")]
    error: Annotated[str, Meta(description="Why it told nothing; empty if it did.")] = (
        ""
    )
    revision: Annotated[str, Meta(description="The revision published there.")] = ""
    sequence: Annotated[int, Meta(description="The number of that revision.")] = 0
    state: Annotated[str, Meta(description="How far it has got there.")] = ""
    agent: Annotated[str, Meta(description="The version of the agent.")] = ""
    dsns: Annotated[
        dict[str, str],
        Meta(description="By role, the published DSN; the empty name is every other."),
    ] = {}
    states: Annotated[
        dict[str, int], Meta(description="How many processes, by role and state.")
    ] = {}
    libraries: Annotated[
        list[str], Meta(description="The versions of the library.")
    ] = []
    tally: Annotated[
        dict[str, int], Meta(description="What its processes counted, in all.")
    ] = {}


class FleetResult(Struct, frozen=True, kw_only=True):
    """The result of `fleet`."""

    lacking: Annotated[
        list[str], Meta(description="What is missing, in words; empty if nothing is.")
    ]
    dsns: Annotated[list[FleetDsn], Meta(description="The DSNs, the most used first.")]
    pods: Annotated[list[FleetPod], Meta(description="The pods.")]
