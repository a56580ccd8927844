"""What a fleet asks of one Vault: a model in numbers that `make bench-fleet` has measured.

The model has four lines. `docs/scale.md` states them, and has the tables that are made here:

- requests for secrets in a second = pods * secrets / (0.9 * interval)
- renewals of tokens in a second = pods / (0.633 * lifetime of a token)
- Vault's CPU = requests in a second * CPU of one request
- a start of all pods = pods * requests of one start, and pods * CPU of one start

0.9 is the mean of what a poll waits (0.8 to 1 of the interval), 0.633 the mean of what a
renewal waits (0.6 to 2/3 of the lifetime). The CPU is that of the largest fleet which was
measured.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.settings import Settings
from bench import fleet
from bench.report import RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterable

POLL_SHARE = 0.9
RENEWAL_SHARE = 0.95 * 2 / 3
TOKEN_SECONDS = 3600.0
START_JITTER = f"{Settings().start_jitter_seconds:g}"

PODS = (1_000, 10_000, 100_000)
SECRETS = (1, 2)
INTERVALS = (30.0, Settings().poll_seconds, 300.0)
PODS_OF_AN_APPLICATION = 10


class Measured(NamedTuple):
    """What the model takes from a measurement of this many agents."""

    agents: int
    poll_cpu_ms: float
    start_cpu_ms: float
    start_requests: float
    polls_per_second: float
    """As measured, to compare with the model."""


class Way(NamedTuple):
    """A way by which a secret of Vault comes into pods, and what it asks."""

    name: str
    requests: int
    """For one secret in one interval."""
    share: float
    """Of the interval that is waited, on average."""
    is_per_pod: bool


AGENT = Way("the agent reads Vault", 1, POLL_SHARE, is_per_pod=True)
# Both operators as their source says: controllers/common.go of one, and of the other the
# client of its Vault provider, which logs in, reads, looks its token up and revokes it.
WAYS = (
    AGENT,
    Way("Vault Secrets Operator", 1, 0.85, is_per_pod=False),
    Way("External Secrets, without its token cache", 4, 1.0, is_per_pod=False),
)


def measured(found: dict[str, Any]) -> Measured:
    """Return what fleet.json says of its largest fleet."""
    size = max(found["steady"], key=int)
    steady, start = found["steady"][size], found["start"][size][START_JITTER]
    return Measured(
        int(size),
        steady["server_cpu_ms"],
        start["server_cpu_ms"],
        start["requests_per_agent"],
        steady["polls"] / found["measured"]["steady_seconds"],
    )


def reads(pods: float, secrets: int, interval: float, way: Way = AGENT) -> float:
    """Return the requests for secrets in a second."""
    holders = pods if way.is_per_pod else pods / PODS_OF_AN_APPLICATION
    return holders * secrets * way.requests / (way.share * interval)


def renewals(pods: float) -> float:
    """Return the renewals of tokens in a second."""
    return pods / (RENEWAL_SHARE * TOKEN_SECONDS)


def tables() -> list[str]:
    """Return the tables of docs/scale.md."""
    known = measured(json.loads((RESULTS / "fleet.json").read_bytes()))
    return [_check(known), _steady(known), _whole(known), _ways()]


def _check(known: Measured) -> str:
    expected = reads(known.agents, 1, fleet.POLL_SECONDS)
    head = ("", "model", "measured")
    row = (
        f"reads in a second of {known.agents} agents, interval {fleet.POLL_SECONDS:g} s",
        f"{expected:.0f}",
        f"{known.polls_per_second:.0f}",
    )
    return _table(head, [row])


def _steady(known: Measured) -> str:
    head = ("pods", "secrets each", *(f"every {each:g} s" for each in INTERVALS))
    return _table(
        head,
        (
            (
                f"{pods:,}",
                f"{secrets}",
                *(_load(known, pods, secrets, i) for i in INTERVALS),
            )
            for pods in PODS
            for secrets in SECRETS
        ),
    )


def _load(known: Measured, pods: int, secrets: int, interval: float) -> str:
    in_a_second = reads(pods, secrets, interval)
    return f"{rate(in_a_second)}/s, {rate(in_a_second * known.poll_cpu_ms / 1000)} CPUs"


def _whole(known: Measured) -> str:
    head = (
        "pods",
        "tokens",
        "renewals",
        "all start: requests",
        "all start: Vault's CPU",
    )
    return _table(
        head,
        (
            (
                f"{pods:,}",
                f"{pods:,}",
                f"{rate(renewals(pods))}/s",
                f"{pods * known.start_requests:,.0f}",
                f"{rate(pods * known.start_cpu_ms / 1000)} s",
            )
            for pods in PODS
        ),
    )


def _ways() -> str:
    interval = Settings().poll_seconds
    head = ("who asks Vault", *(f"{pods:,} pods" for pods in PODS))
    rows = [
        (way.name, *(f"{rate(reads(pods, 1, interval, way))}/s" for pods in PODS))
        for way in WAYS
    ]
    return _table(head, rows)


def rate(number: float) -> str:
    """Return two digits that count: the model is not more exact."""
    return f"{float(f'{number:.2g}'):,.10g}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(head)
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
