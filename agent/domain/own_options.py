"""The application's own options that decide beside what is published."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resentry.contract import Receipt

SAMPLERS = {
    "error_sampler": "SENTRY_SAMPLE_RATE",
    "profiles_sampler": "SENTRY_PROFILES_SAMPLE_RATE",
    "traces_sampler": "SENTRY_TRACES_SAMPLE_RATE",
}
"""Each of these takes the place of a rate, as in the SDK."""
OVERRULED = {
    "enable_logs": "SENTRY_ENABLE_LOGS",
    "profile_session_sample_rate": "SENTRY_PROFILE_SESSION_SAMPLE_RATE",
}
"""Each of these decides only where the setting is not published."""
PUBLISHED = ("snapshot", "role")
"""The origins of a value that is published."""


def own_options(receipt: Receipt) -> Iterator[str]:
    """Yield what an operator should know of the options of a process."""
    for option in receipt.own or ():
        setting = SAMPLERS.get(option)
        if setting and receipt.origins.get(setting) in PUBLISHED:
            yield f"its own {option} decides in place of {setting}"
        setting = OVERRULED.get(option)
        if setting and receipt.origins.get(setting) in PUBLISHED:
            yield f"{setting} decides in place of its own option {option}"
