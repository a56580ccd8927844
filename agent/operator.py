"""What an operator may ask of the daemon: refresh, rollback, boost. Pure of transport."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.domain.probe import dsns_of, fingerprint_of
from agent.domain.validate import ROLES, check_match
from agent.domain.wishes import left, name_of, values_of
from agent.errors import WishRefused
from resentry import formats
from resentry.contract import BOOSTS_LIMIT, Boost, Snapshot, time_text
from resentry.values import judge, show_dsn

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.domain.outcome import Outcome
    from agent.pipeline import Pipeline
    from agent.settings import Settings

MAX_BOOST_SECONDS = 24 * 3600


class Operator:
    """Carries requests out. `refresh` runs a pass now and returns its outcome."""

    def __init__(
        self, settings: Settings, pipeline: Pipeline, refresh: Callable[[], Outcome]
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._refresh = refresh

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request of the control socket."""
        commands: dict[str, Callable[[dict[str, Any]], None]] = {
            "refresh": lambda _: None,
            "rollback": self._roll_back,
            "resume": self._resume,
            "boost": self._boost,
            "end": self._end,
        }
        commands[request["command"]](request)
        outcome = self._refresh()
        return {
            "outcome": outcome.kind,
            "sentence": outcome.sentence,
            "hint": outcome.hint,
            "notes": list(outcome.notes),
            "revision": outcome.revision,
            "sequence": outcome.sequence,
            "code": outcome.exit_code,
            "boosts": self.boosts(),
        }

    def boosts(self) -> list[dict[str, Any]]:
        """The running boosts of operator and source, with the seconds that are left."""
        current = self._pipeline.current
        return left(current.boosts, time.time()) if current else []

    def _roll_back(self, request: dict[str, Any]) -> None:
        pipeline, revision = self._pipeline, request.get("revision")
        current = pipeline.current
        if current is None:
            raise WishRefused("nothing is published, so nothing can be rolled back")
        published, held = values_of(current), pipeline.wishes.held
        earlier = [
            one
            for one in pipeline.history()
            if values_of(one) != published
            and (
                one.revision == revision if revision else not (held and held.bars(one))
            )
        ]
        if current.revision == revision:
            raise WishRefused(f"revision {revision} is published now")
        if not earlier:
            raise WishRefused(
                f"revision {revision} is not among the last ten, or differs in no setting"
                if revision
                else "no earlier revision differs in a setting",
                "resentry-agent history lists them",
            )
        self._must_be_good(earlier[0])
        pipeline.hold(earlier[0])

    def _must_be_good(self, snapshot: Snapshot) -> None:
        """Hold an earlier snapshot to the policy of now, and to what targets said."""
        if name_of(snapshot) in self._pipeline.wishes.rejected:
            raise WishRefused(f"a process could not apply revision {snapshot.revision}")
        bad = sorted(filter(self._is_rejected, dsns_of(snapshot)))
        if bad:
            raise WishRefused(
                f"the DSN of revision {snapshot.revision} is rejected: "
                f"{', '.join(map(show_dsn, bad))}",
                "once its key is enabled again, publish it from the source",
            )
        policy = self._settings.policy
        default = {"SENTRY_ENVIRONMENT": policy.environment}
        for own in ({}, *snapshot.roles.values()):
            effective = {**default, **snapshot.settings, **own}
            problems = {**policy.problems(effective), **judge(effective)}
            if problems:
                told = "; ".join(f"{key} {text}" for key, text in problems.items())
                raise WishRefused(f"revision {snapshot.revision}: {told}")

    def _is_rejected(self, dsn: str) -> bool:
        rejected = self._pipeline.wishes.rejected
        return self._settings.probe != "off" and fingerprint_of(dsn) in rejected

    def _resume(self, _request: dict[str, Any]) -> None:
        if self._pipeline.wishes.held is None:
            raise WishRefused("no rollback is held")
        self._pipeline.wish(lambda wishes: replace(wishes, held=None))

    def _boost(self, request: dict[str, Any]) -> None:
        try:
            seconds = formats.number(request["seconds"])
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= MAX_BOOST_SECONDS:
            raise WishRefused("a boost lasts more than nothing and at most a day")
        try:
            traces = formats.rate(request["traces"])
        except ValueError as error:
            raise WishRefused(f"--traces {error}") from None
        if traces > self._settings.boost_cap:
            raise WishRefused(
                f"the cap of boosts is {self._settings.boost_cap:g}",
                "RESENTRY_BOOST_CAP sets it",
            )
        role = request.get("role")
        if role not in (None, *ROLES):
            raise WishRefused(f"--role must be {' or '.join(ROLES)}")
        match = request.get("match") or None
        try:
            check_match(match)
        except ValueError as error:
            raise WishRefused(f"--{error}") from None
        wanted = self._pipeline.wishes.boosts
        if len(wanted) >= BOOSTS_LIMIT // 2:
            raise WishRefused(
                f"{len(wanted)} boosts run already, which is the limit",
                "end one of them: resentry-agent boost --end ID",
            )
        boost = Boost(
            id=secrets.token_hex(3),
            traces=traces,
            until=time_text(time.time() + seconds, "seconds"),
            match=match,
            role=role,
        )
        self._pipeline.wish(
            lambda wishes: replace(wishes, boosts=(*wishes.boosts, boost))
        )

    def _end(self, request: dict[str, Any]) -> None:
        named = request["id"]
        kept = tuple(b for b in self._pipeline.wishes.boosts if b.id != named)
        if len(kept) == len(self._pipeline.wishes.boosts):
            raise WishRefused(
                f"no boost {named} was asked for here",
                "one of RESENTRY_BOOSTS ends in Vault, or by itself",
            )
        self._pipeline.wish(lambda wishes: replace(wishes, boosts=kept))
