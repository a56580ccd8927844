"""The guard rails: what an operator allows per environment, beyond what always holds.

The agent's own environment decides, never one that the writer of a secret chooses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.domain.value import Value
from resentry import formats
from resentry.values import environment_name, is_host, judge, split_dsn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from resentry.contract import Rule, Snapshot

CAPPED = (
    "SENTRY_TRACES_SAMPLE_RATE",
    "SENTRY_PROFILES_SAMPLE_RATE",
    "SENTRY_PROFILE_SESSION_SAMPLE_RATE",
)
ANY = "*"
BOOST_SECONDS = 24 * 3600
"""The longest time until a boost ends, whoever asks for it."""
DEFAULT_PLACE = "the default: neither RESENTRY_ENVIRONMENT nor ENVIRONMENT is set"


class AllowedDsn(Value, frozen=True):
    """One entry of the allow-list. Host and project may be `*`, for any.

    Without a port, the entry allows the default port of the DSN's scheme.
    """

    environment: str
    host: str
    port: int | None
    project: str

    def allows(self, dsn: str) -> bool:
        """Return true if the entry allows this DSN."""
        parts = split_dsn(dsn)
        default = parts.default_port
        is_port = (self.port or default) == (parts.port or default)
        is_host = self.host == parts.hostname.rstrip(".") and is_port
        return (is_host or self.host == ANY) and self.project in (parts.project, ANY)


def allowed_dsn(entry: str) -> AllowedDsn:
    """Read `ENVIRONMENT=HOST[:PORT][/PROJECT]`. The error does not quote the entry."""
    environment, _, target = entry.partition("=")
    address, _, project = target.partition("/")
    if "@" in target or "//" in target:
        raise ValueError("must have a host without https:// and without a key")
    if not environment or not address:
        raise ValueError("is not ENVIRONMENT=HOST[:PORT][/PROJECT]")
    if project not in ("", ANY):
        try:
            formats.whole(project)
        except ValueError:
            raise ValueError("must have a whole number after the /") from None
    name, project = environment_name(environment), project or ANY
    if address == ANY:
        return AllowedDsn(name, ANY, None, project)
    if ANY in address:
        raise ValueError("can have * in place of a whole host, not in place of a part")
    try:
        parts = urlsplit(f"//{address}")
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        host, port = "", None
    if not is_host(host) or port == 0:
        raise ValueError("has a host or a port that cannot exist")
    return AllowedDsn(name, host, port, project)


class GuardRails(Value, frozen=True):
    """What may be published.

    `environment` is the agent's own, and `place` is where it is set. The names in
    `allowed_environments`, in `allowed` and in `caps` are as `environment_name` returns
    them. A list that is not empty, but has no entry for an environment, allows nothing
    there. `*` is the entry for all other environments.
    """

    environment: str = "production"
    place: str = DEFAULT_PLACE
    allowed_environments: tuple[str, ...] = ()
    allowed: tuple[AllowedDsn, ...] = ()
    caps: Mapping[str, float] | None = None
    boost_cap: float = 1.0

    def problems(self, snapshot: Snapshot, now: float) -> dict[str, str]:
        """Return what must not be published at this time, by the name of each value.

        Everything that can carry a DSN, a rate or personal data is judged: the shared
        settings, those of each role, rules, and boosts.
        """
        problems: dict[str, str] = {}
        for role, own in {"": {}, **snapshot.roles}.items():
            values = {**snapshot.settings, **own}
            environments = self._environments(values)
            judged = self._foreign_environment(values) | judge(values, environments)
            rules = [
                (index, rule)
                for index, rule in enumerate(snapshot.rules)
                if rule.role in (None, role)
                or (role == "" and rule.role not in snapshot.roles)
            ]
            for name, _ in environments:
                judged = self._values_above(name, values) | judged
                problems |= self._rules_above(name, rules)
            problems |= {name_in(role, key): text for key, text in judged.items()}
        return problems | dict(self._boost_problems(snapshot, now))

    def gaps(self) -> tuple[str, ...]:
        """Return a sentence for each list that allows nothing, for want of an entry."""
        named = dict.fromkeys((environment_name(self.environment), *self._named()))
        dsns = (
            f"RESENTRY_ALLOWED_DSNS has no entry for {name}, so no DSN can be published: "
            f"add {name}=HOST, or *=HOST for all other environments"
            for name in named
            if self.allowed and not self._entries(name)
        )
        rates = (
            f"RESENTRY_RATE_CAPS has no entry for {name}, so no rate above 0 can be "
            f"published: add {name}=RATE, or *=RATE for all other environments"
            for name in named
            if self.caps and name not in self.caps and ANY not in self.caps
        )
        return (*dsns, *rates)

    def lacks_dsn(self, values: Mapping[str, Any]) -> bool:
        """Return true if the effective values of a process need a DSN and name none.

        The process's own environment variable may hold the DSN, so this is no problem yet.
        """
        without = {"SENTRY_DSN": ""}
        is_needed = "SENTRY_DSN" in judge(without, self._environments(values))
        return is_needed and "SENTRY_DSN" not in values

    def _named(self) -> tuple[str, ...]:
        return tuple(name for name in self.allowed_environments if name != ANY)

    def _environments(self, values: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the environments in force: the agent's own, and one that is allowed."""
        own = environment_name(self.environment)
        named = environment_name(values.get("SENTRY_ENVIRONMENT", own))
        is_other = named != own and not {named, ANY}.isdisjoint(
            self.allowed_environments
        )
        return [(own, self.place), *([(named, "SENTRY_ENVIRONMENT")] * is_other)]

    def _foreign_environment(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return a problem if the values name an environment that is not in force."""
        given = environment_name(values.get("SENTRY_ENVIRONMENT", self.environment))
        if given in dict(self._environments(values)):
            return {}
        return {
            "SENTRY_ENVIRONMENT": (
                f"is not the agent's environment, {self.environment} ({self.place}): set "
                "RESENTRY_ENVIRONMENT to the application's environment, or let "
                "RESENTRY_ALLOWED_ENVIRONMENTS list the environment of the secret"
            )
        }

    def _values_above(self, name: str, values: Mapping[str, Any]) -> dict[str, str]:
        problems: dict[str, str] = {}
        dsn = values.get("SENTRY_DSN")
        entries = self._entries(name)
        if dsn and self.allowed and not any(entry.allows(dsn) for entry in entries):
            why = "lists them" if entries else "has no entry for it"
            problems["SENTRY_DSN"] = (
                f"is not an allowed host and project in {self._shown(name)} "
                f"(RESENTRY_ALLOWED_DSNS {why})"
            )
        for key in CAPPED:
            if (values.get(key) or 0.0) > self._cap(name):
                problems[key] = self._above_cap(name)
        return problems

    def _rules_above(
        self, name: str, rules: Iterable[tuple[int, Rule]]
    ) -> dict[str, str]:
        return {
            f"RESENTRY_RULES[{index}] traces": self._above_cap(name)
            for index, rule in rules
            if rule.traces > self._cap(name)
        }

    def _entries(self, name: str) -> list[AllowedDsn]:
        own = [entry for entry in self.allowed if entry.environment == name]
        return own or [entry for entry in self.allowed if entry.environment == ANY]

    def _cap(self, name: str) -> float:
        caps = self.caps or {ANY: 1.0}
        return caps.get(name, caps.get(ANY, 0.0))

    def _above_cap(self, name: str) -> str:
        return (
            f"must be at most {self._cap(name):g} in {self._shown(name)} "
            "(RESENTRY_RATE_CAPS sets the cap)"
        )

    def _shown(self, name: str) -> str:
        """Return an environment that an operator has named; never the secret's text."""
        known = (environment_name(self.environment), *self._named())
        return name if name in known else "the environment that the secret names"

    def _boost_problems(
        self, snapshot: Snapshot, now: float
    ) -> Iterator[tuple[str, str]]:
        for index, boost in enumerate(snapshot.boosts):
            where = f"RESENTRY_BOOSTS[{index}]"
            if boost.traces > self.boost_cap:
                text = (
                    f"must be at most {self.boost_cap:g} (RESENTRY_BOOST_CAP sets it)"
                )
                yield f"{where} traces", text
            if formats.moment(boost.until) > now + BOOST_SECONDS:
                yield f"{where} until", "must be at most one day from now"


def name_in(role: str, key: str) -> str:
    """Name a value by its key and, if it has one, its role."""
    return f"{key} of role {role}" if role else key
