"""`doctor`: what is wrong, since when, why, and what to type."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, get_args

import click
from msgspec import structs

from agent.cli import options
from agent.cli.answer import NO, UNEXAMINED, Answer
from agent.cli.gather import copied, gather_all, why_unknown
from agent.cli.rotation_look import rotation_report
from agent.cli.words import with_ages
from agent.doctor.bridge_facts import ask_bridge
from agent.doctor.bundle import write_bundle
from agent.doctor.examine import RULES, examine
from agent.doctor.facts import Facts, ask_source, problem_of, try_dsns
from agent.doctor.results import DoctorResult, RuleEntry, Verdict
from agent.doctor.rule import SEVERITIES, Area
from agent.domain.nearest import did_you_mean
from agent.observe.results import Error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agent.doctor.results import Finding
    from agent.doctor.rule import Rule
    from agent.settings import Loaded, Settings

AREAS: tuple[str, ...] = get_args(Area)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_MARKS = {"error": "!!", "warning": "! ", "info": "i "}


def _rule(_context: object, _option: object, given: str | None) -> Rule | None:
    if given is None:
        return None
    names = {rule.name: rule for rule in RULES.values()} | RULES
    rule = names.get(given) or names.get(given.upper())
    if rule is None:
        known = did_you_mean(given, names)
        raise click.BadParameter(f"there is no such rule{known}; --list shows them all")
    return rule


@options.command("doctor", is_warning=False)
@click.option(
    "--area",
    "areas",
    type=click.Choice(AREAS),
    multiple=True,
    help="Examine this area only; may be given more than once.",
)
@click.option("--offline", is_flag=True, help="Ask neither Vault nor any other server.")
@click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES),
    default="error",
    show_default=True,
    help="Exit with 1 from this severity on.",
)
@click.option(
    "--from-volume",
    "volume",
    type=click.Path(exists=True, file_okay=False),
    metavar="PATH",
    help="Examine a copied or orphaned volume: only what stands there.",
)
@click.option(
    "--bundle",
    metavar="FILE",
    help="Write what a bug report needs into a new tar.gz file, without secrets.",
)
@click.option("--list", "is_list", is_flag=True, help="List the rules, and end.")
@click.option(
    "--explain",
    callback=_rule,
    metavar="ID",
    help="Print the runbook's entry of a rule, such as RSN201, and end.",
)
def command(  # noqa: PLR0913 - the options
    loaded: Loaded,
    *,
    areas: Sequence[str],
    offline: bool,
    fail_on: str,
    volume: str | None,
    bundle: str | None,
    is_list: bool,
    explain: Rule | None,
) -> Answer:
    """Say what is wrong, why, and what to type.

    Settings, source, volume, processes, Sentry, rates and versions are examined.
    Each finding says what is wrong, since when, and what to type. What follows from
    another finding stands below it. Exits with 0 if nothing is as bad as --fail-on, with
    1 if something is, and with 3 if something could not be examined.
    """
    if explain is not None:
        return _rules([explain], _entry(explain))
    if is_list:
        rules = [r for r in RULES.values() if not areas or r.area in areas]
        listed = (f"{r.id}  {r.severity:8}{r.area:12}{r.title}" for r in rules)
        return _rules(rules, listed)
    if not areas and not volume and _is_bridge_alone(loaded.settings):
        areas = ("bridge",)
    facts = (
        facts_of_copy(loaded, volume) if volume else facts_of(loaded, offline=offline)
    )
    findings = examine(facts, areas)
    error, code = _error(findings, fail_on)
    lines = [with_ages(line, facts.now) for line in _lines(findings)]
    files = write_bundle(bundle, facts, findings) if bundle else []
    if files:
        lines += ["", f"{bundle} has, without secrets:", *(f"   {f}" for f in files)]
    result = DoctorResult(findings=findings, bundle=files)
    return Answer(result, tuple(lines), error, code)


def facts_of(loaded: Loaded, *, offline: bool) -> Facts:
    """Gather everything that the rules look at."""
    settings, problem = loaded.settings, loaded.problem or problem_of(loaded.settings)
    gathered = gather_all(settings)
    is_asked = not offline and problem is None
    return Facts(
        settings=settings,
        settings_error=problem,
        why_unknown=why_unknown(settings),
        warnings=loaded.warnings,
        status=structs.replace(
            gathered.status, rotation=rotation_report(settings) if is_asked else None
        ),
        current=gathered.current,
        rollout=gathered.rollout,
        asked=ask_source(settings) if is_asked else None,
        bridge=ask_bridge(settings, offline=offline),
        tried={} if offline else try_dsns(gathered.current, gathered.rollout),
        now=time.time(),
        environ=dict(os.environ),  # noqa: TID251 - which variables are set, for the rules
    )


def _is_bridge_alone(settings: Settings) -> bool:
    """Whether this is the container of a bridge, which has neither source nor volume."""
    has_source = bool(settings.vault_paths or settings.source_path)
    return bool(settings.bridge_alertmanagers) and not has_source


def _rules(rules: Sequence[Rule], lines: Iterable[str]) -> Answer:
    entries = [
        RuleEntry(**{name: getattr(rule, name) for name in RuleEntry.__struct_fields__})
        for rule in rules
    ]
    return Answer(DoctorResult(findings=[], rules=entries), tuple(lines))


def facts_of_copy(loaded: Loaded, directory: str) -> Facts:
    """Gather what a volume tells that was copied here, or that no agent has any more."""
    settings, now = copied(loaded.settings, directory)
    gathered = gather_all(settings, copied_at=now)
    return Facts(
        settings=settings,
        status=gathered.status,
        current=gathered.current,
        rollout=gathered.rollout,
        now=now,
        environ={},
        is_copy=True,
    )


def _error(findings: Sequence[Finding], fail_on: str) -> tuple[Error | None, int]:
    bad = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    problems = [f for f in findings if f.verdict == "problem" and f.severity in bad]
    if problems:
        first = next((f for f in problems if f.follows_from is None), problems[0])
        what = f"{_count(problems)}; the first: {first.id} {first.title}"
        return Error(code="Findings", what=what, hint=first.fix), NO
    unknown = [f for f in findings if f.verdict == "unknown"]
    if unknown:
        names = ", ".join(f.id for f in unknown)
        what = f"could not be examined: {names}; {unknown[0].detail}"
        return Error(code="NotExamined", what=what, hint=""), UNEXAMINED
    if all(finding.verdict == "skipped" for finding in findings):
        what = f"nothing was examined: {findings[0].detail}"
        return Error(code="NotExamined", what=what, hint=""), UNEXAMINED
    return None, 0


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    problems = [f for f in findings if f.verdict == "problem"]
    shown = {finding.id for finding in problems}
    below: dict[str | None, list[Finding]] = {}
    for finding in problems:
        cause = finding.follows_from if finding.follows_from in shown else None
        below.setdefault(cause, []).append(finding)
    roots = sorted(below.get(None, []), key=_badness)
    for finding in roots:
        yield from _problem_lines(finding)
        yield from _following_lines(finding.id, below)
        yield ""
    for finding in findings:
        if finding.verdict == "unknown":
            yield f"?  {finding.id} {finding.title}?"
            yield f"   could not be examined: {finding.detail}"
    ids = {
        verdict: {f.id for f in findings if f.verdict == verdict}
        for verdict in VERDICTS
    }
    bad = [f"{sum(f.severity == s for f in problems)} {s}" for s in SEVERITIES]
    yield f"{_count(problems)} ({', '.join(bad)})"
    if roots:
        yield f"more: resentry-agent doctor --explain {roots[0].id}"
    yield f"{len(ids['ok'])} rules are ok, {len(ids['skipped'])} do not apply"


def _count(problems: Sequence[Finding]) -> str:
    return "1 finding" if len(problems) == 1 else f"{len(problems)} findings"


def _badness(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)


def _following_lines(
    cause: str, below: dict[str | None, list[Finding]]
) -> Iterator[str]:
    for finding in below.pop(cause, ()):
        yield f"   so also {finding.id} {finding.title}: {finding.subject}"
        yield from _following_lines(finding.id, below)


def _problem_lines(finding: Finding) -> Iterator[str]:
    yield f"{_MARKS[finding.severity]} {finding.id} {finding.title}"
    since = f", since {finding.since}" if finding.since else ""
    yield f"   {finding.subject}: {finding.detail}{since}"
    for evidence in finding.evidence:
        yield f"   · {evidence}"
    if finding.follows_from is not None:  # of an area that was not asked for
        yield f"   its cause: resentry-agent doctor --explain {finding.follows_from}"
    yield f"   next: {finding.fix}"


def _entry(rule: Rule) -> Iterator[str]:
    yield f"{rule.id} {rule.name}: {rule.title}"
    yield f"severity {rule.severity}, area {rule.area}"
    yield ""
    yield from rule.text.splitlines()
    yield ""
    yield f"See: {rule.see}"
    yield f"Next: {rule.fix}".replace("`", "")
    if rule.causes:
        yield f"May follow from: {', '.join(rule.causes)}"
