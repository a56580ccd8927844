"""Checks the application's options: an option that cannot be used is left out and named.

For some bad options the SDK raises into the application, and others it ignores silently.
Here a bad option costs nothing but itself: the client is built without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sentry_sdk.consts import DEFAULT_OPTIONS

from resentry.sdk.versions import transaction_profiler

if TYPE_CHECKING:
    from collections.abc import Callable

_NUMBERS = ("shutdown_timeout", "transport_queue_size")
_SEVERAL = ("disabled_integrations", "integrations")
_FILES = ("ca_certs", "cert_file", "key_file")
_TRANSPORTS = ("transport_async", "transport_http2")
_FIRST = (
    "default_integrations",
    "auto_enabling_integrations",
    "disabled_integrations",
    "integrations",
)
"""An installed integration stays installed, so each attempt starts with these options."""


def checked(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the options that the SDK can take, and what is wrong with the rest.

    An option whose file cannot be read stays, because the file may appear later.
    """
    options, problems = dict(given), list[str]()
    for name in sorted(options.keys() - DEFAULT_OPTIONS.keys()):
        del options[name]
        problems.append(f"sentry-sdk has no option {name!r}: it is left out")
    for name in _NUMBERS:
        if name in options and not isinstance(options[name], int | float):
            del options[name]
            problems.append(f"option {name!r} must be a number: it is left out")
    unusable = [name for name in _SEVERAL if not _is_several(options.get(name) or ())]
    if not isinstance(options.get("socket_options") or [], list):
        unusable.append("socket_options")
    for name in unusable:
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
            f"experiment {name!r} is left out: resentry sends by HTTP/1.1 in a thread"
            for name in unused
        ]
    for name in _FILES:
        path = options.get(name)
        if isinstance(path, str) and not os.access(path, os.R_OK):
            problems.append(f"option {name!r}: can't read {path}: nothing is sent")
    return options, problems + _modes(options, experiments)


def _is_several(value: object) -> bool:
    """Whether the SDK can iterate over the value: a list or a set, but not a text."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def _modes(options: Mapping[str, Any], experiments: Any) -> list[str]:
    """Name each profiler mode that does not exist. Nothing is profiled then, as in the SDK."""
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
    """Return the options with which `build` works, and what is wrong with the rest.

    `describe` returns an exception as text without a secret. If no option is the reason,
    this raises what `build` raises.
    """
    problems = list[str]()

    def works(candidate: Mapping[str, Any], what: str) -> bool:
        try:
            build(candidate)
        except Exception as error:  # noqa: BLE001 - the application's
            why = describe(error)[:300]
            problems.append(f"{what} can't be used and is left out: {why}")
            return False
        return True

    kept = {name: options[name] for name in _FIRST if name in options}
    if not works(kept, "") and isinstance(kept.get("integrations"), list | tuple):
        alone = {"default_integrations": False, "auto_enabling_integrations": False}
        kept["integrations"] = [
            each
            for each in kept["integrations"]
            if works({**alone, "integrations": [each]}, f"integration {_named(each)}")
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
