"""The options of the application: each works, or is left out and named.

The SDK raises into the application for some of them, and says nothing for others. Here
neither happens: one that can't be used costs itself, not the client.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sentry_sdk.consts import DEFAULT_OPTIONS

from resentry.sdk.versions import transaction_profiler

if TYPE_CHECKING:
    from collections.abc import Callable

_NUMBERS = ("shutdown_timeout", "transport_queue_size")
_LISTS = ("disabled_integrations", "integrations", "socket_options")
_FILES = ("ca_certs", "cert_file", "key_file")
_TRANSPORTS = ("transport_async", "transport_http2")
_FIRST = (
    "default_integrations",
    "auto_enabling_integrations",
    "disabled_integrations",
    "integrations",
)
"""What is installed is never taken back: so these hold in each attempt."""


def checked(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the options that can be given to the SDK, and what is wrong with others.

    What may become usable later, a file, is named and stays.
    """
    options, problems = dict(given), list[str]()
    for name in sorted(options.keys() - DEFAULT_OPTIONS.keys()):
        del options[name]
        problems.append(f"sentry-sdk has no option {name!r}: it is left out")
    for name in _NUMBERS:
        if name in options and not isinstance(options[name], int | float):
            del options[name]
            problems.append(f"option {name!r} must be a number: it is left out")
    for name in _LISTS:
        if not isinstance(options.get(name) or [], list | tuple):
            del options[name]
            problems.append(f"option {name!r} must be a list: it is left out")
    experiments = options.get("_experiments")
    if isinstance(experiments, Mapping):
        unused = [name for name in _TRANSPORTS if experiments.get(name)]
        if unused:
            kept = {
                name: experiments[name] for name in experiments if name not in unused
            }
            options["_experiments"] = kept
        problems += [
            f"experiment {name!r} is left out: resentry sends by HTTP/1.1, in a thread"
            for name in unused
        ]
    for name in _FILES:
        path = options.get(name)
        if isinstance(path, str) and not os.access(path, os.R_OK):
            problems.append(f"option {name!r}: {path} can't be read: nothing is sent")
    return options, problems + _modes(options, experiments)


def _modes(options: Mapping[str, Any], experiments: Any) -> list[str]:
    """Say which profiler's mode is none; as with the SDK, then nothing is profiled."""
    usable = {"thread", "sleep", "gevent"}
    if getattr(transaction_profiler, "ThreadPool", None) is None:
        usable.discard("gevent")
    asked = {"profiler_mode": options.get("profiler_mode")}
    if isinstance(experiments, Mapping):
        names = ("profiler_mode", "continuous_profiling_mode")
        asked |= {f"_experiments.{name}": experiments.get(name) for name in names}
    return [
        f"option {name!r} is {mode!r}, which can't be used here: nothing is profiled"
        for name, mode in asked.items()
        if mode is not None and (type(mode) is not str or mode not in usable)
    ]


def usable(
    options: Mapping[str, Any],
    build: Callable[[Mapping[str, Any]], object],
    describe: Callable[[BaseException], str],
) -> tuple[dict[str, Any], list[str]]:
    """Return the options with which `build` does not raise, and what is wrong with others.

    `describe` writes an exception down without a secret. Raises what `build` raises where
    the options are not the reason.
    """
    problems = list[str]()

    def works(candidate: Mapping[str, Any], what: str) -> bool:
        try:
            build(candidate)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the application's
            why = describe(error)[:300]
            problems.append(f"{what} can't be used, and is left out: {why}")
            return False
        return True

    kept = {name: options[name] for name in _FIRST if name in options}
    if not works(kept, "") and isinstance(kept.get("integrations"), list | tuple):
        alone = {"default_integrations": False, "auto_enabling_integrations": False}
        kept["integrations"] = [
            one
            for one in kept["integrations"]
            if works({**alone, "integrations": [one]}, f"integration {_named(one)}")
        ]
    if problems:
        del problems[0]
        build(kept)
    for name in sorted(options.keys() - kept.keys()):
        if works({**kept, name: options[name]}, f"option {name!r}"):
            kept[name] = options[name]
    return kept, problems


def _named(integration: object) -> str:
    kind = integration if isinstance(integration, type) else type(integration)
    return kind.__name__
