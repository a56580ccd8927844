"""A verification as a document, and as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.lines import table
from agent.cli.results import VerifyItem, VerifyProcess, VerifyResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.domain.verified import Item, Part

_HEAD = (
    *("role", "pid", "kind", "handed over", "accepted", "stored"),
    *("environment", "release", "ms"),
)


def document_of(
    parts: Sequence[Part],
    nonce: str | None,
    kinds: Sequence[str],
    unknown: str,
    sentence: str,
) -> VerifyResult:
    """Return the result of `verify`."""
    return VerifyResult(
        nonce=nonce,
        kinds=list(kinds),
        unknown=unknown,
        sentence=sentence,
        processes=[_process(part) for part in parts],
    )


def _process(part: Part) -> VerifyProcess:
    receipt = part.target.receipt
    values = receipt.values
    return VerifyProcess(
        id=receipt.id,
        name=part.target.name,
        role=receipt.role,
        pid=receipt.pid or None,
        dsn=receipt.dsn,
        environment=str(values.get("SENTRY_ENVIRONMENT") or ""),
        release=str(values.get("SENTRY_RELEASE") or ""),
        verdict=part.verdict,
        sentence=part.sentence,
        hint=part.hint,
        items=[_item(item) for item in part.items],
    )


def _item(item: Item) -> VerifyItem:
    sent = item.sent
    return VerifyItem(
        kind=sent.kind,
        verdict=item.verdict,
        state=sent.state,
        status=sent.status,
        event=sent.event,
        ms=sent.ms,
        stored=item.stored,
        environment=item.environment,
        release=item.release,
        sentence=item.sentence,
        hint=item.hint,
    )


def lines_of(result: VerifyResult) -> Iterator[str]:
    """Yield the table, then what did not go well, then one sentence on the whole."""
    rows = [_HEAD, *(row for process in result.processes for row in _rows(process))]
    if result.processes:
        yield from table(rows)
    remarks: dict[tuple[str, str], list[str]] = {}
    for process in result.processes:
        for remark in _remarks(process):
            remarks.setdefault(remark, []).append(process.name)
    for (sentence, hint), names in remarks.items():
        yield f"{', '.join(names)}: {sentence}"
        if hint:
            yield f"  {hint}"
    if result.unknown:
        yield result.unknown
    yield result.sentence


def _rows(process: VerifyProcess) -> Iterator[tuple[str, ...]]:
    who = (process.role, str(process.pid or "-"))
    runs = (process.environment, process.release)
    if not process.items:
        said = process.verdict if process.verdict != "waiting" else ""
        yield (*who, "-", said or "-", "-", "-", *runs, "-")
    for item in process.items:
        is_sent = item.state != "unused"
        answered = item.status is not None or item.ms > 0
        yield (
            *who,
            item.kind,
            "yes" if is_sent else "off",
            _accepted(item),
            item.stored if item.stored != "not asked" else "-",
            item.environment or process.environment,
            item.release or process.release,
            f"{item.ms:g}" if answered else "-",
        )


def _accepted(item: VerifyItem) -> str:
    if item.verdict == "off":
        return "off"
    if item.state == "handed":
        return "no answer"
    return "yes" if item.state == "accepted" else f"no: {item.state}"


def _remarks(process: VerifyProcess) -> Iterator[tuple[str, str]]:
    """Yield each sentence that says more than the table, and what to do."""
    if not process.items or process.hint:
        yield process.sentence, process.hint
    for item in process.items:
        if item.verdict in ("failed", "unknown") or item.stored == "never":
            yield f"{item.kind}: {item.sentence}", item.hint
