"""Rules on the tuning file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.doctor.rule import Sight, SkippedError, rule
from agent.domain.tuning_file import RATES
from agent.domain.view import TUNING_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.doctor.facts import Facts
    from agent.observe.tuning_results import TuningFile


def _tuning_file(facts: Facts) -> TuningFile:
    """Return what the agent says of the tuning file. Without one the rule is skipped."""
    if facts.status.tuning is None:
        raise SkippedError("no tuning file is set (RESENTRY_TUNING_PATH)")
    return facts.status.tuning


@rule(
    "RSN812",
    "tuning-file-not-in-force",
    "warning",
    "rates",
    "The tuning file is refused, or cannot be read",
    fix="correct the tuning file; `resentry-agent validate --tuning FILE` judges one before it is written",
    causes=("RSN101", "RSN502", "RSN508"),
)
def tuning_file(facts: Facts) -> Iterator[Sight]:
    """Look at what the agent says of the file of `RESENTRY_TUNING_PATH`.

    Its last good content stays in force, if it has one. A DSN of the source is not held up
    by it, but a change of rates reaches nobody.
    """
    for problem in facts.status.problems:
        if problem.setting == TUNING_PATH:
            tuning = facts.status.tuning
            since = tuning.since if tuning is not None else None
            yield Sight(TUNING_PATH, problem.what, since=since or "", fix=problem.hint)
            return
    _tuning_file(facts)


@rule(
    "RSN813",
    "tuning-covered",
    "info",
    "rates",
    "A rate of the tuning file does not reach a role",
    fix="name the role in RESENTRY_ROLES of the tuning file, or remove its rate at the source",
)
def tuning_covered(facts: Facts) -> Iterator[Sight]:
    """Compare the rates of the tuning file with the roles of the source.

    A rate of a role beats one for all roles, also if the one for all roles stands in the
    tuning file.
    """
    tuning = _tuning_file(facts)
    published = facts.published
    for key in RATES:
        if key not in tuning.keys or key not in published.settings:
            continue
        for role, own in sorted(published.roles.items()):
            if key in own and key not in tuning.roles.get(role, ()):
                detail = f"{key} is {own[key]:g} there, not {published.settings[key]:g}"
                yield Sight(f"role {role}", detail)
