"""Applies every rule to the facts, and puts what follows from a cause under its cause."""

from __future__ import annotations

import os
import time
import traceback
from typing import TYPE_CHECKING

from agent.doctor import (
    about_alertmanager,
    about_bridge,
    about_rails,
    about_rates,
    about_rotation,
    about_secret,
    about_sentry,
    about_settings,
    about_source,
    about_starts,
    about_targets,
    about_tuning,
    about_tuning_file,
    about_versions,
    about_volume,
)
from agent.doctor.facts import Facts
from agent.doctor.results import DoctorResult, Finding, Verdict
from agent.doctor.rule import Rule, Severity, Sight, SkippedError, UnknownError
from agent.domain.value import replace
from agent.observe import stderr
from agent.observe.document import whole
from agent.redact import redact_foreign

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from agent.domain.view import View
    from agent.settings import Loaded

_PLACES = (
    about_settings,
    about_source,
    about_rotation,
    about_secret,
    about_rails,
    about_volume,
    about_targets,
    about_starts,
    about_sentry,
    about_rates,
    about_tuning,
    about_tuning_file,
    about_versions,
    about_bridge,
    about_alertmanager,
)
RULES: dict[str, Rule] = {
    rule.id: rule
    for place in _PLACES
    for rule in vars(place).values()
    if isinstance(rule, Rule)
}
"""Every rule, by its id."""
RUNBOOK = "docs/runbook.md"


def examine(facts: Facts, areas: Collection[str] = ()) -> list[Finding]:
    """Return the result of each rule, in the order of the ids: one or more findings."""
    findings = [f for _, rule in sorted(RULES.items()) for f in _apply(rule, facts)]
    problems: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.verdict == "problem":
            problems.setdefault(finding.id, []).append(finding)
    processes = frozenset(target.name for target, _ in facts.rollout.targets)
    for finding in findings:
        _put_under_its_cause(finding, problems, processes, areas)
    return [f for f in findings if not areas or f.area in areas]


def examine_view(loaded: Loaded, view: View) -> DoctorResult:
    """Examine what a running agent knows. No server is asked; what is well is left out."""
    status = whole(view).result
    if status is None:  # a status always has a result
        return DoctorResult(findings=[])
    facts = Facts(
        settings=loaded.settings,
        settings_error=loaded.problem,
        warnings=loaded.warnings,
        status=status,
        current=view.known.current,
        rollout=view.rollout,
        now=time.time(),
        environ=dict(os.environ),  # noqa: TID251 - which variables are set, for the rules
    )
    bad = ("problem", "unknown")
    return DoctorResult(findings=[f for f in examine(facts) if f.verdict in bad])


def _apply(rule: Rule, facts: Facts) -> Iterator[Finding]:
    sights: list[Sight] = []
    rest: Verdict = "ok"
    detail = ""
    try:
        sights.extend(rule.look(facts))  # what was seen before an error counts
        if _has_seen_a_part(rule, facts):
            rest, detail = "unknown", facts.rollout.unknown
    except SkippedError as why:
        rest, detail = "skipped", str(why)
    except UnknownError as why:
        rest, detail = "unknown", str(why)
    except Exception as error:  # noqa: BLE001 - one rule must not hide all others
        # Not logged: a command prints its answer alone.
        stderr.say(redact_foreign(traceback.format_exc()))
        rest, detail = "unknown", f"internal error ({type(error).__name__})"
    for sight in sights:
        yield _finding(
            rule,
            "problem",
            subject=sight.subject,
            detail=sight.detail,
            evidence=list(sight.evidence),
            since=sight.since or None,
            fix=sight.fix or rule.fix,
            severity=sight.severity,
        )
    if not sights or rest == "unknown":
        yield _finding(rule, rest, detail=detail)


def _has_seen_a_part(rule: Rule, facts: Facts) -> bool:
    """Whether the rule looks at receipts, and not all receipts were read.

    Such a rule is unknown without any receipt, so it is asked once more without them.
    """
    if not facts.rollout.unknown:
        return False
    try:
        list(rule.look(replace(facts, rollout=replace(facts.rollout, targets=()))))
    except UnknownError:
        return True
    except SkippedError:
        pass
    return False


def _finding(  # noqa: PLR0913 - the fields of a finding
    rule: Rule,
    verdict: Verdict,
    *,
    subject: str = "",
    detail: str = "",
    evidence: list[str] | None = None,
    since: str | None = None,
    fix: str = "",
    severity: Severity | None = None,
) -> Finding:
    return Finding(
        id=rule.id,
        name=rule.name,
        severity=severity or rule.severity,
        area=rule.area,
        title=rule.title,
        verdict=verdict,
        subject=subject,
        detail=detail,
        evidence=evidence or [],
        depends_on=list(rule.causes),
        since=since,
        fix=fix.replace("`", ""),  # which mark commands in the runbook
        link=f"{RUNBOOK}#{rule.id.lower()}",
    )


def _put_under_its_cause(
    finding: Finding,
    problems: Mapping[str, list[Finding]],
    processes: frozenset[str],
    areas: Collection[str],
) -> None:
    """Name the rule whose problem is the cause of this finding, if there is one.

    What is unknown is said once, by the cause. If nobody asked for the cause's area, or the
    cause is no error, the finding stays unknown: else the command could exit with 0.
    """
    causes = [
        cause
        for cause in finding.depends_on
        if cause in problems and _can_cause(problems[cause], finding, processes)
    ]
    if causes and finding.verdict == "problem":
        finding.follows_from = causes[0]
    said = [
        each
        for each in causes
        if RULES[each].severity == "error" and (not areas or RULES[each].area in areas)
    ]
    if said and finding.verdict == "unknown":
        finding.verdict, finding.detail = "skipped", f"{said[0]} stands before it"


def _can_cause(
    causes: list[Finding], finding: Finding, processes: frozenset[str]
) -> bool:
    """What is wrong in some processes is no cause of what is wrong in another one."""
    named = {name for each in causes for name in (each.subject, *each.evidence)}
    affected = named & processes
    is_elsewhere = finding.subject in processes and finding.subject not in affected
    return not (affected and is_elsewhere)
