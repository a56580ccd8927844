"""Finds secrets by their own form, wherever they stand. Standard library only.

Pure functions, linear in time. A cheap check comes before each regex, because most texts of
an event hold no secret.
"""

from __future__ import annotations

import re

FILTERED = "[Filtered]"
"""Replaces a secret. It is the SDK's own word."""

TEXT_LIMIT = 100_000
"""Characters of one text that are looked at. The rest of the text is filtered."""

_PEM = re.compile(
    "-----BEGIN [A-Z0-9 ]*PRIVATE KEY.*?(?:-----END [A-Z0-9 ]+-----|\\Z)", re.DOTALL
)
_USERINFO = re.compile(r"""://[^\s/?#"'<>@]*(?:@[^\s/?#"'<>@]*)*(?=@)""")
_TOKEN = re.compile(
    r"(?:(?<![\w-])|(?<=%3[Dd])|(?<=%2[02]))eyJ[\w-]{5,}(?:\.[\w-]*){1,4}"
    r"|hv[sbr]\.[\w-]{20,}",
    re.ASCII,
)
_SENTRY_TOKEN = re.compile(r"sntry[a-z]_[\w=+/-]{20,}", re.ASCII)
# Tokens of Vault before 1.10, and of OpenBao. The digit keeps module names out.
_SHORT_TOKEN = re.compile(
    r"[sbr]\.(?<![A-Za-z0-9_-]..)(?=[A-Za-z]*[0-9])[A-Za-z0-9]{24,}(?:\.[A-Za-z0-9]+)?"
)
# The look-ahead leaves prose alone: "basic authentication", "bearer token".
_SCHEME = re.compile(
    r"\b(bearer|basic)(\s+)(?=[\w.~+/-]*(?:[\d_=-]|[a-z](?-i:[A-Z])))[\w.~+/-]{6,}=*",
    re.ASCII | re.IGNORECASE,
)
# An address from its "@" on. The part before the "@" is looked for backwards.
_DOMAIN = re.compile(r"(?:@|%40)(?!\d+\.\d)(?:[\w-]+\.)+[^\W\d_]{2,}(?![\w-])")
_LOCAL = re.compile(r"[\w.+%-]*")
_LOCAL_LIMIT = 64
_LONG_NUMBER = re.compile("[0-9][0-9 -]{11}")
# After a trace id and a dash comes a span's id, as in `sentry-trace` and `traceparent`.
_CARD = re.compile(
    r"(?<![0-9A-Za-z])(?<![0-9]\.)(?<![0-9a-f]{32}-)(?:[2-6][0-9]{12,18}"
    r"|[2-6][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?"
    r"|3[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5})(?![0-9A-Za-z])"
)
# The lengths of card numbers, by their first digit.
_CARD_LENGTHS = {
    "2": (16,),
    "3": (14, 15, 16),
    "4": (13, 16, 19),
    "5": (16,),
    "6": (16, 17, 18, 19),
}
_DOUBLED = str.maketrans("0123456789", "0246813579")  # doubled, digits added up


def scrub_values(text: str) -> str:
    """Return the text with `FILTERED` for each such secret."""
    if len(text) > TEXT_LIMIT:
        text = f"{text[:TEXT_LIMIT]}{FILTERED}"
    if " " in text:
        if "-----BEGIN" in text:
            text = _PEM.sub(FILTERED, text)
        if "earer" in text or "asic" in text or "BEARER" in text or "BASIC" in text:
            text = _SCHEME.sub(rf"\1\2{FILTERED}", text)
    if "@" in text and "://" in text:
        text = _USERINFO.sub(f"://{FILTERED}", text)
    if "." in text:
        text = _scrub_dotted(text)
    if "sntry" in text:
        text = _SENTRY_TOKEN.sub(FILTERED, text)
    if len(text) > 12 and _LONG_NUMBER.search(text):
        text = _CARD.sub(_filtered_card, text)
    return text


def _scrub_dotted(text: str) -> str:
    if "eyJ" in text or "hv" in text:
        text = _TOKEN.sub(FILTERED, text)
    if len(text) > 25 and ("s." in text or "b." in text or "r." in text):
        text = _SHORT_TOKEN.sub(FILTERED, text)
    if "@" in text or "%40" in text:
        text = _scrub_emails(text)
    return text


def _scrub_emails(text: str) -> str:
    parts: list[str] = []
    done = 0
    for domain in _DOMAIN.finditer(text):
        begin = domain.start()
        local = _LOCAL.match(text[max(done, begin - _LOCAL_LIMIT) : begin][::-1])
        if local and local[0]:
            parts += text[done : begin - len(local[0])], FILTERED
            done = domain.end()
    return "".join((*parts, text[done:])) if parts else text


def is_card(digits: str) -> bool:
    """Whether the digits are a card number, by first digit, length and Luhn's sum."""
    if len(digits) not in _CARD_LENGTHS.get(digits[:1], ()):
        return False
    even = digits[-2::-2].translate(_DOUBLED)
    return sum(map(int, digits[-1::-2] + even)) % 10 == 0


def _filtered_card(card: re.Match[str]) -> str:
    digits = card[0].replace(" ", "").replace("-", "")
    return FILTERED if is_card(digits) else card[0]
