"""Dotenv as a source may hold it: one variable a line, nothing expanded."""

from __future__ import annotations

import re

_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_QUOTED = re.compile(r"""(?:'([^']*)'|"((?:[^"\\]|\\.)*)")(?:[ \t]+(?:#.*)?)?""")
_ESCAPE = re.compile(r'\\(["\\$`])')
_COMMENT = re.compile(r"[ \t]#")


def parse_dotenv(text: str) -> dict[str, str]:
    """Return the variables, or raise `ValueError` naming the line, not what it holds.

    Known are comments, `export `, and the quotes of sh, which end on their line. Of two
    lines with one name the later counts.
    """
    found = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        pair = _LINE.fullmatch(stripped)
        value = _value(pair[2]) if pair else None
        if pair is None or value is None:
            raise ValueError(f"line {number} is not NAME=value")
        found[pair[1]] = value
    return found


def _value(raw: str) -> str | None:
    """The value without quotes and comment; `None` if it is none."""
    if raw.startswith(("'", '"')):
        quoted = _QUOTED.fullmatch(raw)
        if quoted is None:
            return None
        literal, escaped = quoted.groups()
        return literal if escaped is None else _ESCAPE.sub(r"\1", escaped)
    bare = _COMMENT.split(raw, 1)[0].rstrip()
    return None if bare[:1].isspace() else bare
