"""The rollout: which targets run the current snapshot, and what state that makes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from agent.domain.own_options import own_options
from agent.domain.value import Value, replace
from resentry.contract import SETTING, TUNING, Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.domain.last import LastProcess
    from resentry.contract import Snapshot

UNKNOWN_ROLE = "unknown"
"""The role of a process whose receipt cannot be read."""

AGENT_ROLE = "agent"
"""The role of the agent's own events. The agent gives no receipt for itself."""

DONE = ("confirmed", "drained")
"""The states in which every target runs the current snapshot."""
SETTLED = frozenset({"drained", "refused"})
"""The states that time alone does not change, only a receipt."""

OVERDUE_HINT = "read the log of the process; restart the process if it stays overdue"
FOREIGN_HINT = "remove sentry_sdk.init; call resentry.init(role=...) in its place"
REFUSED_HINT = (
    "correct the values at the source, or the environment variables of the process"
)
ENDED_HINT = "see why it ended: its log, or kubectl logs POD -c CONTAINER --previous"
MISSING_HINT = (
    "start more processes of the role that is missing, or lower RESENTRY_MIN_TARGETS"
)

State = Literal["drained", "confirmed", "waiting", "overdue", "refused"]


class LiveTarget(Value, frozen=True):
    """One live application process, known by its lock and its receipt.

    `uid` is the owner of the receipt file. `main` marks a process from which other
    targets were forked: Celery's main process, a preloading gunicorn master. If the
    receipt is not `readable`, `receipt` is a stand-in whose `error` says why. A namesake
    has the role and pid of another target: two containers each have a pid 1.
    """

    receipt: Receipt
    uid: int
    main: bool = False
    readable: bool = True
    is_namesake: bool = False

    @classmethod
    def unreadable(cls, target: str, pid: int, problem: str) -> LiveTarget:
        """Return a process that holds its lock but has no readable receipt."""
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
        """The role and pid, for people; the id if the pid is unknown or not enough."""
        receipt = self.receipt
        if not receipt.pid:
            return f"{receipt.role} target {receipt.id}"
        more = f" of target {receipt.id}" if self.is_namesake else ""
        return f"{receipt.role} pid {receipt.pid}{more}"

    @property
    def notes(self) -> list[str]:
        """Remarks for people, in addition to the state and the error."""
        notes = [
            f"{holder.kind} still sends by the older DSN {holder.dsn}"
            for holder in self.receipt.holders
        ]
        if self.receipt.watch.endswith("greenlet") and self.receipt.sequence:
            notes.append("follows only while its greenlets run")
        notes += own_options(self.receipt)
        if self.receipt.ignored:
            names = ", ".join(self.receipt.ignored)
            notes.append(f"ignores {names}: its version of the library is too old")
        return notes

    @property
    def is_drained(self) -> bool:
        """Whether no holder of an older DSN is left in the process."""
        return self.receipt.phase == "drained" and not self.receipt.holders

    def runs(self, snapshot: Snapshot) -> bool:
        """Return true if the receipt proves that the target runs this snapshot."""
        receipt = self.receipt
        same = (receipt.revision, receipt.sequence) == (
            snapshot.revision,
            snapshot.sequence,
        )
        return same and receipt.error is None


class Rollout(Value, frozen=True):
    """How far the current snapshot has got: over all targets, and for each."""

    state: State
    targets: tuple[tuple[LiveTarget, State], ...]
    missing: Mapping[str, int] = {}
    """How many more workers of a role must give a receipt, by role."""
    unknown: str = ""
    """Why there may be targets that are not listed; else empty."""
    obstacle: str = ""
    """What keeps processes from confirming; else empty."""
    advice: str = ""
    """What to do about the obstacle."""
    idle_roles: tuple[str, ...] = ()
    """Roles that the snapshot names and that no process here has."""
    ended: Sequence[LastProcess] = ()
    """The last process of each role that has none left."""
    ends: Mapping[str, int] = {}
    """How many processes ended soon after their start, by role, as the agent saw them."""

    @property
    def counts(self) -> Counter[State]:
        """How many targets are in each state."""
        return Counter(state for _, state in self.targets)

    @property
    def is_unfinished(self) -> bool:
        """Whether time alone may change the state: a deadline passes, a process ends."""
        if self.unknown:
            return True
        return bool(self.targets) and not {self.state, *self.counts} <= SETTLED

    @property
    def late(self) -> list[LiveTarget]:
        """The targets that do not run the current snapshot yet."""
        return [t for t, state in self.targets if state in ("waiting", "overdue")]

    @property
    def sentence(self) -> str:
        """One line for people."""
        total = len(self.targets)
        if not total and self.ended and not self.unknown:
            left = "; ".join(each.sentence for each in self.ended)
            return f"no process is left: {left}"
        if not total:
            nobody = self.unknown or "no process has given a receipt yet"
            return "; ".join(filter(None, (nobody, self.obstacle)))
        counted = self._counted()
        lacking = "".join(f", {n} {role} missing" for role, n in self.missing.items())
        more = "".join(f"; {text}" for text in (self.unknown, self.obstacle) if text)
        return f"{total} target{'s' * (total != 1)}: {counted}{lacking}{more}"

    @property
    def notes(self) -> list[str]:
        """One line for each target that is overdue, has refused, or has a remark."""
        return [
            f"{target.name}: {'; '.join(remarks)}"
            for target, state in self.targets
            if (remarks := _remarks(target, state))
        ]

    @property
    def hint(self) -> str:
        """What an operator can do next; empty if there is nothing to do."""
        if self.ended and not self.targets and not self.unknown:
            return ENDED_HINT
        states = self.counts
        overdue = [target for target, state in self.targets if state == "overdue"]
        hints = (
            REFUSED_HINT if states["refused"] else "",
            FOREIGN_HINT if any(target.receipt.foreign for target in overdue) else "",
            OVERDUE_HINT if any(not t.receipt.foreign for t in overdue) else "",
            MISSING_HINT if self.missing and self.state == "overdue" else "",
            self.advice,
        )
        return ". ".join(filter(None, hints))

    def _counted(self) -> str:
        """Return how many targets are in each state. A drained target is confirmed, too."""
        counts = self.counts
        parts = {state: f"{n} {state}" for state, n in sorted(counts.items())}
        if counts["confirmed"] and counts["drained"]:
            parts["confirmed"] = f"{counts['confirmed'] + counts['drained']} confirmed"
            parts["drained"] = f"{counts['drained']} of these drained"
        return ", ".join(parts.values())


def _remarks(target: LiveTarget, state: State) -> list[str]:
    """Return what an operator should know of a target, in addition to its state."""
    receipt = target.receipt
    if not target.readable:
        return [str(receipt.error)]
    if state not in ("overdue", "refused"):
        return target.notes
    runs = f"revision {receipt.revision}, sequence {receipt.sequence}"
    remark = f"{state}, runs {runs if receipt.revision else 'no snapshot'}"
    return [*filter(None, (remark, receipt.error)), *target.notes]


def assess(
    targets: Sequence[LiveTarget],
    snapshot: Snapshot | None,
    *,
    late: bool,
    minimum: Mapping[str, int] | None = None,
    unknown: str = "",
) -> Rollout:
    """Judge every target, and the rollout. `late` says that the deadline is over.

    The state is "waiting" without targets or without a snapshot: silence is no proof.
    It is also "waiting" while a role has fewer workers than its `minimum`, or while
    `unknown` says that there may be more targets than these.
    """
    names = Counter(target.name for target in targets)
    targets = [
        replace(target, is_namesake=True) if names[target.name] > 1 else target
        for target in targets
    ]
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
            idle = () if unknown else _idle_roles(targets, snapshot)
            return Rollout(state, judged, missing, unknown, idle_roles=idle)
    return Rollout("waiting", judged)


def _idle_roles(
    targets: Sequence[LiveTarget], snapshot: Snapshot | None
) -> tuple[str, ...]:
    """Return the roles that the snapshot names and that no process has."""
    if snapshot is None or not all(target.readable for target in targets):
        return ()
    idle = named_roles(snapshot).keys() - {target.receipt.role for target in targets}
    return tuple(sorted(idle - {AGENT_ROLE}))


def named_roles(snapshot: Snapshot) -> dict[str, list[str]]:
    """Return each role that the snapshot names, with the settings that name it."""
    found = {role: ["RESENTRY_ROLES"] for role in snapshot.roles}
    for name in TUNING:
        for role in {item.role for item in getattr(snapshot, name)} - {None}:
            found.setdefault(role, []).append(SETTING.format(name.upper()))
    return found


def _state(target: LiveTarget, snapshot: Snapshot | None, *, late: bool) -> State:
    if snapshot is None:
        return "waiting"
    if target.runs(snapshot):
        return "drained" if target.is_drained else "confirmed"
    if target.receipt.refused == (snapshot.revision, snapshot.sequence):
        return "refused"
    # A target may run the next snapshot before the agent has finished publishing it.
    is_ahead = target.receipt.sequence == snapshot.sequence + 1
    return "overdue" if late and not is_ahead else "waiting"
