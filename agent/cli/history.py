"""`history`: the last ten snapshots, also when the agent is dead."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from agent.cli import options
from agent.cli.answer import Answer
from agent.cli.gather import must_be_readable, published
from agent.cli.lines import value_text
from agent.cli.results import HistoryEntry, HistoryResult
from agent.domain.value import replace
from agent.domain.wishes import difference, is_held, lasting_revision
from agent.observe.document import masked
from agent.publish.memory import HISTORY_DIR, HISTORY_LENGTH
from agent.publish.names import PRIVATE_DIR
from agent.publish.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Loaded
    from resentry.contract import Snapshot


@options.command("history")
def command(loaded: Loaded) -> Answer:
    """List the last ten snapshots: time, and what each changed."""
    settings = loaded.settings
    volume = Volume(settings.dir, settings.receipts_dir)
    must_be_readable(f"{settings.dir}/{PRIVATE_DIR}/{HISTORY_DIR}")
    snapshots, current = volume.memory.history(), published(volume)
    if current is not None and not any(_is_like(current, s) for s in snapshots[:1]):
        # The agent died between publishing and remembering.
        snapshots = [current, *snapshots][:HISTORY_LENGTH]
    entries = [_entry(new, old) for new, old in pairwise([*snapshots, None]) if new]
    lines = tuple(line for entry in entries for line in _lines(entry))
    return Answer(
        HistoryResult(history=entries),
        lines or ("nothing was published on this volume",),
    )


def _is_like(one: Snapshot, other: Snapshot) -> bool:
    """Whether two snapshots are the same but for boosts, which are no history."""
    return lasting_revision(one) == lasting_revision(other)


def _entry(new: Snapshot, old: Snapshot | None) -> HistoryEntry:
    return HistoryEntry(
        sequence=new.sequence,
        revision=new.revision,
        published_at=new.published_at,
        changed=difference(replace(new, boosts=()), old and replace(old, boosts=())),
        rollback=is_held(new),
        settings=masked(new.settings),
    )


def _lines(entry: HistoryEntry) -> Iterator[str]:
    rollback = "  by a rollback" if entry.rollback else ""
    yield f"{entry.sequence:>5}  {entry.revision}  {entry.published_at}{rollback}"
    for key in entry.changed:
        value = entry.settings.get(key)
        yield f"       {key}{'' if value is None else f'={value_text(value)}'}"
