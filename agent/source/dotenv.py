"""Reads dotenv: one variable per line. Nothing is expanded."""

from __future__ import annotations

import re

_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_QUOTED = re.compile(r"""(?:'([^']*)'|"((?:[^"\\]|\\.)*)")(?:[ \t]+(?:#.*)?)?""")
_ESCAPE = re.compile(r'\\(["\\$`])')
_COMMENT = re.compile(r"[ \t]#")


def parse_dotenv(text: str) -> dict[str, str]:
    """Return the variables. A `ValueError` names the line, and does not quote it.

    Comments, `export ` and the quotes of sh are understood. Quotes end on the line on
    which they begin. If two lines have one name, the later line counts.
    """
    variables = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        pair = _LINE.fullmatch(stripped)
        value = _value(pair[2]) if pair else None
        if pair is None or value is None:
            raise ValueError(f"line {number} is not NAME=value")
        variables[pair[1]] = value
    return variables


def _value(raw: str) -> str | None:
    """Return the value without quotes and comment; `None` if it is malformed."""
    if raw.startswith(("'", '"')):
        quoted = _QUOTED.fullmatch(raw)
        if quoted is None:
            return None
        literal, escaped = quoted.groups()
        return literal if escaped is None else _ESCAPE.sub(r"\1", escaped)
    bare = _COMMENT.split(raw, 1)[0].rstrip()
    return None if bare[:1].isspace() else bare
