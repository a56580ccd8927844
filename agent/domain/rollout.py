"""Which targets run the current snapshot, and what that makes of the whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from resentry.contract import Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resentry.contract import Snapshot

UNKNOWN_ROLE = "unknown"
"""The role of a process whose receipt cannot be read."""

DONE = ("confirmed", "drained")
"""States in which every target runs the current snapshot."""
SETTLED = frozenset({"drained", "refused"})
"""States that only a receipt can change."""

State = Literal["drained", "confirmed", "waiting", "overdue", "refused"]


@dataclass(frozen=True, slots=True)
class LiveTarget:
    """One live application process, as its receipt and its lock tell.

    `uid` owns the receipt. `main` marks a process that other targets were forked
    from: Celery's main process, a preloading gunicorn master. Where the receipt is not
    `readable`, the one here stands in for it: its `error` says what is wrong.
    """

    receipt: Receipt
    uid: int
    main: bool = False
    readable: bool = True

    @classmethod
    def unreadable(cls, target: str, pid: int, problem: str) -> LiveTarget:
        """A process that holds its lock, and gives no receipt that can be read."""
        stand_in = Receipt(
            id=target,
            role=UNKNOWN_ROLE,
            pid=pid,
            pidns=0,
            start_time=0,
            phase="running",
            error=problem,
        )
        return cls(stand_in, uid=-1, readable=False)

    @property
    def name(self) -> str:
        """The process for people; by its id where the kernel does not say its pid."""
        receipt = self.receipt
        known = f"pid {receipt.pid}" if receipt.pid else f"target {receipt.id}"
        return f"{receipt.role} {known}"

    @property
    def notes(self) -> list[str]:
        """What people must know of it, beside its state and its error."""
        found = [
            f"{holder.kind} still sends by the older DSN {holder.dsn}"
            for holder in self.receipt.holders
        ]
        if self.receipt.watch.endswith("greenlet") and self.receipt.sequence:
            found.append("follows only while its greenlets run")
        if self.receipt.ignored:
            names = ", ".join(self.receipt.ignored)
            found.append(f"ignores {names}: its library does not know it")
        return found

    @property
    def is_drained(self) -> bool:
        """Whether nothing in the process sends by an older DSN any more."""
        return self.receipt.phase == "drained" and not self.receipt.holders

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
    targets: tuple[tuple[LiveTarget, State], ...]
    missing: Mapping[str, int] = field(default_factory=dict)
    """How many workers of a role have not given a receipt at all."""
    unknown: str = ""
    """Why there may be targets that are not seen."""

    @property
    def counts(self) -> Counter[State]:
        """How many targets are in each state."""
        return Counter(state for _, state in self.targets)

    @property
    def is_unfinished(self) -> bool:
        """Whether time alone may change it: a deadline, a death."""
        if self.unknown:
            return True
        return bool(self.targets) and not {self.state, *self.counts} <= SETTLED

    @property
    def late(self) -> list[LiveTarget]:
        """The targets that still have to take the current snapshot up."""
        return [t for t, state in self.targets if state in ("waiting", "overdue")]

    @property
    def sentence(self) -> str:
        """One line for people."""
        total = len(self.targets)
        if not total:
            return self.unknown or "no target has given a receipt yet"
        counted = ", ".join(f"{n} {state}" for state, n in sorted(self.counts.items()))
        lacking = "".join(f", {n} {role} missing" for role, n in self.missing.items())
        unknown = f"; {self.unknown}" if self.unknown else ""
        return f"{total} target{'s' * (total != 1)}: {counted}{lacking}{unknown}"

    @property
    def notes(self) -> list[str]:
        """Which targets give no readable receipt, or hold an older DSN."""
        return [
            f"{target.name}: {'; '.join(told)}"
            for target, _ in self.targets
            if (
                told := target.notes if target.readable else [str(target.receipt.error)]
            )
        ]


def assess(
    targets: Sequence[LiveTarget],
    snapshot: Snapshot | None,
    *,
    late: bool,
    minimum: Mapping[str, int] | None = None,
    unknown: str = "",
) -> Rollout:
    """Judge every target; `late` says that the deadline is over.

    Without targets, or without a snapshot, the state is waiting: silence is no proof.
    So it is with fewer workers of a role than `minimum` asks for, and where `unknown`
    says that there may be more targets than these.
    """
    judged = tuple((target, _state(target, snapshot, late=late)) for target in targets)
    states = {state for _, state in judged}
    workers = Counter(target.receipt.role for target in targets if not target.main)
    missing = {
        role: number - workers[role]
        for role, number in (minimum or {}).items()
        if workers[role] < number
    }
    if missing or unknown:
        states.add("overdue" if late else "waiting")
    order: tuple[State, ...] = ("refused", "overdue", "waiting", "confirmed", "drained")
    for state in order:
        if state in states:
            return Rollout(state, judged, missing, unknown)
    return Rollout("waiting", judged)


def _state(target: LiveTarget, snapshot: Snapshot | None, *, late: bool) -> State:
    if snapshot is None:
        return "waiting"
    if target.runs(snapshot):
        return "drained" if target.is_drained else "confirmed"
    if target.receipt.refused == (snapshot.revision, snapshot.sequence):
        return "refused"
    # It may have taken up the next snapshot before the agent is done publishing it.
    is_ahead = target.receipt.sequence == snapshot.sequence + 1
    return "overdue" if late and not is_ahead else "waiting"
