"""Rules on the application's processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.doctor.processes import in_kubernetes, stopped_pid
from agent.doctor.rule import Sight, SkippedError, UnknownError, rule
from agent.domain.rollout import ENDED_HINT, named_roles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.doctor.facts import Facts
    from agent.domain.rollout import LiveTarget, State


_LOG = "see why in its log; restart the process if it stays so"


def targets(facts: Facts) -> list[LiveTarget]:
    """Return the live processes with a readable receipt. Without one the rule is skipped.

    The rule is unknown if no receipt was read, and there may be some.
    """
    readable = [target for target, _ in facts.rollout.targets if target.readable]
    if not readable and facts.rollout.unknown:
        raise UnknownError(facts.rollout.unknown)
    if not readable:
        raise SkippedError("no process has given a readable receipt")
    return readable


def _in_state(facts: Facts, state: State) -> Iterator[LiveTarget]:
    targets(facts)
    for target, has in facts.rollout.targets:
        if has == state and target.readable:
            yield target


@rule(
    "RSN601",
    "no-receipt",
    "error",
    "targets",
    "No live process has given a receipt",
    fix="in each application's container: mount the volume, set RESENTRY_DIR, give its user "
    "the group of the volume, and call resentry.init",
    causes=("RSN501", "RSN504"),
)
def no_receipt(facts: Facts) -> Iterator[Sight]:
    """Look for receipts of live processes.

    Nobody follows: the library is not called, RESENTRY_DIR names another directory, the
    receipts' directory is not mounted or is read-only, or the process is in no group that
    may write there. Applications may run without Sentry, and without an error.
    """
    if facts.rollout.unknown:
        raise UnknownError(facts.rollout.unknown)
    published_at = facts.published.published_at
    ended = facts.status.ended
    if not facts.rollout.targets and ended:
        detail = f"no process is left: {'; '.join(each.sentence for each in ended)}"
        since = max(each.ended_at or "" for each in ended)
        yield Sight(facts.settings.receipts_dir, detail, since=since, fix=ENDED_HINT)
    elif not facts.rollout.targets:
        yield Sight(
            facts.settings.receipts_dir,
            "the directory holds no receipt of a live process",
            since=published_at,
        )


@rule(
    "RSN602",
    "overdue",
    "error",
    "targets",
    "A process does not take up what is published",
    fix="see why in its log: `kubectl logs POD -c CONTAINER`; restart the process if it "
    "stays so",
    causes=("RSN503", "RSN605", "RSN609"),
)
def overdue(facts: Facts) -> Iterator[Sight]:
    """Compare each receipt with what is published, after `RESENTRY_CONFIRM_SECONDS`.

    The process runs an older snapshot: it is stopped, its interpreter is blocked, or its
    directory is mounted by subPath. Restart it if it stays so.
    """
    for target in _in_state(facts, "overdue"):
        receipt, sequence = target.receipt, facts.published.sequence
        runs = f"sequence {receipt.sequence}" if receipt.revision else "no snapshot"
        detail = receipt.error or f"it runs {runs}; sequence {sequence} is published"
        since = facts.published.published_at
        fix = "" if in_kubernetes(facts) else _LOG
        if pid := stopped_pid(receipt):
            detail, fix = f"it is stopped; {detail}", f"kill -CONT {pid}"
        yield Sight(target.name, detail, since=since, fix=fix)


@rule(
    "RSN603",
    "snapshot-refused",
    "error",
    "targets",
    "A process refuses what is published: Failed to initialize Sentry",
    fix="correct the value at the source, or the process's environment variable; then: `resentry-agent wait`",
    causes=("RSN304",),
)
def refuses(facts: Facts) -> Iterator[Sight]:
    """Look for a process whose receipt names what is published as refused.

    It logs "Failed to initialize Sentry", or that it refused a revision, with the reason
    that stands here. It keeps what it ran before.
    """
    for target in _in_state(facts, "refused"):
        yield Sight(target.name, target.receipt.error or "", since=target.receipt.since)


@rule(
    "RSN604",
    "receipt-unreadable",
    "error",
    "targets",
    "A live process has no receipt that can be read",
    fix="use an agent and a library of the same or of neighbouring versions",
)
def unreadable(facts: Facts) -> Iterator[Sight]:
    """Look for a lock that is held beside a receipt that is missing or malformed.

    Nobody knows what that process runs, so nothing is confirmed.
    """
    if not facts.rollout.targets and facts.rollout.unknown:
        raise UnknownError(facts.rollout.unknown)
    if not facts.rollout.targets:
        raise SkippedError("no process holds a lock in the receipts' directory")
    for target, _ in facts.rollout.targets:
        if not target.readable:
            yield Sight(target.name, target.receipt.error or "")


@rule(
    "RSN605",
    "volume-unreadable",
    "error",
    "targets",
    "A process cannot read the volume",
    fix="give both containers one group (fsGroup in Kubernetes)",
    causes=("RSN504",),
)
def cannot_read(facts: Facts) -> Iterator[Sight]:
    """Look for receipts that say so. Such a process runs by its own environment variables.

    A process that can write no receipt either cannot be seen here: see RSN601 and RSN606.
    """
    for target in targets(facts):
        if "can't read" in (target.receipt.error or ""):
            yield Sight(target.name, target.receipt.error or "")


@rule(
    "RSN606",
    "role-lacks-processes",
    "error",
    "targets",
    "A role has fewer processes than it should have",
    fix="start the missing processes, or correct RESENTRY_MIN_TARGETS; `resentry-agent status` lists the processes",
    causes=("RSN601",),
)
def too_few(facts: Facts) -> Iterator[Sight]:
    """Compare the receipts with `RESENTRY_MIN_TARGETS`."""
    if not facts.own.min_targets:
        raise SkippedError("RESENTRY_MIN_TARGETS is not set")
    if facts.rollout.missing and facts.rollout.unknown:
        raise UnknownError(facts.rollout.unknown)
    for role, lacking in facts.rollout.missing.items():
        wanted = facts.settings.min_targets.get(role, lacking)
        yield Sight(role, f"{wanted - lacking} of {wanted} processes have a receipt")


@rule(
    "RSN607",
    "role-unknown",
    "warning",
    "targets",
    "The snapshot names a role that no process has",
    fix="correct the role in the setting that names it, or in resentry.init(role=...)",
    causes=("RSN601",),
)
def nobody_has_it(facts: Facts) -> Iterator[Sight]:
    """Compare the roles of what is published with the roles of the processes.

    A rule, a boost, a ceiling, an error rule or a budget may name it, as RESENTRY_ROLES
    does. The role is mistyped on one side, or its processes do not run now.
    """
    snapshot, live = facts.published, {target.receipt.role for target in targets(facts)}
    named = named_roles(snapshot)
    if named.keys() - live and facts.rollout.unknown:
        raise UnknownError(facts.rollout.unknown)
    for role in sorted(named.keys() - live):
        by, has = ", ".join(named[role]), ", ".join(sorted(live))
        yield Sight(role, f"named by {by}; processes have: {has}")


@rule(
    "RSN608",
    "older-dsn-held",
    "warning",
    "targets",
    "Something in a process still sends by an older DSN",
    fix="keep the key of that DSN until the process has ended, or restart the process",
)
def holds(facts: Facts) -> Iterator[Sight]:
    """Look for holders in the receipts: clients and exporters that cannot follow.

    The old key must not be revoked yet: what they send would be lost.
    """
    for target in targets(facts):
        for holder in target.receipt.holders:
            yield Sight(target.name, f"{holder.kind} sends by the DSN {holder.dsn}")


@rule(
    "RSN609",
    "own-init",
    "error",
    "targets",
    "The application called sentry_sdk.init itself",
    fix="remove sentry_sdk.init; call resentry.init(role=...) in its place",
)
def own_init(facts: Facts) -> Iterator[Sight]:
    """Look for a process whose current client is the application's own.

    No snapshot runs there, and its DSN is whatever the application gave.
    """
    for target in targets(facts):
        if target.receipt.foreign:
            yield Sight(target.name, "its client is not resentry's")


@rule(
    "RSN610",
    "init-problem",
    "warning",
    "targets",
    "Something that the application gave to resentry.init is not used",
    fix="correct the call of resentry.init; docs/library.md lists its options",
)
def init_problem(facts: Facts) -> Iterator[Sight]:
    """Look for options of `init` that are wrong, or that the snapshot decides.

    With `send_default_pii` or a rate, the value in the code is not the one that runs.
    """
    seen: dict[tuple[str, str], list[str]] = {}
    for target in targets(facts):
        for problem in target.receipt.problems:
            seen.setdefault((target.receipt.role, problem), []).append(target.name)
    for (role, problem), names in seen.items():
        yield Sight(f"role {role}", problem, evidence=tuple(names[:10]))


@rule(
    "RSN611",
    "follows-late",
    "info",
    "targets",
    "A process notices a change late",
    fix="raise fs.inotify.max_user_instances on the node",
    causes=("RSN605",),
)
def slowly(facts: Facts) -> Iterator[Sight]:
    """Look how each process watches the volume.

    Without inotify it looks once a second. With greenlets it looks while they run: a
    master that only waits for its workers does not.
    """
    for target in targets(facts):
        if target.receipt.watch != "inotify":
            yield Sight(target.name, f"it watches by {target.receipt.watch}")


@rule(
    "RSN612",
    "library-faults",
    "warning",
    "targets",
    "The library has caught errors of its own",
    fix="report the traceback in the process's log, which names resentry",
)
def faults(facts: Facts) -> Iterator[Sight]:
    """Look at the count of exceptions in the library that the application did not notice.

    They are bugs in resentry, or something odd in the process. The application went on.
    """
    for target in targets(facts):
        if target.receipt.tally.get("faults"):
            yield Sight(target.name, f"{target.receipt.tally['faults']} errors")
