"""Finds secrets by the name before them: a key, or `key=value` within a text.

`classify` judges a key. `scrub_text` and `scrub_source` take the secrets out of a text.
All functions are pure and linear in time. Standard library only.
"""

from __future__ import annotations

import functools
import re

from resentry.scrub.values import FILTERED, TEXT_LIMIT, is_card, scrub_values

# Looked for anywhere in a key, in lower case and without separators.
_PARTS = re.compile(
    "passw|passphrase|passcode|pwd|secret|token|credential|authori[sz]|oauth|bearer"
    "|cookie|session|csrf|xsrf|jwt|saml|signature|apikey|accesskey|privatekey|authkey"
    "|signingkey|encryptionkey|masterkey|sshkey|accountkey|sentrykey"
    "|(?:re[sz]et|auth|verification|recovery|invite|backup|onetime)code"
    "|email|phone|username|firstname|lastname|fullname|surname|birth|passport|snils"
    "|(?:credit|debit|bank)card|card(?:no|num)|taxid|socialsecurity"
    "|(?:street|home|postal|billing|shipping|mailing)addr"
    "|forwarded|(?:remote|real|client|connecting)ip|(?:ip|remote|client)addr|remoteuser"
)
# Whole words of a key. Inside other words they would be found too often (pin: shipping).
_WORDS = {
    *("auth", "pass", "pw", "creds", "otp", "totp", "mfa", "pin", "cvv", "cvc", "sid"),
    *("ssn", "sso", "sig", "salt", "dsn", "dob", "iban"),
}
_WORD = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NEITHER = re.compile("[^a-z0-9]+")

_known: dict[str, bool] = {}
_KNOWN_LIMIT = 4096

cached_verdict = _known.get
"""Whether a key is sensitive; None if the key was not classified or must be scrubbed."""


def classify(key: str) -> tuple[bool, str]:
    """Return whether the value of `key` is sensitive, and how the key may be shown."""
    joined = _NEITHER.sub("", key.lower())
    answer = bool(_PARTS.search(joined)) or not _WORDS.isdisjoint(
        word.lower() for word in _WORD.findall(key)
    )
    name = scrub_text(key)
    if name is key and len(key) < 100 and len(_known) < _KNOWN_LIMIT:
        _known[key] = answer
    return answer, name


def is_sensitive(key: str) -> bool:
    """Whether the value of `key` is sensitive."""
    verdict = cached_verdict(key)
    return classify(key)[0] if verdict is None else verdict


def needs_no_filter(key: str, value: object) -> bool:
    """Whether the value of a sensitive key is harmless: empty, or a count of tokens."""
    if isinstance(value, str):
        if value in _ABSENT:
            return True
        is_number = value.isdigit()
    elif value is None or isinstance(value, bool):
        return True
    elif isinstance(value, dict | list | tuple | set | frozenset):
        return not value
    else:
        is_number = isinstance(value, int | float)
    return is_number and _COUNT.search(key.lower()) is not None


_COUNT = re.compile("tokens|token_?count|first_?token")
_ABSENT = {
    *("", "''", '""', "[]", "{}", "()"),
    *("None", "True", "False", "null", "true", "false"),
}
# Placeholders of SQL, logging and str.format, without quotes; also with a cast.
_PLACEHOLDER = re.compile(
    r"(?:%s|\?\d*|\$\d+|:[A-Za-z]\w*|:\d{1,3}|@[pP]\d+|\{\w*\}|\*+)(?:::\w+)?\Z",
    re.ASCII,
)
_COLUMN = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+\Z", re.ASCII)
_SQL = re.compile(r"\b(?:SELECT|JOIN|WHERE|UPDATE|INSERT INTO|DELETE FROM)\b")

_TUPLE = re.compile(
    r"""(\(b?(["'])([\w.-]+)\2, ?b?(["']))(?:[^'"\\]|\\.)*(?=\4\))""", re.ASCII
)

# A pair is looked for in the reversed text, from its separator to its key. Forwards, every
# word would have to be tried as a key, which takes five times as long.
_PAIR = re.compile(
    r"""(?:>=|><|==?[:!]?=?|:|D3%|A3%|d3%|a3%)\s{0,4}
        (?:["'`\]]\\{0,3}|[Dd]5%)?([\w.-]{2,100})""",
    re.ASCII | re.VERBOSE,
)
# Nothing follows the repetitions, so they never backtrack.
_LITERAL = r"""[bBrRuUfFnNeE]{0,2}"(?P<double>(?:[^"\\]+|\\.)*)
      | [bBrRuUfFnNeE]{0,2}'(?P<single>(?:[^'\\]+|\\.|'')*)"""
_VALUE = re.compile(
    r"""\s{0,4}(?:
        """
    + _LITERAL
    + r"""
      | (?P<quote>\\+["'])(?P<escaped>.*?)(?=(?P=quote)|\Z)
      | (?P<bind>%\(\w+\)s)
      | (?P<group>[\[({][^\])}]*[\])}]?|<[^<>\n]{1,200}>
          |[\w.]+\((?:[^"')\\]|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?)*\)?)
      | (?P<bare>(?:(?i:bearer|basic|digest|token|apikey|negotiate)[ ]+)?
          (?:\[Filtered\]|[^\s&;,%"'>)\]}\\]+|%(?!26)|\\(?![nrt"'])
          |,(?![\s"']|[\w.-]+[=:]|\Z))+)
    )""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_HEADER = re.compile(r"\s{0,4}(?P<bare>(?:[^\r\n\"'}\\]|\\(?![nrt\"']))+)")
_WHOLE_LINE = re.compile("authori[sz]ation|cookie")
# In source a type may stand before the literal: `pin: str | None = "1234"`.
_SOURCE_VALUE = re.compile(
    r"(?:[ ]?[\w.]+(?:\[[\w., ]*\])?(?:[ ]\|[ ][\w.]+)*[ ]=(?!=))?\s{0,4}(?:"
    rf"{_LITERAL})",
    re.VERBOSE | re.ASCII | re.DOTALL,
)


def scrub_text(text: str) -> str:
    """Return the text with `FILTERED` for each secret; the same object without secrets."""
    size = len(text)
    if size < 5:
        return text
    if text.isascii() and text.isalnum() and size <= TEXT_LIMIT:
        # Most texts are names and ids. Any other secret has other characters, too.
        return FILTERED if text.isdigit() and is_card(text) else text
    if size > 12 or "@" in text or "%" in text:  # no other secret is this short
        text = scrub_values(text)
    if "=" in text or ":" in text or "%3" in text or "<>" in text:
        text = _scrub_pairs(text)
    if "(b'" in text or "('" in text:
        text = _TUPLE.sub(_filtered_pair, text)
    return text


def scrub_source(text: str) -> str:
    """Return source code without secrets. A pair counts only if its value is a literal."""
    text = scrub_values(text)
    return _scrub_pairs(text, literals=True)


def scrub_frame(text: str) -> str:
    """Like `scrub_source`, with a cache, because the lines of a frame do not change."""
    return _of_frame(text) if len(text) < _FRAME_LIMIT else scrub_source(text)


_FRAME_LIMIT = 2000
_of_frame = functools.lru_cache(512)(scrub_source)


def names_secret(text: str) -> bool:
    """Whether a template, such as `password=%s`, says that its parameter is a secret."""
    return any(map(_is_sensitive_reversed, _PAIR.findall(text[:TEXT_LIMIT][::-1])))


def _filtered_pair(pair: re.Match[str]) -> str:
    return pair[1] + FILTERED if is_sensitive(pair[3]) else pair[0]


@functools.lru_cache(4096)
def _is_sensitive_reversed(key: str) -> bool:
    return is_sensitive(key[::-1])


def _scrub_pairs(text: str, *, literals: bool = False) -> str:
    """Filter the values of sensitive keys: `key=value`, JSON, headers, queries, SQL."""
    # Where the value starts, and its key, from the last pair to the first.
    pairs = [
        (len(text) - pair.start(), pair[1])
        for pair in _PAIR.finditer(text[::-1])
        if _is_sensitive_reversed(pair[1])
    ]
    if not pairs:
        return text
    is_sql = _SQL.search(text) is not None
    parts: list[str] = []
    done = 0
    for start, reversed_key in reversed(pairs):
        if start < done:  # within the value of another pair
            continue
        key = reversed_key[::-1]
        is_header = text[start - 1] == ":" and _WHOLE_LINE.search(key.lower())
        pattern = _SOURCE_VALUE if literals else _HEADER if is_header else _VALUE
        value = pattern.match(text, start)
        if value is None or _is_harmless(key, value):
            continue
        if is_sql and text[start - 1] == "=" and _is_column(key, value):
            continue
        begin, end = value.span(value.lastgroup or 0)
        parts += text[done:begin], FILTERED
        done = end
    return "".join((*parts, text[done:])) if parts else text


def _is_harmless(key: str, value: re.Match[str]) -> bool:
    """Whether the value of a pair is not a secret: absent, a count, a placeholder."""
    kind, secret = value.lastgroup, value[value.lastgroup or 0]
    if kind == "bind" or needs_no_filter(key, secret) or secret == FILTERED:
        return True
    if kind == "double":
        return value.string.startswith('"."', value.end(kind))  # "table"."column"
    return kind in _LOOSE and _PLACEHOLDER.match(secret) is not None


def _is_column(key: str, value: re.Match[str]) -> bool:
    """Whether both sides are columns, as in a join: `a.session_id = b.session_id`."""
    secret = value[value.lastgroup or 0]
    same = secret.rpartition(".")[2] == key.rpartition(".")[2]
    is_code = value.lastgroup == "bare" and (same or "." in key)
    return is_code and _COLUMN.match(secret) is not None


_LOOSE = ("bare", "group")
