"""What the scripts of these tests share: each runs in a process of its own."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import resentry
from agent.publish.volume import Volume
from lab.process import eventually
from resentry.contract import Rule, Snapshot, revision_of

QUICK: dict[str, Any] = {
    "default_integrations": False,
    "auto_enabling_integrations": False,
}
"""Without them, `init` would import every framework that is installed."""


def publish(
    settings: Mapping[str, Any],
    roles: Mapping[str, Any] | None = None,
    rules: tuple[Rule, ...] = (),
) -> Snapshot:
    """Publish as the agent does, but unvalidated."""
    directory = os.environ["RESENTRY_DIR"]
    receipts = f"{directory}/receipts"
    Path(receipts).mkdir(parents=True, exist_ok=True)
    snapshot = Snapshot(settings, roles or {}, rules)
    named = Snapshot(settings, roles or {}, rules, revision=revision_of(snapshot))
    return Volume(directory, receipts).publish(named)


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
