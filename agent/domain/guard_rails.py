"""The guard rails: what an operator allows per environment, beyond what always holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resentry.values import judge, split_dsn

if TYPE_CHECKING:
    from collections.abc import Mapping

CAPPED = ("SENTRY_TRACES_SAMPLE_RATE", "SENTRY_PROFILES_SAMPLE_RATE")
ANY = "*"


@dataclass(frozen=True, slots=True)
class GuardRails:
    """What may be published. Environments without an entry are not restricted.

    `allowed` holds (environment, host, project); `*` stands for any of them. `caps`
    holds the highest rate of traces and profiles per environment. `environment` is the
    environment of a candidate that names none.
    """

    environment: str = "production"
    allowed: tuple[tuple[str, str, str], ...] = ()
    caps: Mapping[str, float] | None = None
    boost_cap: float = 1.0

    def problems(
        self, settings: Mapping[str, Any], roles: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, str]:
        """Return what must not be published, by the name of each value.

        The shared settings are judged first, then those of each role.
        """
        default = {"SENTRY_ENVIRONMENT": self.environment}
        problems: dict[str, str] = {}
        for role, own in {"": {}, **roles}.items():
            effective = {**default, **settings, **own}
            judged = {**self._problems_of_process(effective), **judge(effective)}
            problems |= {name_in(role, key): text for key, text in judged.items()}
        return problems

    def lacks_dsn(self, values: Mapping[str, Any]) -> bool:
        """Return true if the effective values of a process need a DSN and name none.

        The process's own environment variable may hold the DSN, so this is no problem yet.
        """
        effective = {"SENTRY_ENVIRONMENT": self.environment, "SENTRY_DSN": "", **values}
        return "SENTRY_DSN" not in values and "SENTRY_DSN" in judge(effective)

    def _problems_of_process(self, values: Mapping[str, Any]) -> dict[str, str]:
        environment = values["SENTRY_ENVIRONMENT"]
        problems: dict[str, str] = {}
        dsn = values.get("SENTRY_DSN")
        if dsn and not self._allows(environment, dsn):
            problems["SENTRY_DSN"] = (
                f"is not an allowed host and project in {environment} "
                "(RESENTRY_ALLOWED_DSNS lists them)"
            )
        caps = self.caps or {}
        cap = caps.get(environment, caps.get(ANY, 1.0))
        for key in CAPPED:
            if values.get(key, 0.0) > cap:
                problems[key] = (
                    f"must be at most {cap:g} in {environment} "
                    "(RESENTRY_RATE_CAPS sets the cap)"
                )
        return problems

    def _allows(self, environment: str, dsn: str) -> bool:
        entries = [entry for entry in self.allowed if entry[0] in (environment, ANY)]
        parts = split_dsn(dsn)
        host = parts.hostname + (f":{parts.port}" if parts.port else "")
        return not entries or any(
            allowed_host in (host, ANY) and project in (parts.project, ANY)
            for _, allowed_host, project in entries
        )


def name_in(role: str, key: str) -> str:
    """Name a value by its key and, if it has one, its role."""
    return f"{key} of role {role}" if role else key
