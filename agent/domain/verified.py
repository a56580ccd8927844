"""The verification: what became of each process's test items, and what that means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from agent.domain.value import Value, replace
from resentry.verification import Sent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.domain.rollout import LiveTarget

Verdict = Literal["passed", "off", "failed", "unknown", "waiting"]
"""`off`: nothing was to be sent. `waiting`: the time is not over yet."""
Stored = Literal["yes", "no", "unknown", "never", "not asked"]
"""Whether the server has the item. `never`: this server keeps no items of the kind."""

SECONDS_LIMIT = 300.0
"""A request to the processes stands at most this long."""
BUGSINK = "bugsink"
KEPT_BY_BUGSINK = ("error", "message")
DOCTOR = "resentry-agent doctor --area sentry names the cause"

_PROCESS: Mapping[str, tuple[Verdict, str, str]] = {
    "foreign": (
        "failed",
        "the application called sentry_sdk.init itself, and its client runs",
        "call resentry.init instead",
    ),
    "forbidden": (
        "unknown",
        "RESENTRY_VERIFY=off in the environment of the process forbids test items",
        "remove the variable and restart the process, or name other roles with --role",
    ),
    "unable": (
        "unknown",
        "its resentry library is too old to send test items",
        "update the package resentry in the application",
    ),
}
"""What it means that a process sends no items, by the state in its receipt."""

_NOT_SENT: Mapping[str, tuple[str, str]] = {
    "busy": (
        "not sent: the process's own events wait in its queue",
        f"run resentry-agent verify again; {DOCTOR}",
    ),
    "swapped": (
        "the process took other settings meanwhile, so nothing is known of the item",
        "run resentry-agent verify again",
    ),
}
"""What it means that a process did not send an item, by the item's state."""


class Item(Value, frozen=True):
    """What became of one test item."""

    sent: Sent
    verdict: Verdict
    sentence: str
    hint: str = ""
    stored: Stored = "not asked"
    environment: str = ""
    """With which environment the server stored the item; empty if that is not known."""
    release: str = ""


class Part(Value, frozen=True):
    """A process's part in the verification."""

    target: LiveTarget
    verdict: Verdict
    sentence: str
    hint: str = ""
    items: tuple[Item, ...] = ()


def judge(
    target: LiveTarget, nonce: str, kinds: Sequence[str] = (), *, server: str = ""
) -> Part:
    """Judge a process by its receipt. `server` is the kind of its server, if it is known.

    Each of the `kinds` must be in the receipt: what a process says nothing of is not known.
    """
    verified, receipt = target.receipt.verified, target.receipt
    if not target.readable:
        text = f"its receipt cannot be read: {receipt.error}"
        return Part(target, "unknown", text, "resentry-agent doctor --area targets")
    if verified is not None and verified.state == "unable":
        return Part(target, *_PROCESS["unable"])
    if verified is None or verified.nonce != nonce:
        return Part(target, "waiting", "has not answered yet")
    if verified.state == "off":
        return _off(target)
    if verified.state != "asked":
        answer = f"answers {verified.state!r}, which only a newer agent understands"
        newer: tuple[Verdict, str, str] = ("unknown", answer, "update the agent")
        verdict, text, hint = _PROCESS.get(verified.state, newer)
        return Part(target, verdict, text, hint)
    by_kind = {sent.kind: sent for sent in verified.items}
    missing = [_not_reported(kind) for kind in kinds if kind not in by_kind]
    items = [judge_item(sent, server) for sent in by_kind.values()]
    return part_of(target, [*items, *missing])


def _not_reported(kind: str) -> Item:
    text = f"the process says nothing of a {kind}"
    hint = "update the package resentry in the application"
    return Item(Sent(kind, "unknown"), "unknown", text, hint)


def part_of(target: LiveTarget, items: Sequence[Item]) -> Part:
    """Judge a process by its items."""
    verdicts = {item.verdict for item in items}
    counted = [item for item in items if item.verdict != "off"]
    passed = sum(item.verdict == "passed" for item in counted)
    text = f"{passed} of {len(counted)} items accepted"
    if not counted:
        text = "sends nothing of these kinds"
    order: tuple[Verdict, ...] = ("waiting", "failed", "unknown", "passed")
    off: Verdict = "off"
    verdict = next((each for each in order if each in verdicts), off)
    return Part(target, verdict, text, items=tuple(items))


def expect(target: LiveTarget) -> Part:
    """Say what can be foreseen of a process, without asking it."""
    receipt = target.receipt
    if not target.readable or (receipt.verified and receipt.verified.state == "unable"):
        return judge(target, "")
    if receipt.foreign:
        return Part(target, *_PROCESS["foreign"])
    if not receipt.dsn:
        return _off(target)
    return Part(target, "waiting", "would send the items")


def _off(target: LiveTarget) -> Part:
    is_on = target.receipt.values.get("SENTRY_ENABLE_FOR_CELERY", True)
    if target.receipt.role == "celery" and is_on is False:
        return Part(
            target, "off", "Sentry is switched off (SENTRY_ENABLE_FOR_CELERY=false)"
        )
    return Part(
        target,
        "failed",
        "has no DSN, so it sends nothing",
        "publish SENTRY_DSN; resentry-agent status shows what is published",
    )


def overdue(part: Part) -> Part:
    """Judge a process that has not answered in time."""
    if part.items:
        items = [_overdue_item(item) for item in part.items]
        return part_of(part.target, items)
    if part.target.receipt.watch.endswith("greenlet"):
        hint = (
            "it answers only while its greenlets run; a preloading gunicorn master "
            "never does: name the roles of workers with --role"
        )
    else:
        hint = (
            "check that the process has the volume mounted and its thread runs; "
            "resentry-agent doctor --area targets"
        )
    return Part(part.target, "failed", "did not answer in time", hint)


def _overdue_item(item: Item) -> Item:
    if item.verdict != "waiting":
        return item
    return Item(
        item.sent,
        "failed",
        "handed over, but the server has not answered in time",
        "the process still sends what was queued before, or its server hangs; try again "
        "with a longer --timeout",
    )


def judge_item(sent: Sent, server: str) -> Item:
    """Judge one item by what the server has answered."""
    is_kept = server != BUGSINK or sent.kind in KEPT_BY_BUGSINK
    if not is_kept and sent.state in ("accepted", "limited"):
        # Bugsink answers 200 and drops the item, or lets none be sent by a rate limit.
        return Item(sent, "off", f"Bugsink keeps no {sent.kind}s", stored="never")
    status = f" (status {sent.status})" if sent.status else ""
    match sent.state:
        case "accepted":
            return Item(sent, "passed", "accepted")
        case "handed":
            return Item(sent, "waiting", "handed over; no answer yet")
        case "unused":
            return Item(sent, "off", f"the process sends no {sent.kind}s")
        case "refused":
            text = f"the server refused the DSN{status}"
            hint = "enable the key at the server, or publish another DSN"
        case "limited":
            text = f"a rate limit of the server keeps {sent.kind}s out{status}"
            hint = "raise the quota at the server, or wait; --kind leaves a kind out"
        case "failed":
            text = f"the server failed{status}"
            hint = f"look at the server; {DOCTOR}"
        case "unreached":
            text = "the process cannot reach the server"
            hint = f"check DNS, TLS, proxy and network policy; {DOCTOR}"
        case state:
            newer = f"became {state!r}, which only a newer agent understands"
            text, hint = _NOT_SENT.get(state, (newer, "update the agent"))
            return Item(sent, "unknown", text, hint)
    return Item(sent, "failed", text, hint)


def read_back(
    item: Item,
    stored: Stored,
    environment: str = "",
    release: str = "",
    why: str = "",
    *,
    ran: tuple[str | None, str | None] = (None, None),
) -> Item:
    """Judge an item by what the server has. `ran` is what the process runs."""
    if item.verdict != "passed":
        return item
    item = replace(item, stored=stored, environment=environment, release=release)
    if stored == "no":
        text = "accepted, but the server does not show it"
        hint = (
            "look at inbound filters, quotas and delays of the server, then try again "
            "with a longer --timeout"
        )
        return replace(item, verdict="failed", sentence=text, hint=hint)
    if stored == "unknown":
        text = f"accepted; whether it is stored is not known: {why}"
        return replace(item, verdict="unknown", sentence=text)
    names = ("environment", "release")
    for name, has, runs in zip(names, (environment, release), ran, strict=True):
        if stored == "yes" and has != (runs or ""):
            text = f"stored with the {name} {has!r}, but the process runs {runs!r}"
            hint = "look for what changes events on their way: a proxy or a relay"
            return replace(item, verdict="failed", sentence=text, hint=hint)
    return item


def unexamined(parts: Sequence[Part], named: Sequence[str]) -> tuple[str, str]:
    """Say that no item was examined, or none of a kind that was named; and what to do.

    Both texts are empty if not, or if a process has something worse to say.
    """
    if any(part.verdict not in ("passed", "off") for part in parts):
        return "", ""
    items = [item for part in parts for item in part.items]
    examined = {item.sent.kind for item in items if item.verdict != "off"}
    missing = [kind for kind in named if kind not in examined]
    if examined and not missing:
        return "", ""
    of_kinds = f" of the kind {' or '.join(missing)}" if missing else ""
    return (
        f"no process sends items{of_kinds} that the server keeps, so nothing was examined",
        "the lines of the processes say why; name what they send with --role and --kind",
    )


def sentence_of(parts: Sequence[Part], *, is_dry: bool) -> str:
    """Say in one sentence what came of it."""
    total = len(parts)
    processes = f"{total} process{'es' * (total != 1)}"
    if is_dry:
        asked = sum(part.verdict == "waiting" for part in parts)
        return f"{asked} of {processes} would send test items; nothing was sent"
    names = {
        "passed": "passed",
        "off": "off",
        "failed": "failed",
        "unknown": "not examined",
    }
    counts = [
        f"{sum(part.verdict == verdict for part in parts)} {name}"
        for verdict, name in names.items()
        if any(part.verdict == verdict for part in parts)
    ]
    return f"{processes}: {', '.join(counts)}"


def reason_of(part: Part) -> tuple[str, str]:
    """Return what went wrong with a process, and what to do."""
    for item in part.items:
        if item.verdict == part.verdict:
            return f"{part.target.name}, {item.sent.kind}: {item.sentence}", item.hint
    return f"{part.target.name}: {part.sentence}", part.hint
