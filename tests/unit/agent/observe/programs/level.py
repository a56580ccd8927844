"""Logs at each level, then changes the level and does so again: FROM TO."""

import sys

import structlog

from agent.errors import RequestUnknown
from agent.observe import logs

before, after = sys.argv[1:]
logs.configure(before, "json")
log = structlog.get_logger()


def log_all(word: str) -> None:
    for level in logs.LEVELS:
        getattr(log, level)(f"{word} {level}")
    try:
        raise LookupError(word)
    except LookupError:
        log.exception(f"{word} exception")


log_all("before")
logs.change_level(after)
log_all("after")
wrongs: tuple[object, ...] = ("loud", "", 7, {}, True)
for wrong in wrongs:
    try:
        logs.change_level(wrong)
    except RequestUnknown:
        continue
    print(f"took {wrong!r}")
print(logs.change_level(None))
