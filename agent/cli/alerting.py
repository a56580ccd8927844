"""What the commands of `alerts` have in common."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from agent.alerts.results import RuleChange, RulesResult
from agent.cli.answer import NO, Answer
from agent.observe.results import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.alerts.plan import Change
    from agent.alerts.rule_file import RuleFile


def file_argument(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """Give a command the argument FILE."""
    return click.argument("file", type=click.Path(), metavar="FILE")(function)


def answer_of(
    rules: RuleFile,
    left: Sequence[Change],
    made: Sequence[Change] = (),
    hint: str = "",
) -> Answer:
    """Return the answer. It is "no" if there is a `hint` and something is left."""
    number = len(rules.issues) + len(rules.metrics)
    result = RulesResult(
        rules=number, made=list(map(_result, made)), left=list(map(_result, left))
    )
    lines = (*_lines(made, ""), *_lines(left, "to "), _sum(number, made, left))
    if not (left and hint):
        return Answer(result, lines)
    what = f"the server differs from the file in {len(left)}: {_names(left)}"
    return Answer(result, lines, Error(code="Drift", what=what, hint=hint), NO)


def _result(change: Change) -> RuleChange:
    return RuleChange(**{**change._asdict(), "details": list(change.details)})


def _lines(changes: Sequence[Change], to: str) -> Iterator[str]:
    done = {"create": "created", "change": "changed", "delete": "deleted"}
    for change in changes:
        verb = f"to {change.verb}" if to else done[change.verb]
        yield f"{verb:9}  {change.kind:7}  {change.name}"
        yield from (f"             {detail}" for detail in change.details)


def _sum(number: int, made: Sequence[Change], left: Sequence[Change]) -> str:
    counts = Counter(change.verb for change in left)
    told = [f"{count} to {verb}" for verb, count in counts.items()]
    if made:
        told.insert(0, f"{len(made)} done")
    state = ", ".join(told) or "the server holds what the file says"
    return f"{number} rules: {state}"


def _names(changes: Sequence[Change]) -> str:
    return ", ".join(f"{change.kind} {change.name!r}" for change in changes[:3])
