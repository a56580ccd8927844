"""Judges what all pods told: which DSN runs where, and what is missing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.domain.summary import PodProcess
    from agent.fleet.ask import Answer

DONE = ("confirmed", "drained")


class DsnUse(NamedTuple):
    """By how many processes of all pods one DSN is run, or still held."""

    dsn: str
    runs: int
    holds: int


def uses(answers: Sequence[Answer]) -> list[DsnUse]:
    """Return the use of each DSN, the most used first."""
    processes = [
        each
        for answer in answers
        if answer.summary
        for each in answer.summary.processes
    ]
    runs = Counter(each.runs for each in processes if each.runs)
    holds = Counter(dsn for each in processes for dsn in each.holds)
    names = sorted({*runs, *holds}, key=lambda dsn: (-runs[dsn], dsn))
    return [DsnUse(dsn, runs[dsn], holds[dsn]) for dsn in names]


def lacking(
    answers: Sequence[Answer],
    dsn: str = "",
    expected: int = 0,
    *,
    drained: bool = False,
) -> list[str]:
    """Return what keeps the fleet from being confirmed, in words; nothing if it is.

    Every pod must answer, and each of its processes must run what its pod has published.
    With `dsn`, a fingerprint, the processes must run this DSN. With `drained`, none may
    still send by an older one. No pod, and a pod without processes, are no proof.
    """
    missing = [
        f"{answer.pod.name}: {answer.why}" for answer in answers if not answer.summary
    ]
    if len(answers) < expected or not answers:
        missing.append(f"{len(answers)} pods were found, not {max(expected, 1)}")
    for answer in answers:
        summary, name = answer.summary, answer.pod.name
        if summary is None:
            continue
        if not summary.processes:
            missing.append(f"{name}: no process has given a receipt yet")
        elif not summary.is_complete:
            missing.append(f"{name}: there may be more processes than it has read")
        missing += [
            f"{name}: {each.role} pid {each.pid} {why}"
            for each in summary.processes
            if (why := _why(each, dsn, drained=drained))
        ]
    return missing


def _why(process: PodProcess, dsn: str, *, drained: bool) -> str:
    if process.state not in DONE:
        return f"is {process.state}"
    if dsn and process.runs not in {dsn, ""}:
        return f"runs the DSN {process.runs}"
    if drained and process.holds:
        return f"still sends by the DSN {', '.join(process.holds)}"
    if drained and not process.proves:
        return "may still send by an older DSN"
    return ""


def unrest(answers: Sequence[Answer]) -> list[str]:
    """Return why a rotation that nobody watches should not begin now, in words."""
    troubled = [
        f"{answer.pod.name} cannot read its source"
        for answer in answers
        if answer.summary and answer.summary.is_failing
    ]
    boosted = [
        f"{answer.pod.name} has a boost in force"
        for answer in answers
        if answer.summary and answer.summary.boosts
    ]
    throttled = [
        f"{answer.pod.name} has an operator's ceiling in force"
        for answer in answers
        if answer.summary and answer.summary.ceilings
    ]
    return [*troubled, *boosted, *throttled]
