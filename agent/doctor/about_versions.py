"""Rules on versions: of agent, library, SDK, and of the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent._version import __version__
from agent.doctor.about_targets import targets
from agent.doctor.rule import Sight, rule
from agent.domain.versions import are_apart, minor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.doctor.facts import Facts

_FORK_SAFE = (2, 59)


@rule(
    "RSN951",
    "sdk-unsupported",
    "error",
    "versions",
    "A process runs a version of sentry-sdk that is not supported",
    fix="`pip install 'sentry-sdk>=2.43,<3'`",
)
def sdk(facts: Facts) -> Iterator[Sight]:
    """Look what each library says of its SDK.

    The library then swaps in a simpler way, which may lose events.
    """
    for target in targets(facts):
        if not target.receipt.sdk.replace(".", "").isalnum():
            yield Sight(target.name, target.receipt.sdk)


@rule(
    "RSN952",
    "version-skew",
    "warning",
    "versions",
    "Agent and library are more than one minor version apart",
    fix="upgrade the older one",
)
def skew(facts: Facts) -> Iterator[Sight]:
    """Compare the versions. Two neighbouring minor versions work together."""
    for target in targets(facts):
        if are_apart(__version__, target.receipt.library):
            theirs_shown = target.receipt.library or "unknown"
            yield Sight(target.name, f"library {theirs_shown}, agent {__version__}")


@rule(
    "RSN953",
    "fields-ignored",
    "warning",
    "versions",
    "A library is too old for something at the source",
    fix="upgrade resentry in that application",
)
def ignored(facts: Facts) -> Iterator[Sight]:
    """Look for fields of rules and boosts that a library does not know."""
    for target in targets(facts):
        if target.receipt.ignored:
            yield Sight(target.name, f"ignores {', '.join(target.receipt.ignored)}")


@rule(
    "RSN954",
    "releases-differ",
    "info",
    "versions",
    "Roles report different releases",
    fix="finish the deployment, or correct VERSION or SENTRY_RELEASE",
)
def releases(facts: Facts) -> Iterator[Sight]:
    """Compare the releases of all processes. During a deployment they differ for a while."""
    found: dict[str, set[str]] = {}
    for target in targets(facts):
        release = target.receipt.values.get("SENTRY_RELEASE")
        found.setdefault(str(release or "none"), set()).add(target.receipt.role)
    if len(found) > 1:
        shown = "; ".join(
            f"{release}: {', '.join(sorted(roles))}"
            for release, roles in sorted(found.items())
        )
        yield Sight("every role", shown)


@rule(
    "RSN955",
    "sdk-fork-bug",
    "info",
    "versions",
    "A forked process runs a version of sentry-sdk that can hang after a fork",
    fix="`pip install 'sentry-sdk>=2.59,<3'`",
)
def fork_bug(facts: Facts) -> Iterator[Sight]:
    """Compare the SDK's version in processes that were forked with 2.59.

    Before 2.59, a child could inherit a lock of the SDK's monitor or of its batchers that
    no thread of the child releases (getsentry/sentry-python 6148, 6149). The library makes
    these parts of its own client anew in each child. A client that the application makes
    can hang.
    """
    for target in targets(facts):
        version = minor(target.receipt.sdk)
        if target.receipt.parent is not None and version and version < _FORK_SAFE:
            yield Sight(target.name, f"sentry-sdk {target.receipt.sdk}")
