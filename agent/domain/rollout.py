"""Which targets run the current snapshot, and what that makes of the whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resentry.contract import Receipt, Snapshot

State = Literal["drained", "confirmed", "waiting", "overdue", "refused"]


@dataclass(frozen=True, slots=True)
class Target:
    """One live application process, as its receipt and its lock tell.

    `uid` owns the receipt. `main` marks a process that other targets were forked
    from: Celery's main process, a preloading gunicorn master.
    """

    receipt: Receipt
    uid: int
    main: bool = False

    def runs(self, snapshot: Snapshot) -> bool:
        """Whether the target proves that it runs exactly this snapshot."""
        receipt = self.receipt
        same = (receipt.revision, receipt.sequence) == (
            snapshot.revision,
            snapshot.sequence,
        )
        return same and receipt.error is None


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far the current snapshot has got."""

    state: State
    targets: tuple[tuple[Target, State], ...]
    missing: Mapping[str, int] = field(default_factory=dict)
    """How many workers of a role have not given a receipt at all."""

    @property
    def counts(self) -> Counter[State]:
        """How many targets are in each state."""
        return Counter(state for _, state in self.targets)

    @property
    def sentence(self) -> str:
        """One line for people."""
        total = len(self.targets)
        if not total:
            return "no target has given a receipt yet"
        counted = ", ".join(f"{n} {state}" for state, n in sorted(self.counts.items()))
        lacking = "".join(f", {n} {role} missing" for role, n in self.missing.items())
        return f"{total} target{'s' * (total != 1)}: {counted}{lacking}"


def assess(
    targets: Sequence[Target],
    snapshot: Snapshot | None,
    *,
    late: bool,
    minimum: Mapping[str, int] | None = None,
) -> Rollout:
    """Judge every target; `late` says that the deadline is over.

    Without targets, or without a snapshot, the state is waiting: silence is no proof.
    So it is with fewer workers of a role than `minimum` asks for.
    """
    judged = tuple((target, _state(target, snapshot, late=late)) for target in targets)
    states = {state for _, state in judged}
    workers = Counter(target.receipt.role for target in targets if not target.main)
    missing = {
        role: number - workers[role]
        for role, number in (minimum or {}).items()
        if workers[role] < number
    }
    if missing:
        states.add("overdue" if late else "waiting")
    order: tuple[State, ...] = ("refused", "overdue", "waiting", "confirmed", "drained")
    for state in order:
        if state in states:
            return Rollout(state, judged, missing)
    return Rollout("waiting", judged)


def _state(target: Target, snapshot: Snapshot | None, *, late: bool) -> State:
    if snapshot is None:
        return "waiting"
    if target.runs(snapshot):
        return "drained" if target.receipt.phase == "drained" else "confirmed"
    if target.receipt.refused == (snapshot.revision, snapshot.sequence):
        return "refused"
    # It may have taken up the next snapshot before the agent is done publishing it.
    is_ahead = target.receipt.sequence == snapshot.sequence + 1
    return "overdue" if late and not is_ahead else "waiting"
