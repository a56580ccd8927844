"""Rules on the servers that the DSNs name, and on what is lost on the way."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from agent.doctor.about_targets import targets
from agent.doctor.rule import Sight, SkippedError, UnknownError, rule
from agent.domain.dsn_check import FAILING, dsns_of
from agent.observe.arrival import doubtful
from resentry.contract import fingerprint
from resentry.values import show_dsn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized

    from agent.doctor.facts import Facts
    from agent.domain.rollout import LiveTarget
    from resentry.answers import Answer

_QUIET_SECONDS = 3600.0


def _current(facts: Facts, *kinds: str) -> Iterator[tuple[LiveTarget, Answer]]:
    """Yield the newest answer to each process, for the DSN by which it sends now."""
    for target in targets(facts):
        for answer in target.receipt.answers:
            if answer.dsn == target.receipt.dsn and answer.kind in kinds:
                yield target, answer


def counted(items: Sized) -> str:
    """Return how many processes these are."""
    return f"{len(items)} process{'es' * (len(items) != 1)}"


def _shown(facts: Facts, dsn: str) -> str:
    """Return the published DSN of this fingerprint as it may be shown."""
    snapshot = facts.current
    published = dsns_of(snapshot) if snapshot else ()
    named = [show_dsn(each) for each in published if fingerprint(each) == dsn]
    return f"DSN {named[0] if named else dsn}"


def _tried(facts: Facts, dsn: str, kinds: tuple[str, ...]) -> list[str]:
    return [facts.tried[dsn]] if "unreached" in kinds and dsn in facts.tried else []


def _try(facts: Facts, dsn: str) -> str:
    """Return what to type to reach the server of the published DSN of this fingerprint."""
    for each in dsns_of(facts.current) if facts.current else ():
        if fingerprint(each) == dsn:
            scheme, _, place = each.partition("://")
            host = place.rpartition("@")[2].partition("/")[0]
            return f"in the application's container: curl -sSI {scheme}://{host}/"
    return ""


def _sights(facts: Facts, *kinds: str) -> Iterator[Sight]:
    by_dsn = defaultdict(list)
    for target, answer in _current(facts, *kinds):
        by_dsn[answer.dsn].append((target, answer))
    for dsn, pairs in by_dsn.items():
        answers = [answer for _, answer in pairs]
        statuses = sorted({answer.status for answer in answers if answer.status})
        said = (
            f"status {', '.join(map(str, statuses))}" if statuses else "gave no answer"
        )
        last = max(answer.accepted_at for answer in answers)
        accepted = f"accepted last: {last}" if last else "nothing was ever accepted"
        yield Sight(
            _shown(facts, dsn),
            f"{said} to {counted(pairs)}; {accepted}",
            evidence=(*_tried(facts, dsn, kinds), *(t.name for t, _ in pairs[:10])),
            since=min(answer.since for answer in answers),
            fix=_try(facts, dsn) if {"failed", "unreached"} & {*kinds} else "",
        )


@rule(
    "RSN701",
    "dsn-rejected",
    "error",
    "sentry",
    "Sentry refuses the DSN in use",
    fix="enable the key in Sentry (project settings, client keys), or write another DSN to the source, then: `resentry-agent refresh`",
)
def refused(facts: Facts) -> Iterator[Sight]:
    """Look at what each process's transport was answered: 401, 403 or 404.

    The key is disabled, the project is gone, or the DSN was never right. Processes keep
    the newest events for the next DSN, within bounds. The others are lost.

    Wake who owns the project in Sentry.
    """
    for check in facts.status.dsn_checks:
        if check.verdict in FAILING:
            yield Sight(check.dsn, check.sentence, since=check.since or "")
    yield from _sights(facts, "refused")


@rule(
    "RSN702",
    "rate-limited",
    "warning",
    "sentry",
    "Sentry limits the rate of the DSN in use",
    fix="lower the rates at the source, or raise the quota in Sentry",
)
def limited(facts: Facts) -> Iterator[Sight]:
    """Look for the status 429. Events are dropped until the limit ends, as the SDK does."""
    yield from _sights(facts, "limited")


@rule(
    "RSN703",
    "sentry-unreached",
    "error",
    "sentry",
    "A process cannot reach Sentry",
    fix="in the application's container: `curl -sSI URL`",
)
def unreached(facts: Facts) -> Iterator[Sight]:
    """Look for processes whose requests had no answer: DNS, TLS, proxy, firewall.

    Without --offline the agent's container asks the same server, by the published DSN, and
    says what it met. If that works, look at the application's container: its proxy, its
    network policy, its certificates.

    Their events are lost, as they are with the SDK alone. If the DSN check of a published DSN
    has no verdict, nobody knows whether the server can be reached.

    Wake who runs the network, or Sentry.
    """
    unknown = [c for c in doubtful(facts.status) if c.verdict == "unknown"]
    try:
        yield from _sights(facts, "unreached")
    except SkippedError:
        if not unknown:
            raise
    if unknown:
        raise UnknownError(unknown[0].sentence)


@rule(
    "RSN704",
    "sentry-fails",
    "warning",
    "sentry",
    "Sentry answers with an error",
    fix="look at the state of the Sentry server: `curl -sSI URL`",
)
def failing(facts: Facts) -> Iterator[Sight]:
    """Look for any other status, mostly 5xx: the server is in trouble. Events are lost."""
    yield from _sights(facts, "failed")


@rule(
    "RSN705",
    "events-lost",
    "warning",
    "sentry",
    "Events were lost",
    fix="see the findings beside this one; counts start again with each process",
    causes=("RSN701", "RSN702", "RSN703", "RSN704"),
)
def lost(facts: Facts) -> Iterator[Sight]:
    """Look at each process's count of envelopes that no DSN could have."""
    for target in targets(facts):
        if dropped := target.receipt.tally.get("dropped"):
            yield Sight(target.name, f"{dropped} envelopes were dropped")


@rule(
    "RSN706",
    "events-parked",
    "info",
    "sentry",
    "Events wait for the next DSN",
    fix="write a DSN that works to the source, then: `resentry-agent refresh`",
    causes=("RSN701",),
)
def parked(facts: Facts) -> Iterator[Sight]:
    """Look for envelopes that a DSN has refused: kept for the next one, for 15 minutes."""
    for target in targets(facts):
        tally = target.receipt.tally
        if tally.get("parked", 0) > tally.get("rerouted", 0) + tally.get("dropped", 0):
            yield Sight(target.name, f"{tally['parked']} envelopes were parked")


@rule(
    "RSN707",
    "quiet",
    "info",
    "sentry",
    "No process has sent anything for a long time",
    fix="raise an error in an application, and look for it in Sentry",
    causes=("RSN701", "RSN702", "RSN703", "RSN704", "RSN801", "RSN802"),
)
def quiet(facts: Facts) -> Iterator[Sight]:
    """Look when Sentry has accepted an envelope last, from any process.

    A service without errors and without traces is quiet, too. Where the snapshot has rules,
    the processes count their traces: then the finding says whether there was traffic.
    """
    answers = [each for target in targets(facts) for each in target.receipt.answers]
    if not answers:
        raise SkippedError("no process has sent anything yet")
    last = max(answer.accepted_at for answer in answers)
    age = facts.seconds_since(last)
    if age is not None and age > _QUIET_SECONDS:
        decided = sum(t.receipt.decided or 0 for t in targets(facts))
        beside = f"; more than {decided} traces were decided" if decided else ""
        detail = f"accepted last {age / 3600:.0f} h ago{beside}"
        yield Sight("every process", detail, since=last)
