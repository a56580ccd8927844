"""A terminal as an SVG: `make picture` draws the README's from a run of the demo."""

from __future__ import annotations

import sys
from xml.sax.saxutils import escape

COLUMNS = 96
ADVANCE, LINE, MARGIN = 7.25, 18, 16
"""Pixels: one letter, one line, the border."""

_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" \
font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12">
<title>{title}</title>
<rect width="100%" height="100%" rx="8" fill="#161b22"/>
{lines}
</svg>
"""


def drawn(title: str, text: str) -> str:
    """Return an SVG of the text, line by line; what is changed or proved stands out."""
    lines = [
        (_color(line), part) for line in text.splitlines() for part in _wrapped(line)
    ]
    rows = [
        f'<text x="{MARGIN}" y="{MARGIN + LINE * number}" fill="{color}" '
        f'xml:space="preserve">{escape(line)}</text>'
        for number, (color, line) in enumerate(lines, 1)
    ]
    return _SVG.format(
        width=2 * MARGIN + COLUMNS * ADVANCE,
        height=2 * MARGIN + LINE * len(lines),
        title=escape(title),
        lines="\n".join(rows),
    )


def _wrapped(line: str) -> list[str]:
    parts = []
    while len(line) > COLUMNS:
        cut = line.rfind(" ", 0, COLUMNS)
        parts.append(line[:cut])
        line = " " * 9 + line[cut:]
    return [*parts, line]


def _color(line: str) -> str:
    if " changes in Vault" in line:
        return "#e3b341"
    if " lost 0" in line or "received, " in line:
        return "#7ee787"
    return "#8b949e" if "    " in line[10:] else "#e6edf3"


def main() -> None:
    """Draw standard input on standard output."""
    sys.stdout.write(drawn("make demo", "$ make demo\n" + sys.stdin.read()))


if __name__ == "__main__":
    main()
