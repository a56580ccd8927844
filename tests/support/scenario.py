"""What the scripts of these tests share: each runs in a process of its own.

Nothing here is of the agent: these tests also run where it cannot.
"""

import itertools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import resentry
from agent.domain.value import replace
from lab.process import eventually
from resentry.contract import Rule, Snapshot, encode_snapshot, revision_of

QUICK: dict[str, Any] = {
    "default_integrations": False,
    "auto_enabling_integrations": False,
}
"""Without them, `init` would import every framework that is installed."""

_sequences = itertools.count(1)


def publish(
    settings: Mapping[str, Any],
    roles: Mapping[str, Any] | None = None,
    rules: tuple[Rule, ...] = (),
    **more: Any,
) -> Snapshot:
    """Publish as the agent does, but unvalidated."""
    directory = Path(os.environ["RESENTRY_DIR"])
    (directory / "receipts").mkdir(parents=True, exist_ok=True)
    snapshot = Snapshot(settings, roles or {}, rules, sequence=next(_sequences), **more)
    snapshot = replace(snapshot, revision=revision_of(snapshot), published_at="now")
    content = directory / f"..{snapshot.sequence}"
    content.mkdir()
    (content / "settings.json").write_bytes(encode_snapshot(snapshot))
    (directory / "..next").symlink_to(content.name)
    (directory / "..next").rename(directory / "..data")
    if snapshot.sequence == 1:
        (directory / "settings.json").symlink_to("..data/settings.json")
    return snapshot


def take_up(settings: Mapping[str, Any], **content: Any) -> Snapshot:
    """Publish, and return once this process has sent all that its old client held."""
    snapshot = publish(settings, **content)
    wait_for(lambda now: now["sequence"] == snapshot.sequence)
    wait_for(lambda now: now["phase"] == "drained")
    return snapshot


def wait_for(fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the first status that fits."""
    eventually(lambda: fits(resentry.status()), what=f"in {resentry.status()}")
    return resentry.status()


def receipts() -> list[dict[str, Any]]:
    """Return the receipts of now."""
    found = Path(os.environ["RESENTRY_DIR"], "receipts").glob("*.json")
    return [json.loads(path.read_bytes()) for path in found]


def say(**values: Any) -> None:
    """Tell the test what came out."""
    print(json.dumps(values), flush=True)  # noqa: T201
