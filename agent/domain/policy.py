"""What an operator allows per environment, on top of what must hold everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resentry import formats
from resentry.values import split_dsn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CAPPED = ("SENTRY_TRACES_SAMPLE_RATE", "SENTRY_PROFILES_SAMPLE_RATE")
ANY = "*"


@dataclass(frozen=True, slots=True)
class Policy:
    """The guard rails. An environment that nothing names is not restricted.

    `allowed` holds (environment, host, project) with `*` for any; `caps` the highest
    rate of traces and profiles per environment.
    """

    environment: str = "production"
    allowed: tuple[tuple[str, str, str], ...] = ()
    caps: Mapping[str, float] | None = None
    boost_cap: float = 1.0

    def problems(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Say by key what is not allowed of effective values."""
        environment = values["SENTRY_ENVIRONMENT"]
        found: dict[str, str] = {}
        dsn = values.get("SENTRY_DSN")
        if dsn and not self._allows(environment, dsn):
            found["SENTRY_DSN"] = f"is not an allowed host and project in {environment}"
        caps = self.caps or {}
        cap = caps.get(environment, caps.get(ANY, 1.0))
        for key in CAPPED:
            if values.get(key, 0.0) > cap:
                found[key] = f"must be at most {cap:g} in {environment}"
        return found

    def _allows(self, environment: str, dsn: str) -> bool:
        entries = [one for one in self.allowed if one[0] in (environment, ANY)]
        parts = split_dsn(dsn)
        host = parts.hostname + (f":{parts.port}" if parts.port else "")
        return not entries or any(
            allowed_host in (host, ANY) and project in (parts.project, ANY)
            for _, allowed_host, project in entries
        )


def parse_allowed(entries: Iterable[str]) -> tuple[tuple[str, str, str], ...]:
    """Read `ENVIRONMENT=HOST[/PROJECT]` entries, or raise `ValueError`."""
    found = []
    for entry in entries:
        environment, equals, target = entry.partition("=")
        host, _, project = target.partition("/")
        good = environment and equals and host
        is_number = project.isascii() and project.isdigit()
        if not good or not (project in ("", ANY) or is_number):
            raise ValueError(
                f"{entry} is not ENVIRONMENT=HOST or ENVIRONMENT=HOST/PROJECT"
            )
        found.append((environment, host, project or ANY))
    return tuple(found)


def parse_rates(entries: Iterable[str]) -> dict[str, float]:
    """Read `ENVIRONMENT=RATE` entries, or raise `ValueError`."""
    rates = {}
    for entry in entries:
        environment, _, rate = entry.partition("=")
        if not environment:
            raise ValueError(f"{entry} is not ENVIRONMENT=RATE")
        rates[environment] = formats.rate(rate)
    return rates


def parse_counts(entries: Iterable[str]) -> dict[str, int]:
    """Read `ROLE=NUMBER` entries, or raise `ValueError`."""
    counts = {}
    for entry in entries:
        role, _, number = entry.partition("=")
        try:
            counts[formats.role(role)] = formats.whole(number)
        except ValueError:
            raise ValueError(f"{entry} is not ROLE=NUMBER") from None
    return counts
