"""The servers and the fleet that a rotation reads and changes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from agent.domain.dsn_check import FAILING, PASSING
from agent.dsn_check.checker import CHECK_SECONDS
from agent.rotation.rules import Fleet, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.dsn_check.checker import Checker
    from agent.fleet.ask import Answer
    from agent.rotation.parts import KeyServer, Secret, Verdict


class Servers:
    """A `World` of real servers.

    Args:
        keys: the server that makes the keys.
        secret: the secret whose DSN is replaced.
        checker: asks the server of a DSN whether it accepts it.
        fleet: asks every pod.
        refusals: says whether a server refuses a DSN; `None` for GlitchTip, which is
            never asked: a wrong key makes it block the whole project.

    """

    def __init__(
        self,
        keys: KeyServer,
        secret: Secret,
        checker: Checker,
        fleet: Callable[[], Fleet],
        refusals: Refusals | None,
    ) -> None:
        self.keys = keys
        self.secret = secret
        self.fleet = fleet
        self._checker = checker
        self._refusals = refusals

    def verdict(self, dsn: str) -> Verdict:
        """Return what the server says to envelopes by this DSN, so far."""
        (report,) = self._checker.ask({dsn}, in_use=())
        if report.verdict in PASSING:
            return "accepted"
        return "rejected" if report.verdict in FAILING else "unknown"

    def is_refused(self, dsn: str) -> bool | None:
        """Return whether the server refuses a DSN now; `None` if it is not to be asked."""
        return None if self._refusals is None else self._refusals(dsn)


def is_denied(checker: Checker, dsn: str) -> bool:
    """Return whether the server's next answer refuses a DSN."""
    (report,) = checker.ask({dsn}, in_use=(), wait=CHECK_SECONDS)
    return report.verdict in (*FAILING, "rejected_once")


class Refusals:
    """Says whether a server refuses a DSN. The server is asked again and again.

    A check takes minutes, and each one begins with a single answer. So a DSN that was
    refused counts as refused until a later check has ended otherwise, or the server has
    accepted it once: servers cache, and one of several may still know the key.
    """

    def __init__(self, checker: Checker) -> None:
        self._checker = checker
        self._refused: set[str] = set()

    def __call__(self, dsn: str) -> bool:
        """Return whether the server has refused a DSN in a whole check, and since then."""
        (report,) = self._checker.ask({dsn}, in_use=())
        is_accepted = self._checker.last(dsn) == "good"
        if is_accepted or (report.settled and report.verdict not in FAILING):
            self._refused.discard(dsn)
        elif report.verdict in FAILING:
            self._refused.add(dsn)
        if report.settled:
            self._checker.again({dsn})
        return dsn in self._refused


def fleet_of(answers: Sequence[Answer], role: str, expected: int) -> Fleet:
    """Return the processes of all pods, as the rules of a rotation judge them."""
    processes: list[Process] = []
    troubles: list[str] = []
    seen: Counter[str] = Counter()
    silent = [answer.pod.name for answer in answers if answer.summary is None]
    for answer in answers:
        summary = answer.summary
        if summary is None:
            troubles.append(f"{answer.pod.name}: {answer.why}")
            continue
        if not summary.is_complete:
            silent.append(f"{answer.pod.name} (not all of its processes)")
        elif not summary.processes:
            silent.append(f"{answer.pod.name} (no process has given a receipt)")
        if summary.is_failing:
            troubles.append(f"{answer.pod.name} cannot read its source")
        for each in summary.processes:
            name = f"{answer.pod.name} {each.role} pid {each.pid}"
            seen[name] += 1  # two containers of a pod each have a pid 1
            name += f" ({seen[name]})" if seen[name] > 1 else ""
            if each.state in {"refused", "overdue"}:
                troubles.append(f"{name} is {each.state}")
            is_off = not each.runs and each.proves
            has_own = each.role in summary.dsns
            processes.append(
                Process(
                    name,
                    each.runs,
                    frozenset(each.holds),
                    each.proves,
                    follows=not is_off and (each.role == role if role else not has_own),
                    refused=each.refused,
                )
            )
    lacking = expected - len(answers)
    if lacking > 0:
        silent.append(f"{lacking} of {expected} expected pods")
    return Fleet(tuple(processes), tuple(silent), tuple(troubles))
