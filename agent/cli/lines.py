"""Documents as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.observe.results import CurrentSnapshot, Receiver
    from agent.observe.tuning_results import Boost, Ceiling


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells, as lines with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [
        [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        for row in rows
    ]
    return ["  ".join(cells).rstrip() for cells in padded]


def value_text(value: object) -> str:
    """One value, as it may stand at the source."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def boost_line(boost: Boost) -> str:
    """One boost."""
    what, where = boost.match or "everything", boost.role or "every role"
    return (
        f"{boost.id}  traces {boost.traces:g} for {what} in {where}, "
        f"{boost.left_seconds} s left"
    )


def ceiling_line(ceiling: Ceiling) -> str:
    """One ceiling."""
    what, where = ceiling.match or "everything", ceiling.role or "every role"
    rates = [
        f"{name} at most {rate:g}"
        for name, rate in (("traces", ceiling.traces), ("errors", ceiling.errors))
        if rate is not None
    ]
    left = "without an end"
    if ceiling.left_seconds is not None:
        left = f"{ceiling.left_seconds} s left"
    return f"{ceiling.id or '-'}  {', '.join(rates)} for {what} in {where}, {left}"


def tuning_lines(current: CurrentSnapshot | None) -> Iterator[str]:
    """Each boost and each ceiling of the published snapshot."""
    if current is not None:
        yield from (f"boost {boost_line(boost)}" for boost in current.boosts)
        yield from (f"ceiling {ceiling_line(each)}" for each in current.ceilings)


def idle_role_text(role: str) -> str:
    """A role that the snapshot names and that no process has."""
    return f"no process here has the role {role}, which the snapshot names"


def receiver_lines(receivers: Sequence[Receiver]) -> list[str]:
    """Each receiver of notifications."""
    return [
        f"{receiver.receiver} "
        + (
            f"failed {times(receiver.failures)}: {receiver.error}; "
            if receiver.error
            else ""
        )
        + (
            f"was notified of {receiver.revision}"
            if receiver.revision
            else "not notified yet"
        )
        for receiver in receivers
    ]


def times(count: int) -> str:
    """Return how often something happened, in words."""
    return "once" if count == 1 else f"{count} times"
