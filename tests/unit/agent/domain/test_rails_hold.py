"""Random secrets of a hostile writer: what passes the rails keeps them everywhere."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from agent.domain.candidate import Candidate
from agent.domain.validate import validate
from agent.errors import CandidateRefused
from agent.settings import load
from resentry.contract import Snapshot, decode_snapshot, encode_snapshot, time_text
from resentry.effective import resolve
from resentry.formats import moment

NOW = 1_795_500_000.0
RAILS = load(
    {},
    {
        "RESENTRY_ENVIRONMENT": "production",
        "RESENTRY_ALLOWED_ENVIRONMENTS": "staging",
        "RESENTRY_ALLOWED_DSNS": "production=good.example/1,*=good.example/1,*=other.example",
        "RESENTRY_RATE_CAPS": "prod=0.1,*=1",
        "RESENTRY_BOOST_CAP": "0.5",
    },
).settings.guard_rails
ENVIRONMENTS = [
    *("production", "Production", "prod", "PROD", "staging", "Staging", "x", "dev"),
    *(" production", "prod\t", "", "\u212aprod", None, 5),
]
GOOD = [
    "",
    "https://k@good.example/1",
    "https://k@good.example:443/1",
    "https://k@GOOD.example/1",
    "https://k@good.example./1",
    "https://k:p@good.example/1",
]
EVIL = [
    "https://k@evil.example/1",
    "https://k@other.example/1",
    "http://k@good.example/1",
    "https://k@good.example@evil.example/1",
    "https://good.example@evil.example/1",
    "https://k@evil.example/good.example/1",
    "https://k@evil.example:443/1#@good.example/1",
    "https://k@good.example\\@evil.example/1",
    "https://k@good.example%2eevil.example/1",
    "https://k@good.example:8443/1",
    "https://k@good.example/2",
    "http://k@127.0.0.1/1",
]
RATES = [0, 0.1, 0.1000001, "0.1", "0.2", 1, True, "1e0", None, math.nan, "\u0661"]
BOOLEANS = [True, "true", False, "false", "yes", 0, 1, "1", "off", "ON"]
ROLES = ["api", "celery", "web", "w b", "", None]
ENDS = [60, 86_000, 86_500, 1e9, -5]


class Writer:
    """Writes secrets of which some are good, most are not, and all look likely."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def secret(self) -> dict[str, Any]:
        secret = self._settings()
        if self._maybe(0.4):
            names = self._random.choices(ROLES[:3], k=2)
            secret["RESENTRY_ROLES"] = {name: self._settings() for name in names}
        if self._maybe(0.3):
            secret["RESENTRY_RULES"] = [self._item({"match": "*"})]
        if self._maybe(0.3):
            end = time_text(NOW + self._random.choice(ENDS), "seconds")
            secret["RESENTRY_BOOSTS"] = [self._item({"id": "b", "until": end})]
        return secret

    def _settings(self) -> dict[str, Any]:
        choices: dict[str, tuple[float, list[Any]]] = {
            "SENTRY_DSN": (0.7, GOOD + EVIL),
            "SENTRY_ENVIRONMENT": (0.5, ENVIRONMENTS),
            "SENTRY_TRACES_SAMPLE_RATE": (0.4, RATES),
            "SENTRY_PROFILES_SAMPLE_RATE": (0.3, RATES),
            "SENTRY_PROFILE_SESSION_SAMPLE_RATE": (0.2, RATES),
            "SENTRY_SEND_PII": (0.3, BOOLEANS),
        }
        return {
            name: self._random.choice(values)
            for name, (share, values) in choices.items()
            if self._maybe(share)
        }

    def _item(self, fields: dict[str, Any]) -> dict[str, Any]:
        role = {"role": self._random.choice(ROLES)} if self._maybe(0.5) else {}
        return {**fields, **role, "traces": self._random.choice(RATES)}

    def _maybe(self, share: float) -> bool:
        return self._random.random() < share


def keeps_the_rails(snapshot: Snapshot, role: str, environ: dict[str, str]) -> bool:
    """Return whether what a process would run is within the rails of production."""
    found = resolve(snapshot, role, environ)
    values = found.values
    unexpected = {key for key in found.problems if key != "SENTRY_DSN" or values[key]}
    names = ("TRACES", "PROFILES", "PROFILE_SESSION")
    capped = [values[f"SENTRY_{name}_SAMPLE_RATE"] for name in names]
    capped += [rule.traces for rule in snapshot.rules if rule.role in (None, role)]
    return (
        not unexpected
        and values["SENTRY_DSN"] in GOOD
        and values["SENTRY_SEND_PII"] is False
        and all((rate or 0.0) <= 0.1 for rate in capped)
        and all(boost.traces <= 0.5 for boost in snapshot.boosts)
        and all(moment(boost.until) <= NOW + 86_400 for boost in snapshot.boosts)
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_whatever_passes_keeps_the_rails_of_production_in_every_process(
    seed: int,
) -> None:
    """In each role, and whatever the process says of its own environment."""
    writer, passed = Writer(seed), 0
    for _ in range(2000):
        secret = writer.secret()
        try:
            snapshot, _ = validate(Candidate(secret), RAILS, None, NOW)
        except CandidateRefused:
            continue
        passed += 1
        read = decode_snapshot(encode_snapshot(snapshot))
        for role in ("api", "celery", "web", "other"):
            for own in ({"ENVIRONMENT": "production"}, {"ENVIRONMENT": "dev"}, {}):
                assert keeps_the_rails(read, role, own), secret
    assert passed > 70
