"""Asks the fleet that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent._version import __version__
from agent.errors import SettingsError
from agent.fleet import by_api
from agent.fleet.ask import ask, distinct
from agent.fleet.pods import listed, resolved

if TYPE_CHECKING:
    from agent.fleet.ask import Answer
    from agent.settings import Settings


def must_be_named(settings: Settings) -> None:
    """Raise `SettingsError` if no setting names the pods."""
    if not settings.fleet:
        raise SettingsError(
            "the pods of the fleet are not known",
            "set RESENTRY_FLEET to HOST:PORT of a headless Service, to a URL per pod, or to "
            "k8s://NAMESPACE:PORT?LABEL=VALUE",
        )


def ask_fleet(settings: Settings) -> list[Answer]:
    """Ask every pod of RESENTRY_FLEET, found anew. Raises `AgentError`."""
    must_be_named(settings)
    pods = []
    for entry in settings.fleet:
        if entry.startswith(by_api.SCHEME):
            pods += by_api.selected(entry)
        elif entry.startswith(("http://", "https://")):
            pods += listed([entry])
        else:
            pods += resolved(entry)
    return distinct(ask(pods, f"resentry-agent/{__version__}"))
