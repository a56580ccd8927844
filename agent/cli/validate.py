"""`validate`: whether an agent would publish a file."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click
from msgspec import structs

from agent.cli import options
from agent.cli.answer import UNEXAMINED, Answer, named_error
from agent.cli.lines import value_text
from agent.cli.validate_results import ValidateChange, ValidatedFile, ValidateResult
from agent.domain.changes import changes
from agent.domain.tuning_file import conflicts, layered, read_tuning, refused
from agent.domain.validate import Validated, validate
from agent.domain.view import TUNING_PATH
from agent.domain.wishes import OF_OPERATORS, running
from agent.errors import AgentError, CandidateRefused
from agent.observe.document import masked
from agent.observe.results import Error
from agent.source.files import FileSource
from resentry.contract import Snapshot
from resentry.values import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from agent.domain.changes import Change
    from agent.settings import Loaded, Settings


@options.command("validate")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--against",
    metavar="OLD",
    help="Show what would change, per role, from this file to each FILE.",
)
@click.option(
    "--tuning",
    is_flag=True,
    help="Each FILE is a tuning file (RESENTRY_TUNING_PATH). It is judged on top of OLD, "
    "which is what the source holds; without OLD, by itself.",
)
def command(
    loaded: Loaded, *, files: tuple[str, ...], against: str | None, tuning: bool
) -> Answer:
    """Check files before they are written to the source. No server is asked.

    Each FILE is all that a source would hold: JSON, dotenv, or a directory with one file per
    key. It is read and judged as an agent with these settings would do it, guard rails
    included. Exits with 0 if an agent would publish each file, else with the code of the
    first problem; with 3 if OLD is refused itself, so that nothing can be compared. For example, in a pipeline:

    \b
        RESENTRY_ENVIRONMENT=production RESENTRY_RATE_CAPS=production=0.2 \\
          resentry-agent validate new.json --against old.json

    With --tuning, a key of the source in a FILE is refused, such as SENTRY_DSN.
    """  # noqa: D301 - the mark keeps the example as it is
    settings = loaded.settings
    old, unknown = None, ""
    if against is not None:
        try:
            old = _read(settings, against, None).snapshot
        except CandidateRefused as refused:
            unknown = f"{against} is refused itself: {refused.what}"
    error: Error | None = None
    code = 0
    if unknown:
        hint = "compare with a file that an agent would publish"
        error, code = Error(code="NotExamined", what=unknown, hint=hint), UNEXAMINED
    judged: list[ValidatedFile] = []
    first: AgentError | None = None
    for path in files:
        try:
            read = _read_tuning if tuning else _read
            judged.append(_accepted(path, read(settings, path, old), old))
        except AgentError as problem:
            first = first or problem
            judged.append(_refused(path, problem))
    if first is not None:
        error, code = named_error(first), first.exit_code
    rails = settings.guard_rails
    result = ValidateResult(
        environment=rails.environment, place=rails.place, files=judged
    )
    lines = [f"judged as {rails.environment} ({rails.place})", *rails.gaps()]
    lines += (line for file in judged for line in _lines(file))
    return Answer(result, (*lines, *filter(None, [unknown])), error, code)


def _read(settings: Settings, path: str, last_good: Snapshot | None) -> Validated:
    source = FileSource(structs.replace(settings, source_path=path), settle=0.0)
    good = validate(source.read(), settings.guard_rails, last_good, time.time())
    return Validated(good.snapshot, (*good.notes, *_ended(good.snapshot)))


def _read_tuning(
    settings: Settings, path: str, of_source: Snapshot | None
) -> Validated:
    """Return a tuning file on top of what the source holds, or raise `CandidateRefused`."""
    given = structs.replace(settings, tuning_path=path)
    candidate = FileSource(given, settle=0.0, setting=TUNING_PATH).read()
    tuning, notes = read_tuning(candidate)
    rails = settings.guard_rails
    base = of_source or Snapshot(settings={}, judged_by=rails.environment)
    if problems := conflicts(base, tuning, rails, time.time()):
        raise refused(problems, candidate.fingerprint)
    return Validated(layered(base, tuning), (*notes, *_ended(tuning)))


def _ended(snapshot: Snapshot) -> Iterator[str]:
    """Yield a note for each boost and each ceiling that would do nothing any more."""
    for name, setting in OF_OPERATORS.items():
        items = getattr(snapshot, name)
        for index, each in enumerate(items):
            if each not in running(items, time.time()):
                yield f"{setting}[{index}] has no effect: it has ended at {each.until}"


def _accepted(path: str, good: Validated, old: Snapshot | None) -> ValidatedFile:
    return ValidatedFile(
        path=path,
        accepted=True,
        revision=good.snapshot.revision,
        problems=[],
        notes=list(good.notes),
        changes=None if old is None else [*map(_change, changes(old, good.snapshot))],
    )


def _refused(path: str, problem: AgentError) -> ValidatedFile:
    return ValidatedFile(
        path=path,
        accepted=False,
        revision=None,
        problems=[*problem.problems]
        if isinstance(problem, CandidateRefused)
        else [problem.what],
        notes=[],
        changes=None,
    )


def _change(change: Change) -> ValidateChange:
    before, after = (_shown(change.key, each) for each in (change.before, change.after))
    return ValidateChange(key=change.key, role=change.role, before=before, after=after)


def _shown(key: str, value: Any) -> Any:
    return None if value is None else masked({key: value})[key]


def _lines(file: ValidatedFile) -> Iterator[str]:
    verdict = f"accepted, revision {file.revision}" if file.accepted else "refused"
    yield f"{file.path}: {verdict}"
    yield from (f"  {problem}" for problem in file.problems)
    yield from (f"  note: {note}" for note in file.notes)
    if file.changes is not None and not file.changes:
        yield "  nothing would change"
    named = {change.key for change in file.changes or () if change.role}
    for change in file.changes or ():
        is_value = change.key in KEYS and change.key in named
        where = "every other role" if is_value else "every role"
        where = f"role {change.role}" if change.role else where
        if change.before == change.after:
            keeps = f"stays {_text(change.after)}" * bool(change.role)
            yield f"  {where}: {change.key}: {keeps or 'another order'}"
        else:
            yield (
                f"  {where}: {change.key}: "
                f"{_text(change.before)} -> {_text(change.after)}"
            )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return "nothing" if value is None else value_text(value)
