"""Asks all pods at once, each within a limit. A pod that does not answer is named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from agent.domain.summary import SUMMARY_BYTES, decode_summary
from agent.errors import SourceDown
from agent.web import get

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.domain.summary import Summary
    from agent.fleet.pods import Pod

SECONDS = 3.0
"""The limit of one pod's answer."""
AT_ONCE = 512
"""A pod that hangs keeps one of these threads for the whole limit."""
_OK = 200


class Answer(NamedTuple):
    """What one pod told, or why it is silent."""

    pod: Pod
    summary: Summary | None
    why: str = ""


def distinct(answers: Iterable[Answer]) -> list[Answer]:
    """Return one answer of each pod, also if several addresses lead to it.

    A Service with IPv4 and IPv6 names each pod twice. So does a list with a pod that a
    Service names, too. Pods that are counted twice would hide that others are missing.
    """
    kept: dict[str | int, Answer] = {}
    for number, answer in enumerate(answers):
        instance = answer.summary.instance if answer.summary else ""
        kept.setdefault(instance or number, answer)
    return list(kept.values())


def ask(pods: Iterable[Pod], user_agent: str, seconds: float = SECONDS) -> list[Answer]:
    """Return the answer of each pod, in the order of the pods."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fleet") as pool:
        return list(pool.map(lambda pod: _ask(pod, user_agent, seconds), pods))


def _ask(pod: Pod, user_agent: str, seconds: float) -> Answer:
    if not pod.url:
        return Answer(pod, None, "has no address yet")
    try:
        status, body = get(
            pod.url, {"User-Agent": user_agent}, seconds, limit=SUMMARY_BYTES + 1
        )
        if status != _OK:
            return Answer(pod, None, f"answers with status {status}")
        if len(body) > SUMMARY_BYTES:
            return Answer(pod, None, f"answers more than {SUMMARY_BYTES:,} bytes")
        return Answer(pod, decode_summary(body))
    except OSError as error:
        return Answer(pod, None, str(error))
    except SourceDown as error:
        return Answer(pod, None, error.what)
