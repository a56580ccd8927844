"""Turns an operator's requests into wishes.

This module changes nothing, and knows no threads and no sockets.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from agent.domain.dsn_check import dsns_of
from agent.domain.value import Value, replace
from agent.domain.wishes import lasting_revision, running, values_of
from agent.errors import RequestUnknown, WishRefused
from agent.tuning import read_boost, read_ceiling, shown
from resentry.contract import (
    BOOSTS_LIMIT,
    CEILINGS_LIMIT,
    Snapshot,
    fingerprint,
)
from resentry.values import show_dsn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.domain.outcome import Outcome
    from agent.domain.rejections import Rejections
    from agent.domain.rollout import Rollout
    from agent.domain.view import Known
    from agent.domain.wishes import Ending, Wishes
    from agent.errors import SettingsError
    from agent.settings import Settings

T = TypeVar("T")
NEEDED: dict[str, set[str]] = {
    "refresh": set(),
    "rollback": set(),
    "resume": set(),
    "boost": {"seconds", "traces"},
    "throttle": {"seconds"},
    "end": {"id"},
    "verify": {"kinds", "roles", "seconds"},
    "renew-verify": {"nonce"},
    "end-verify": {"nonce"},
}
"""The fields that a request must have, by its command."""


def check_request(request: dict[str, Any]) -> None:
    """Raise `RequestUnknown` for a request that no command of this version sends."""
    needed = NEEDED.get(str(request.get("command")))
    is_flat = all(
        isinstance(value, str | int | float | None) for value in request.values()
    )
    if needed is None or not needed <= request.keys() or not is_flat:
        raise RequestUnknown


class Grounds(Value, frozen=True):
    """What is known when a request is judged."""

    known: Known
    rejections: Rejections
    history: Sequence[Snapshot]
    """The last ten published snapshots, newest first."""


class Desk:
    """Judges requests by the settings, and turns them into wishes.

    With a `problem` of the settings, the guard rails are not known: each request is refused.
    """

    def __init__(
        self, settings: Settings, problem: SettingsError | None = None
    ) -> None:
        self._settings = settings
        self._problem = problem

    def wishes(self, request: dict[str, Any], grounds: Grounds) -> Wishes:
        """Return the wishes after a checked request, or raise `WishRefused`."""
        commands = {
            "rollback": self._rollback,
            "resume": self._resume,
            "boost": self._boost,
            "throttle": self._throttle,
            "end": self._end,
        }
        command = commands[request["command"]]
        if self._problem is not None:
            raise self._problem
        if grounds.known.last_good is None:
            raise WishRefused(
                "nothing is published yet, so there is nothing to change",
                "resentry-agent status shows why nothing is published",
            )
        return command(request, grounds)

    def _rollback(self, request: dict[str, Any], grounds: Grounds) -> Wishes:
        revision, known = request.get("revision"), grounds.known
        current, held = known.current, known.wishes.held
        if current is None:
            raise WishRefused("nothing is published, so there is nothing to roll back")
        published = values_of(current)
        earlier = [
            snapshot
            for snapshot in grounds.history
            if values_of(snapshot) != published
            and (
                revision in _names(snapshot)
                if revision
                else not (held and held.still_concerns(snapshot))
            )
        ]
        if current.revision == revision:
            raise WishRefused(f"revision {revision} is the published one already")
        if not earlier:
            raise _nothing_earlier(revision, current, grounds.history)
        self._must_be_good(earlier[0], grounds.rejections)
        return known.wishes.holding(earlier[0], current, known.last_good)

    def _must_be_good(self, snapshot: Snapshot, rejections: Rejections) -> None:
        """Judge an earlier snapshot by the guard rails and the rejections of now."""
        if lasting_revision(snapshot) in rejections.revisions:
            raise WishRefused(
                f"revision {snapshot.revision} failed before: a process could not apply it",
                "name another revision; resentry-agent history lists them",
            )
        is_checked = self._settings.dsn_check != "off"
        bad = sorted(
            dsn
            for dsn in dsns_of(snapshot)
            if is_checked and fingerprint(dsn) in rejections.dsns
        )
        if bad:
            raise WishRefused(
                f"the DSN of revision {snapshot.revision} was rejected by its server: "
                f"{', '.join(map(show_dsn, bad))}",
                "enable its key at the server, then publish the DSN from the source",
            )
        rails = self._settings.guard_rails
        # The boosts of an earlier snapshot are not published again.
        problems = rails.problems(replace(snapshot, boosts=()), time.time())
        if problems:
            listed = "; ".join(f"{name} {text}" for name, text in problems.items())
            raise WishRefused(
                f"the guard rails refuse revision {snapshot.revision}: {listed}",
                "name another revision; resentry-agent history lists them",
            )

    def _resume(self, _request: dict[str, Any], grounds: Grounds) -> Wishes:
        if grounds.known.wishes.held is None:
            raise WishRefused("no rollback is held, so there is nothing to resume")
        return replace(grounds.known.wishes, held=None)

    def _boost(self, request: dict[str, Any], grounds: Grounds) -> Wishes:
        boost, wishes = _read(read_boost, request), grounds.known.wishes
        if boost.traces > self._settings.boost_cap:
            raise WishRefused(
                f"--traces must be at most {self._settings.boost_cap:g}, the cap of boosts",
                "RESENTRY_BOOST_CAP sets the cap",
            )
        _must_be_few("boosts", wishes.boosts, BOOSTS_LIMIT)
        return replace(wishes, boosts=(*wishes.boosts, boost))

    def _throttle(self, request: dict[str, Any], grounds: Grounds) -> Wishes:
        ceiling, wishes = _read(read_ceiling, request), grounds.known.wishes
        _must_be_few("ceilings", wishes.ceilings, CEILINGS_LIMIT)
        return replace(wishes, ceilings=(*wishes.ceilings, ceiling))

    def _end(self, request: dict[str, Any], grounds: Grounds) -> Wishes:
        ended, wishes = request["id"], grounds.known.wishes
        boosts = tuple(each for each in wishes.boosts if each.id != ended)
        ceilings = tuple(each for each in wishes.ceilings if each.id != ended)
        if (boosts, ceilings) == (wishes.boosts, wishes.ceilings):
            raise WishRefused(
                f"no boost or ceiling with the id {ended} was started by a command",
                "resentry-agent boost --list and throttle --list show them; to end one of "
                "the source, remove it there",
            )
        return replace(wishes, boosts=boosts, ceilings=ceilings)


def remarked(
    outcome: Outcome, request: dict[str, Any], before: Known, rollout: Rollout
) -> Outcome:
    """Return the outcome with what an operator should know, if the request is done."""
    if outcome.exit_code != 0:
        return outcome
    remarks = _remarks(request, before, rollout)
    return replace(outcome, notes=(*outcome.notes, *remarks))


def _remarks(
    request: dict[str, Any], before: Known, rollout: Rollout
) -> tuple[str, ...]:
    if request["command"] == "end":
        wishes, id_ = before.wishes, request["id"]
        kinds = ("boost", wishes.boosts), ("ceiling", wishes.ceilings)
        return tuple(
            f"ended the {kind}: {shown(each)}"
            for kind, items in kinds
            for each in items
            if each.id == id_
        )
    return (*_lowering(request, before), *_idle(request, rollout))


def _lowering(request: dict[str, Any], before: Known) -> Iterator[str]:
    """Yield a ceiling for everything that is below a new boost."""
    if request["command"] != "boost" or before.current is None:
        return
    boost = read_boost(request)
    for each in running(before.current.ceilings, time.time()):
        is_wide = each.match is None and each.role in (None, boost.role)
        if is_wide and each.traces is not None and each.traces < boost.traces:
            yield f"a ceiling lowers the boost: {shown(each)}"


def _idle(request: dict[str, Any], rollout: Rollout) -> Iterator[str]:
    """Yield a note if no process here has the role. Without a process nobody knows."""
    role, targets = request.get("role"), [target for target, _ in rollout.targets]
    roles = {target.receipt.role for target in targets}
    is_known = targets and all(target.readable for target in targets)
    if role is not None and role not in roles and is_known:
        seen = ", ".join(sorted(roles))
        yield f"no process here has the role {role}; there are processes of: {seen}"


def _read(read: Callable[[dict[str, Any]], T], request: dict[str, Any]) -> T:
    try:
        return read(request)
    except ValueError as error:
        raise WishRefused(str(error)) from None


def _must_be_few(what: str, begun: tuple[Ending, ...], limit: int) -> None:
    number = len(running(begun, time.time()))
    if number >= limit // 2:  # the other half is for the source
        command = "boost" if what == "boosts" else "throttle"
        raise WishRefused(
            f"{number} {what} are running already, which is the limit",
            f"end one of them with resentry-agent {command} --end ID",
        )


def _names(snapshot: Snapshot) -> tuple[str, str]:
    """Return the revisions that name a snapshot: with its boosts, and without them."""
    return snapshot.revision, lasting_revision(snapshot)


def _nothing_earlier(
    revision: str | None, current: Snapshot, history: Sequence[Snapshot]
) -> WishRefused:
    """Return why no revision of the history can be gone back to."""
    hint = "resentry-agent history lists the revisions"
    if revision is None and any(
        values_of(snapshot) != values_of(current) for snapshot in history
    ):
        return WishRefused(
            "each of the last ten revisions has a value that the held rollback undoes",
            f"name a revision to publish it nevertheless; {hint}",
        )
    if revision is None:
        return WishRefused("none of the last ten revisions has other settings", hint)
    if not any(revision in _names(snapshot) for snapshot in history):
        return WishRefused(f"revision {revision} is not one of the last ten", hint)
    return WishRefused(
        f"revision {revision} has the same settings as the published revision "
        f"{current.revision}",
        hint,
    )
