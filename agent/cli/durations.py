"""Reads a duration of a command line, as 90s, 15m or 2h."""

from __future__ import annotations

import re

import click

_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(name: str, text: str) -> int:
    """Return the seconds, or raise a usage error that names the option."""
    parts = re.fullmatch(r"([0-9]{1,9})([smh])", text)
    if not parts:
        raise click.UsageError(f"{name} must be a number with s, m or h, as 15m")
    return int(parts[1]) * _UNITS[parts[2]]
