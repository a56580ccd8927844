"""What is meant to differ from sentry-sdk alone: each with its place and its reason.

Everything else that differs is a fault, and fails the test of its case. So does an entry
that one of its cases does not need.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

BOTH = ("environment", "swaps")


class Difference(NamedTuple):
    """Where something may differ, and must."""

    what: str
    """For people, as the next one."""
    reason: str
    cases: tuple[str, ...]
    paths: tuple[str, ...]
    """Patterns of places in the documents that `envelopes` makes."""
    ways: tuple[str, ...] = BOTH

    def allows(self, way: str, path: str) -> bool:
        """Whether it is meant by this entry that the place differs."""
        return way in self.ways and any(fnmatchcase(path, one) for one in self.paths)


DIFFERENCES = (
    Difference(
        "scrubbing",
        "While PII is off, personal data and secrets are taken out of what is sent: see "
        "[pii.md](pii.md).",
        ("pii_off", "aiohttp", "flask"),
        ("*/REMOTE_ADDR", "*/extra/note", "*/contexts/order/paid by"),
    ),
    Difference(
        "a queue of 1000",
        "The SDK's default of 100 loses most of a burst. What the application gives as "
        "`transport_queue_size` counts.",
        ("burst",),
        ("/event/10[1-9]", "/event/1[1-4]?", "/event/150", "/client_report"),
    ),
    Difference(
        "`transport` is not an option",
        "The library's own transport carries what a swap hands over. One that the "
        "application gives is ignored, and a warning says so.",
        ("transport",),
        ("/event", "/said/*", "/stderr/0"),
    ),
    Difference(
        "an option that can't be used is named",
        "The SDK leaves it out silently, or raises into the application. Here a warning "
        "and `status()` name it, and the client serves without it.",
        ("unusable_profiler_mode", "experiments_http2"),
        ("/stderr/0",),
    ),
    Difference(
        "HTTP/1.1 alone",
        "The experiment `transport_http2` is left out: a swap has to know whether all of "
        "a request was written. A warning says so.",
        ("experiments_http2",),
        ("/event/*/http/accept-encoding",),
    ),
    Difference(
        "a fork sends nothing again",
        "With the SDK alone a forked child sends once more what its parent has queued.",
        ("fork_queued",),
        ("/event/2/*", "/event/3"),
    ),
)


def listed() -> str:
    """Return the differences as the Markdown list of `docs/library.md`."""
    return "".join(f"- **{one.what}**: {one.reason}\n" for one in DIFFERENCES)
