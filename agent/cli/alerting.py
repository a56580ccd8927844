"""What the commands of `alerts` have in common."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import click

from agent.alerts.results import RuleChange, RulesResult
from agent.cli.answer import NO, Answer
from agent.domain.value import replace
from agent.observe.results import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.alerts.plan import Change
    from agent.alerts.rule_file import RuleFile
    from agent.errors import AgentError


TO_APPLY = (
    "resentry-agent alerts apply makes the changes; it deletes only with --delete"
)


def file_argument(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """Give a command the argument FILE."""
    return click.argument("file", type=click.Path(), metavar="FILE")(function)


class Outcome(NamedTuple):
    """What a command found out or did."""

    rules: RuleFile
    left: Sequence[Change]
    """How the server differs from the file."""
    made: Sequence[Change] = ()
    hint: str = ""
    """What to do if something is left."""
    error: AgentError | None = None
    """Why not all was made."""


def answer_of(outcome: Outcome, *, is_question: bool = True) -> Answer:
    """Return the answer. It is "no" if something is left, and that was the question."""
    left, made = outcome.left, outcome.made
    number = len(outcome.rules.issues) + len(outcome.rules.metrics)
    result = RulesResult(
        rules=number, made=list(map(_result, made)), left=list(map(_result, left))
    )
    lines = [*_lines(made, is_made=True), *_lines(left), _sum(number, made, left)]
    if outcome.error is not None:
        failed = Answer.of_error(outcome.error)
        return replace(failed, result=result, lines=(*lines, *failed.lines))
    if left:
        lines.append(f"  {outcome.hint}")
    if not (left and is_question):
        return Answer(result, tuple(lines))
    what = f"the server differs from the file in {len(left)}: {_names(left)}"
    error = Error(code="Drift", what=what, hint=outcome.hint)
    return Answer(result, tuple(lines), error, NO)


def _result(change: Change) -> RuleChange:
    return RuleChange(**{**change._asdict(), "details": list(change.details)})


def _lines(changes: Sequence[Change], *, is_made: bool = False) -> Iterator[str]:
    done = {"create": "created", "change": "changed", "delete": "deleted"}
    for change in changes:
        verb = done[change.verb] if is_made else f"to {change.verb}"
        yield f"{verb:9}  {change.kind:7}  {change.name}"
        yield from (f"             {detail}" for detail in change.details)


def _sum(number: int, made: Sequence[Change], left: Sequence[Change]) -> str:
    counts = Counter(change.verb for change in left)
    told = [f"{count} to {verb}" for verb, count in counts.items()]
    if made:
        told.insert(0, f"{len(made)} done")
    if not left:
        told.append("the server holds what the file says")
    return f"{number} rules: {', '.join(told)}"


def _names(changes: Sequence[Change]) -> str:
    return ", ".join(f"{change.kind} {change.name!r}" for change in changes[:3])
