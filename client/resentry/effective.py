"""What one process should run: it takes each value from its place, and judges all."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from resentry.values import KEYS, OWN, PRODUCTION, Key, judge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resentry.contract import Snapshot


class Effective(NamedTuple):
    """What one process should run: each value, its origin, and what is wrong with it."""

    values: Mapping[str, Any]
    origins: Mapping[str, str] = MappingProxyType({})
    problems: Mapping[str, str] = MappingProxyType({})

    def reason(self) -> str:
        """Return all problems in one line; empty if there are none."""
        return "; ".join(f"{key} {text}" for key, text in self.problems.items())

    def with_violations_reset(self) -> Effective:
        """Return a copy in which each bad value is its default: no DSN, PII off."""
        values = dict(self.values)
        values.update({key: KEYS[key].default for key in self.problems})
        return Effective(values, self.origins, self.problems)


def resolve(
    snapshot: Snapshot | None, role: str, environ: Mapping[str, str]
) -> Effective:
    """Take each value from the role, else the snapshot, else the environment variable."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name, key in KEYS.items():
        raw, origin = _find(name, key, snapshot, role, environ)
        origins[name] = origin
        if origin == "default":
            values[name] = raw
            continue
        parse = OWN.get(name, key.parse) if origin == "environment" else key.parse
        try:
            values[name] = parse(raw)
        except ValueError as error:
            values[name] = key.default
            problems[name] = f"{error} (from {origins[name]})"
    environments = _environments(snapshot, role, environ)
    return Effective(values, origins, {**judge(values, environments), **problems})


def _environments(
    snapshot: Snapshot | None, role: str, environ: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return each environment by which a process judges, and the place where it is set.

    The process's own count whatever the snapshot says, so that no snapshot can talk a
    production process out of the rules of production.
    """
    named = [
        (environ[variable], f"{variable} of this process")
        for variable in ("ENVIRONMENT", "SENTRY_ENVIRONMENT")
        if environ.get(variable)
    ]
    if snapshot is not None:
        values = {**snapshot.settings, **snapshot.roles.get(role, {})}
        if "SENTRY_ENVIRONMENT" in values:
            where = "SENTRY_ENVIRONMENT of the snapshot"
            named.append((values["SENTRY_ENVIRONMENT"], where))
        if snapshot.judged_by:
            named.append((snapshot.judged_by, "the agent's environment"))
    unset = "the default: neither SENTRY_ENVIRONMENT nor ENVIRONMENT is set"
    return named or [(PRODUCTION, unset)]


def _find(
    name: str,
    key: Key,
    snapshot: Snapshot | None,
    role: str,
    environ: Mapping[str, str],
) -> tuple[Any, str]:
    if snapshot is not None:
        own = snapshot.roles.get(role, {})
        if name in own:
            return own[name], "role"
        if name in snapshot.settings:
            return snapshot.settings[name], "snapshot"
    for variable in (name, key.fallback):
        # In the guide an empty variable counts as absent. Only an empty DSN means "off".
        if (
            variable
            and variable in environ
            and (environ[variable] or variable == "SENTRY_DSN")
        ):
            return environ[variable], "environment"
    return key.default, "default"
