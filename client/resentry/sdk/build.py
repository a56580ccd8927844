"""Builds clients: the first one as the SDK does, the next ones as its successors.

The SDK's constructor changes the whole process: it installs integrations, wraps functions,
starts profilers, adds handlers, asks git. So the constructor builds only the first client,
and a client with other options of the application's. Every other client is a successor: a
copy with its own parts, in which only the changes of the snapshot differ.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from sentry_sdk.client import get_options
from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.transport import make_transport
from sentry_sdk.utils import get_default_release

from resentry.sdk import profiles
from resentry.sdk.client import Client, Recipe
from resentry.sdk.parts import COMPONENTS, anew, give_monitor, new_log_batcher
from resentry.sdk.versions import collected

if TYPE_CHECKING:
    from collections.abc import Mapping

_default_release: list[str | None] = []
"""The release that the SDK found; empty until the SDK has looked for one."""


def new_client(
    given: Mapping[str, Any], arguments: dict[str, Any], *, pii: bool
) -> Client:
    """Build a client as the SDK does, with all its effects on the process.

    Args:
        given: the application's own options.
        arguments: what the SDK's constructor gets.
        pii: whether the snapshot allows personal data.

    """
    recipe, release = Recipe(given, dict(arguments), pii), arguments.get("release")
    if release is None:  # git is asked once
        if not _default_release:
            _default_release.append(get_default_release())
        release = _default_release[0]
    # The SDK would warn of these two, as if the application had passed them.
    rate = arguments.pop("profiles_sample_rate", None)
    options = get_options(**{**arguments, "release": release or ""})
    options |= {"profiles_sample_rate": rate, "release": release or None}
    options |= _collected(arguments, pii=pii)
    before = profiles.current()
    try:
        client = Client(options)
    finally:
        profiles.adopt(before)
    client.recipe = recipe
    return client


def successor(previous: Client, arguments: dict[str, Any], *, pii: bool) -> Client:
    """Return a client for other values. The process and `previous` are not changed.

    The arguments are those of `new_client`. The application's options are those of
    `previous`.
    """
    client = Client.__new__(Client)
    client.__dict__.update(previous.__dict__)
    client.under_way, client.sampling, client.is_retired = deque(), None, False
    client.recipe = Recipe(previous.recipe.given, arguments, pii)
    client.options = _next_options(previous, arguments, pii=pii)
    client.transport = make_transport(client.options)
    for name in COMPONENTS:
        part = getattr(previous, name, None)
        if part is not None:
            setattr(client, name, anew(part, client))
    if client.log_batcher is None and client.options.get("enable_logs"):
        # The oldest versions make this part only if logs are on at `init`.
        client.log_batcher = new_log_batcher(client)
    give_monitor(client, previous)
    return client


def _next_options(
    previous: Client, arguments: Mapping[str, Any], *, pii: bool
) -> dict[str, Any]:
    options, old = dict(previous.options), previous.recipe
    for name in {*arguments, *old.arguments}:
        value = arguments.get(name, DEFAULT_OPTIONS.get(name))
        if not is_same(value, old.arguments.get(name, DEFAULT_OPTIONS.get(name))):
            options[name] = value
    if not arguments.get("release"):
        options["release"] = _default_release[0] if _default_release else None
    if options["traces_sample_rate"] is None and options["enable_tracing"] is True:
        options["traces_sample_rate"] = 1.0
    was_local, is_local = (
        bool(previous.spotlight and not some["dsn"])
        for some in (previous.options, options)
    )
    if pii != old.pii or is_local != was_local:
        options |= _collected(arguments, pii=pii)
    if was_local or is_local:  # Spotlight without a DSN shows everything
        samplers = ("error_sampler", "traces_sampler", "profiles_sampler")
        options |= {
            name: _always if is_local else arguments.get(name) for name in samplers
        }
    if is_local:
        shown = _collected(arguments, pii=True)
        shown.pop("event_scrubber", None)
        options |= shown
    return options


def _always(*_args: Any, **_kwargs: Any) -> float:
    return 1.0


def is_same(first: Any, second: Any) -> bool:
    """Whether two options are the same. Comparing an application's object may raise."""
    try:
        return first is second or bool(type(first) is type(second) and first == second)
    except Exception:  # noqa: BLE001 - the application's
        return False


def hook_places(options: Mapping[str, Any]) -> dict[str, bool]:
    """Return the hooks that see an item last; the value is false for an experiment.

    In the oldest versions `before_send_metric` is in `_experiments`.
    """
    names = ["before_send", "before_send_transaction", "before_send_log"]
    names.append("before_send_metric")
    experiments = options.get("_experiments") or {}
    if "stream" in (options.get("trace_lifecycle"), experiments.get("trace_lifecycle")):
        names.append("before_send_span")  # without streaming the SDK warns of it
    return {name: name in DEFAULT_OPTIONS for name in names}


def _collected(given: Mapping[str, Any], *, pii: bool) -> dict[str, Any]:
    """Return the options that the SDK would derive from `send_default_pii`.

    The SDK itself does not get that option, because it would warn of a deprecation. An
    application's own `data_collection` wins, and then there is no `event_scrubber`.
    """
    derived: dict[str, Any] = {
        "send_default_pii": True if pii else DEFAULT_OPTIONS["send_default_pii"]
    }
    experiments = given.get("_experiments") or {}
    if collected is not None:
        own = (given.get("data_collection"), experiments.get("data_collection"))
        if own != (None, None):
            return derived
        derived["data_collection"] = collected(
            send_default_pii=pii,
            include_local_variables=_is_on(given, "include_local_variables"),
            include_source_context=_is_on(given, "include_source_context"),
        )
    own_scrubber = given.get("event_scrubber")
    derived["event_scrubber"] = (
        EventScrubber(send_default_pii=pii) if own_scrubber is None else own_scrubber
    )
    return derived


def _is_on(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    return True if value is None else bool(value)
