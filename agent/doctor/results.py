"""What `doctor --json` prints, field by field."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from agent.doctor.rule import Area, Severity
from agent.observe.tuning_results import Moment

Verdict = Literal["ok", "problem", "skipped", "unknown"]


class Finding(Struct, kw_only=True):
    """The result of one rule, for one subject."""

    id: Annotated[str, Meta(description="The rule, as `RSN201`.")]
    name: Annotated[str, Meta(description="The rule's name.")]
    severity: Annotated[
        Severity, Meta(description="How bad a problem of this rule is.")
    ]
    area: Annotated[Area, Meta(description="What it is about.")]
    title: Annotated[str, Meta(description="The problem in a few words.")]
    verdict: Annotated[
        Verdict,
        Meta(
            description="`skipped`: the rule does not apply; `unknown`: it could not be "
            "examined. `detail` says why."
        ),
    ]
    subject: Annotated[
        str, Meta(description="The setting, path, process, DSN or role; may be empty.")
    ]
    detail: Annotated[str, Meta(description="What was seen, in words; may be empty.")]
    evidence: Annotated[
        list[str], Meta(description="Facts behind it. They hold no secret.")
    ]
    depends_on: Annotated[
        list[str], Meta(description="The rules whose problems cause this problem.")
    ]
    follows_from: Annotated[
        str | None,
        Meta(description="The rule whose problem is the cause here; null if none is."),
    ] = None
    since: Annotated[
        Moment | None, Meta(description="Since when; null if that is not known.")
    ]
    fix: Annotated[str, Meta(description="What to type or to do; may be empty.")]
    link: Annotated[str, Meta(description="The runbook's entry.")]


class RuleEntry(Struct, frozen=True, kw_only=True):
    """One rule, as the runbook has it."""

    id: Annotated[str, Meta(description="The rule, as `RSN201`.")]
    name: Annotated[str, Meta(description="The rule's name.")]
    severity: Annotated[
        Severity, Meta(description="How bad a problem of this rule is.")
    ]
    area: Annotated[Area, Meta(description="What it is about.")]
    title: Annotated[str, Meta(description="The problem in a few words.")]
    text: Annotated[str, Meta(description="What it means, and what to do.")]
    fix: Annotated[str, Meta(description="What to type or to do; may be empty.")]
    causes: Annotated[
        list[str], Meta(description="The rules that this one may follow from.")
    ]


class DoctorResult(Struct, frozen=True, kw_only=True):
    """The result of `doctor`."""

    findings: Annotated[
        list[Finding],
        Meta(
            description="One or more findings for each rule; none with `--list` or "
            "`--explain`."
        ),
    ]
    rules: Annotated[
        list[RuleEntry],
        Meta(description="The rules that `--list` or `--explain` names; else none."),
    ] = []
    bundle: Annotated[
        list[str],
        Meta(description="What `--bundle` has written: a line for each file."),
    ] = []
