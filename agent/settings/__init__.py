"""The agent's own settings: flags over environment over a TOML file."""

from agent.settings.kinds import GROUPS, SecretValue, Setting, settings_of
from agent.settings.load import (
    OTHER_VARIABLES,
    PREFIX,
    Loaded,
    flag,
    load,
    load_what_can_be,
)
from agent.settings.model import Settings

__all__ = [
    "GROUPS",
    "OTHER_VARIABLES",
    "PREFIX",
    "Loaded",
    "SecretValue",
    "Setting",
    "Settings",
    "flag",
    "load",
    "load_what_can_be",
    "settings_of",
]
