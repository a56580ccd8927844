"""Reads the file of alert rules: what its author writes, and what is wrong with it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from agent.domain.nearest import did_you_mean
from agent.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

FREQUENCIES = (0, 5, 10, 30, 60, 180, 720, 1440)
"""The minutes that Sentry takes as the least time between two notifications."""
INTERVALS = ("1m", "5m", "15m", "1h", "1d", "1w", "30d")
"""Sentry counts the events of an issue over one of these."""
Severity = Literal["critical", "warning", "info"]
Change = Literal["new", "regressed", "escalating", "resolved"]
_SECONDS = {"m": 60, "h": 3600, "d": 86400}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_RULE = re.compile(r"[^\[\]\x00-\x1f]{1,100}")


class Rule(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What every rule has."""

    name: str
    severity: Severity
    at_most_every: str = "30m"
    is_on: Annotated[
        bool, Meta(description="Switched off, it stays on the server.")
    ] = msgspec.field(default=True, name="on")

    @property
    def minutes(self) -> int:
        """The least time between two notifications of one issue."""
        return seconds_of(self.at_most_every, "at_most_every", self.name) // 60


class IssueRule(Rule, frozen=True, kw_only=True):
    """Tells of issues of the project's errors."""

    when: tuple[Change, ...] = ("new", "regressed", "escalating")
    tags: dict[str, str] = {}
    more_than: Annotated[int, Meta(ge=1)] | None = None
    per: str = "1h"


class MetricRule(Rule, frozen=True, kw_only=True):
    """Tells when what the project's spans show is above a bound."""

    measure: Annotated[str, Meta(min_length=1)]
    above: float
    query: str = ""
    window: str = "5m"

    @property
    def seconds(self) -> int:
        """The time that the measure is taken over."""
        return seconds_of(self.window, "window", self.name)


class RuleFile(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """All rules of one service.

    `name` marks what is ours on the server: what does not begin with it is never touched.
    """

    name: str
    environment: str = ""
    notify: str | int
    issues: tuple[IssueRule, ...] = ()
    metrics: tuple[MetricRule, ...] = ()

    @property
    def mark(self) -> str:
        """How each name of ours on the server begins."""
        return f"[resentry {self.name}] "

    def name_of(self, rule: Rule) -> str:
        """Return the name of a rule on the server. The bridge reads the severity in it."""
        return f"{self.mark}[{rule.severity}] {rule.name}"


def read(path: str) -> RuleFile:
    """Return the rules of a file. Raises `SettingsError`."""
    try:
        with open(path, "rb") as file:
            rules = msgspec.toml.decode(file.read(), type=RuleFile)
    except OSError as error:
        raise SettingsError(
            f"cannot read {path}: {error.strerror}", "give the file of the alert rules"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {_plain(error)}", _hint(error)) from None
    _check_names(path, rules)
    _check_times(rules)
    return rules


def seconds_of(text: str, what: str, rule: str) -> int:
    """Return the seconds of a time as 5m, 1h or 1d. Raises `SettingsError`."""
    parts = re.fullmatch(r"([0-9]{1,5})([mhd])", text)
    if not parts:
        raise SettingsError(
            f"rule {rule!r}: {what} is {text!r}",
            f"write {what} as a number with m, h or d, as 5m",
        )
    return int(parts[1]) * _SECONDS[parts[2]]


def _check_names(path: str, rules: RuleFile) -> None:
    every: list[Rule] = [*rules.issues, *rules.metrics]
    if not every:
        raise SettingsError(f"{path} has no rule", "write [[issues]] or [[metrics]]")
    if not _NAME.fullmatch(rules.name):
        raise SettingsError(
            f"{path}: the name {rules.name!r} cannot mark what is ours on the server",
            "use at most 40 letters, digits, dots, dashes and underscores",
        )
    seen: set[str] = set()
    for rule in every:
        name = rules.name_of(rule)
        if name.casefold() in seen:
            raise SettingsError(
                f"{path} has two rules with the name {rule.name!r} and the severity "
                f"{rule.severity}",
                "give each rule a name of its own",
            )
        seen.add(name.casefold())
        if not _RULE.fullmatch(rule.name) or rule.name != rule.name.strip():
            raise SettingsError(
                f"{path}: a rule cannot have the name {rule.name!r}",
                "use at most 100 characters, no brackets, and no space at an end",
            )


def _check_times(rules: RuleFile) -> None:
    """Raise `SettingsError` for a time that Sentry does not take."""
    minutes = tuple(f"{each}m" for each in FREQUENCIES)
    for rule in (*rules.issues, *rules.metrics):
        if rule.minutes not in FREQUENCIES:
            raise _choose(rule, "at_most_every", rule.at_most_every, minutes)
    for issues in rules.issues:
        if issues.per not in INTERVALS:
            raise _choose(issues, "per", issues.per, INTERVALS)
        if not issues.when:
            raise _choose(issues, "when", "", get_args(Change))
    for metric in rules.metrics:
        if not math.isfinite(metric.above):
            raise SettingsError(
                f"rule {metric.name!r}: `above` is no number",
                "write it as 2000 or 0.05",
            )
        if not metric.seconds:
            raise _choose(metric, "window", metric.window, ("5m", "1h"))
        if metric.severity == "info":  # the webhook of a measure has only these two
            raise _choose(metric, "severity", "info", ("critical", "warning"))


def _choose(rule: Rule, key: str, value: str, choices: Sequence[str]) -> SettingsError:
    return SettingsError(
        f"rule {rule.name!r}: Sentry does not take {key} = {value!r}",
        f"choose from {', '.join(choices)}",
    )


def _plain(error: Exception) -> str:
    """Return msgspec's message as the place in the file, and what is wrong there."""
    return str(error).replace("Object", "the table").replace(" - at `$", " (at `")


def _hint(error: Exception) -> str:
    unknown = re.search(r"unknown field `(\w+)`", str(error))
    if not unknown:
        return "docs/alerts.md shows each key of the file"
    known = {
        field.encode_name
        for kind in (RuleFile, IssueRule, MetricRule)
        for field in msgspec.structs.fields(kind)
    }
    return f"docs/alerts.md shows each key{did_you_mean(unknown[1], sorted(known))}"
