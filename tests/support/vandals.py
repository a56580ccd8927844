"""What others may do to a volume, what it looks like, and a pass that mends it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from typing import TYPE_CHECKING, Any

from agent.domain.value import replace
from resentry.contract import decode_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.domain.outcome import Outcome
    from agent.pipeline import Pipeline

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/"


def generation(volume: Path) -> Path:
    return volume / os.readlink(volume / "..data")


def empty(volume: Path) -> None:
    for path in volume.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def replaced(volume: Path) -> None:
    volume.rename(volume.with_name("other"))
    volume.mkdir()


def another_dsn(volume: Path) -> None:
    file = generation(volume) / "settings.json"
    document = json.loads(file.read_bytes())
    document["settings"]["SENTRY_DSN"] = f"{DSN}666"
    file.write_text(json.dumps(document))


def elsewhere(volume: Path) -> None:
    shutil.copytree(generation(volume), volume.with_name("elsewhere"))
    (volume / "..data").unlink()
    (volume / "..data").symlink_to(volume.with_name("elsewhere"))


VANDALS: dict[str, Callable[[Path], Any]] = {
    "no ..data": lambda volume: (volume / "..data").unlink(),
    "..data into nothing": lambda volume: [
        (volume / "..data").unlink(),
        (volume / "..data").symlink_to("..gone"),
    ],
    "..data to elsewhere": elsewhere,
    "no generation": lambda volume: shutil.rmtree(generation(volume)),
    "no settings.json": lambda volume: (generation(volume) / "settings.json").unlink(),
    "no visible link": lambda volume: (volume / "settings.json").unlink(),
    "truncated": lambda volume: os.truncate(generation(volume) / "settings.json", 20),
    "emptied": lambda volume: os.truncate(generation(volume) / "SENTRY_DSN", 0),
    "a link inside": lambda volume: [
        (generation(volume) / "sentry.env").rename(volume.with_name("moved")),
        (generation(volume) / "sentry.env").symlink_to(volume.with_name("moved")),
    ],
    "another DSN": another_dsn,
    "no rights": lambda volume: (generation(volume) / "settings.json").chmod(0),
    "no rights at all": lambda volume: generation(volume).chmod(0o700),
    "no agent": lambda volume: shutil.rmtree(volume / "agent"),
    "agent open to all": lambda volume: (volume / "agent").chmod(0o755),
    "no lock": lambda volume: (volume / "agent" / "lock").unlink(),
    "no receipts": lambda volume: shutil.rmtree(volume / "receipts"),
    "receipts closed": lambda volume: (volume / "receipts").chmod(0o700),
    "no memory": lambda volume: [
        (volume / "agent" / "last-good.json").unlink(),
        shutil.rmtree(volume / "agent" / "history"),
    ],
    "all removed": empty,
    "volume removed": shutil.rmtree,
    "volume replaced": replaced,
}


def shape(volume: Path) -> dict[str, Any]:
    """Names, modes and contents, without what differs from publication to publication."""
    seen: dict[str, Any] = {}
    for path in sorted(volume.rglob("*")):
        name = str(path.relative_to(volume))
        if name.startswith("..2") or "history/" in name:
            continue
        status = path.lstat()
        if path.is_symlink():
            link = os.readlink(path)
            seen[name] = "..2" if link.startswith("..2") else link
        elif path.is_dir():
            seen[name] = stat.S_IMODE(status.st_mode)
        else:
            seen[name] = (stat.S_IMODE(status.st_mode), path.read_bytes())
    for path in sorted((volume / "..data").iterdir()):
        body = path.read_bytes()
        if path.name == "settings.json":
            whole = decode_snapshot(body)
            body = repr(replace(whole, sequence=0, published_at="")).encode()
        seen[path.name + " behind"] = (stat.S_IMODE(path.stat().st_mode), body)
    seen["..data behind"] = stat.S_IMODE((volume / "..data").stat().st_mode)
    seen["remembered"] = (volume / "agent" / "history").is_dir()
    return seen


def a_pass(pipeline: Pipeline) -> Outcome:
    reading = pipeline.read(time.monotonic() + 5)
    return pipeline.publish(reading, pipeline.known.wishes)
