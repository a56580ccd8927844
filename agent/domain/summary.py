"""What one pod tells a fleet: which DSN each of its processes runs and holds. No secret.

The document is `/fleet`. It names DSNs by their fingerprints, and nothing that an
application has written as text.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from agent.errors import SourceDown
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from agent.domain.rollout import LiveTarget, Rollout, State
    from resentry.contract import Snapshot

PROCESSES_LIMIT = 512
SUMMARY_BYTES = 256 * 1024
"""The limit of one summary."""
_Text = Annotated[str, Meta(max_length=64)]
_Mark = Annotated[str, Meta(pattern="^([0-9a-f]{12})?$")]


class PodProcess(Struct, frozen=True, kw_only=True):
    """One process. `holds` are fingerprints of older DSNs that it still sends by.

    `proves` is false if it may send by more DSNs than these: its receipt cannot be read,
    its application has a client of its own, or it is not drained.
    """

    role: _Text
    pid: int
    state: _Text
    runs: _Mark = ""
    holds: Annotated[tuple[_Mark, ...], Meta(max_length=16)] = ()
    proves: bool = False
    refused: int | None = None
    """The envelopes that servers have refused (401, 403, 404); `None` if unknown."""
    library: _Text = ""


class Summary(Struct, frozen=True, kw_only=True):
    """What one pod tells."""

    agent: _Text
    instance: _Text = ""
    """Of this run of the agent: two addresses that tell the same one lead to one pod."""
    revision: _Text = ""
    sequence: int = 0
    dsns: dict[_Text, _Mark] = {}
    """By role, the fingerprint of the published DSN; "" is every other role."""
    state: _Text = "waiting"
    processes: Annotated[tuple[PodProcess, ...], Meta(max_length=PROCESSES_LIMIT)] = ()
    is_complete: bool = False
    """Whether these are all processes. What an answer does not say is never a yes."""
    tally: dict[_Text, int] = {}
    boosts: int = 0
    """The boosts in force."""
    ceilings: int = 0
    """The ceilings that operators have put, without those of the source."""
    is_failing: bool = False
    """Whether the newest pass has not read the source."""
    schema: Literal[1] = 1


def summarize(
    version: str,
    current: Snapshot | None,
    rollout: Rollout,
    *,
    instance: str = "",
    is_failing: bool = False,
) -> Summary:
    """Return the summary of this pod."""
    tally: Counter[str] = Counter()
    for target, _ in rollout.targets:
        tally.update(target.receipt.tally)
    return Summary(
        agent=version,
        instance=instance,
        revision=current.revision if current else "",
        sequence=current.sequence if current else 0,
        dsns=_dsns(current) if current else {},
        state=rollout.state,
        processes=tuple(_process(target, state) for target, state in rollout.targets),
        is_complete=not rollout.unknown,
        tally=dict(tally),
        boosts=len(current.boosts) if current else 0,
        ceilings=sum(c.id is not None for c in current.ceilings) if current else 0,
        is_failing=is_failing,
    )


def _dsns(current: Snapshot) -> dict[str, str]:
    held = {"": current.settings, **current.roles}
    return {
        role: fingerprint(str(values["SENTRY_DSN"] or ""))
        for role, values in held.items()
        if "SENTRY_DSN" in values
    }


def _process(target: LiveTarget, state: State) -> PodProcess:
    receipt = target.receipt
    holds = {holder.dsn for holder in receipt.holders}
    return PodProcess(
        role=receipt.role,
        pid=receipt.pid,
        state=state,
        runs=receipt.dsn,
        holds=tuple(sorted(holds - {""})),
        proves=target.readable
        and not receipt.foreign
        and receipt.phase == "drained"
        and "" not in holds,
        refused=sum(answer.refused for answer in receipt.answers)
        if target.readable
        else None,
        library=receipt.library[:64],
    )


_DECODER = msgspec.json.Decoder(Summary)
"""Made once: several threads that make one at the same moment crash msgspec 0.22."""


def encode_summary(summary: Summary) -> bytes:
    """Return the content of `/fleet`."""
    return msgspec.json.encode(summary)


def decode_summary(body: bytes) -> Summary:
    """Read the content of `/fleet`, or raise `SourceDown` without quoting it."""
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise SourceDown(
            f"what answers is no resentry-agent of this version ({type(error).__name__})"
        ) from None
