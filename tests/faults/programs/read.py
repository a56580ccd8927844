"""A reader in a process of its own: how often it read, and what did not fit together.

    python read.py VOLUME FOLLOWS READS SETS

FOLLOWS is what it looks at: `settings.json`, `sentry.env`, or the `directory`.
It ends after so many reads, once it has seen so many different sets.
"""

from __future__ import annotations

import json
import os
import sys

from resentry.contract import decode_snapshot, revision_of


def file_at(name: str, directory: int) -> bytes:
    file = os.open(name, os.O_RDONLY, dir_fd=directory)
    try:
        return os.read(file, 1 << 20)
    finally:
        os.close(file)


def from_json(body: bytes) -> set[str]:
    """The numbers in it: all of one snapshot's values carry the same."""
    snapshot = decode_snapshot(body)
    if snapshot.revision != revision_of(snapshot):
        return {"revision", "content"}
    return {number(str(value)) for value in snapshot.settings.values()}


def from_env(body: bytes) -> set[str]:
    lines = body.decode().splitlines()
    if len(lines) != 3 or not body.endswith(b"\n"):
        return {"half", "a file"}
    return {number(line) for line in lines}


def number(text: str) -> str:
    return text.rpartition("/")[2].rpartition("-")[2]


def from_directory(volume: str) -> set[str]:
    """Open `..data` once and read everything through it."""
    at = os.open(f"{volume}/..data", os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = os.listdir(at)
        found = {name: file_at(name, at) for name in names}
    finally:
        os.close(at)
    numbers = from_json(found.pop("settings.json")) | from_env(found.pop("sentry.env"))
    if len(found) != 3:
        return {"half", "a set"}
    return numbers | {number(body.decode()) for body in found.values()}


def main(volume: str, follows: str, reads: str, sets: str) -> None:
    at = os.open(volume, os.O_RDONLY | os.O_DIRECTORY)
    mixed: list[list[str]] = []
    seen: set[str] = set()
    count = 0
    while count < int(reads) or len(seen) < int(sets):
        count += 1
        if follows == "directory":
            numbers = from_directory(volume)
        else:
            read = from_env if follows == "sentry.env" else from_json
            numbers = read(file_at(follows, at))
        if len(numbers) != 1:
            mixed.append(sorted(numbers))
        seen |= numbers
    print(json.dumps({"reads": count, "seen": len(seen), "mixed": mixed}))


main(*sys.argv[1:])
