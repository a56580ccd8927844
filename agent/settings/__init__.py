"""The agent's own settings: flags over environment over a TOML file."""

from agent.settings.kinds import Secret
from agent.settings.load import (
    OTHER_VARIABLES,
    PREFIX,
    Loaded,
    flag,
    load,
)
from agent.settings.model import Settings

__all__ = [
    "OTHER_VARIABLES",
    "PREFIX",
    "Loaded",
    "Secret",
    "Settings",
    "flag",
    "load",
]
