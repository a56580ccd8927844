"""The names on the volume: the visible links, and the hidden directories behind them.

Of the hidden names, only those of the agent's own form are its own.

Other programs write in the same layout, kubelet for one. What they made is never removed.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from typing import TYPE_CHECKING

from agent.errors import PublishError
from resentry.contract import DATA_LINK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

PRIVATE_DIR = "agent"
_GENERATION = re.compile(r"\.\.\d{4}(_\d\d){5}\.[0-9a-f]{8}\Z")
_LINK = re.compile(r"\.\.data_tmp\.[0-9a-f]{8}\Z")
_TRIAL = re.compile(r"\.\.check\.\w{8}\Z")
"""What `check` makes to see whether the volume can be written."""


def new_generation() -> str:
    """Return a new name for a directory that holds one published set of files."""
    return f"..{time.strftime('%Y_%m_%d_%H_%M_%S')}.{secrets.token_hex(4)}"


def new_link() -> str:
    """Return a new name for the link that will become `..data`."""
    return f"{DATA_LINK}_tmp.{secrets.token_hex(4)}"


def links_elsewhere(directory: str) -> bool:
    """Whether `..data` is a link to something that no agent has made."""
    try:
        return not _GENERATION.match(os.readlink(f"{directory}/{DATA_LINK}"))
    except OSError:
        return False


def remove_hidden(directory: str, kept: tuple[str, ...], oldest: float) -> None:
    """Remove the agent's hidden links, and its directories from before `oldest`.

    Names that are `kept` stay.
    """
    with os.scandir(directory) as entries:
        hidden = [entry for entry in entries if entry.name.startswith("..")]
    for entry in hidden:
        if entry.name in kept:
            continue
        if _LINK.match(entry.name) and entry.is_symlink():
            os.unlink(entry.path)
        elif _GENERATION.match(entry.name) or _TRIAL.match(entry.name):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and status.st_mtime < oldest:
                remove_tree(entry.path)


def missing_links(directory: str, names: Iterable[str]) -> list[str]:
    """Return the files without a visible link. Raises if something else has the name."""
    links = {name: f"{DATA_LINK}/{name}" for name in names}
    ours: dict[str, str | None] = {DATA_LINK: None, **links}
    for name, link in ours.items():
        path = f"{directory}/{name}"
        if os.path.lexists(path) and not (
            os.path.islink(path) and link in (None, os.readlink(path))
        ):
            raise PublishError(
                f"cannot publish {path}: a file that is not the agent's has this name",
                f"remove {path}",
            )
    return [name for name in links if not os.path.lexists(f"{directory}/{name}")]


def show_links(directory: str, names: Collection[str]) -> list[str]:
    """Make a visible link for every file, and remove others. Return those made."""
    missing = missing_links(directory, names)
    for name in missing:
        os.symlink(f"{DATA_LINK}/{name}", f"{directory}/{name}")
    with os.scandir(directory) as entries:
        links = [entry for entry in entries if entry.is_symlink()]
    for entry in links:
        is_ours = os.readlink(entry.path).startswith(f"{DATA_LINK}/")
        if is_ours and entry.name not in names:
            os.unlink(entry.path)
    return missing


def must_be_apart(directory: str, receipts: str) -> None:
    """Raise `PublishError` if receipts would stand among what the agent writes."""
    place, volume = os.path.realpath(receipts), os.path.realpath(directory)
    first = os.path.relpath(place, volume).partition("/")[0]
    is_inside = place == volume or place.startswith(f"{volume}/")
    if is_inside and (first in (".", PRIVATE_DIR) or first.startswith("..")):
        raise PublishError(
            f"RESENTRY_RECEIPTS: {receipts} is in the way of what the agent writes to "
            f"{directory}",
            "set RESENTRY_RECEIPTS to a directory of its own, or unset it",
        )


def remove_tree(path: str) -> None:
    """Remove a directory with all that is in it, as far as this is possible."""
    import shutil  # noqa: PLC0415 - with ten modules, for what seldom happens

    shutil.rmtree(path, ignore_errors=True)
