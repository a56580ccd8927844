"""The last defence against a secret in a log: known forms of secrets are masked."""

from __future__ import annotations

import re
from typing import Any

_DSN = re.compile(r"(https?://)[^\s/@:]+(?::[^\s/@]*)?(@)", re.IGNORECASE)
_TOKEN = re.compile(r"\b(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{20,}")


def redact(value: Any) -> Any:
    """Return `value` with keys of DSNs and Vault tokens masked, at any depth.

    Any other object is returned as its masked `repr`, which is what a log would show.
    """
    if isinstance(value, str):
        return _TOKEN.sub("…", _DSN.sub(r"\1…\2", value))
    if isinstance(value, dict):
        return {key: redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(repr(value))
