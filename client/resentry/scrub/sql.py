"""Scrubs SQL: code and schema stay, and a literal that belongs to a secret's column goes.

Pure functions, linear in time. Standard library only.
"""

from __future__ import annotations

import re

from resentry.scrub.text import is_sensitive, needs_no_filter, scrub_source, scrub_text
from resentry.scrub.values import FILTERED, TEXT_LIMIT

# Strict, because a text may only begin like SQL ("Update token: ...").
_STATEMENT = re.compile(
    r"""[\s(]*(?:/\*[^*]*\*/\s*)?(?:
        SELECT\s(?:.*\s)?FROM\s
      | INSERT\s+(?:OR\s+\w+\s+|IGNORE\s+)?INTO\s | REPLACE\s+INTO\s | MERGE\s+INTO\s
      | UPDATE\s+(?:ONLY\s+)?\S+\s+(?:(?:AS\s+)?\w+\s+)?SET\s
      | DELETE\s+FROM\s
      | WITH\s+(?:RECURSIVE\s+)?[\w"`]+\s*(?:\([^()]*\)\s*)?AS\s+(?:NOT\s+)?
        (?:MATERIALIZED\s+)?\(
      | (?:CREATE|ALTER)\s+(?:USER|ROLE|TABLE|VIEW|FUNCTION)\s
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL | re.ASCII,
)
_TOKEN = re.compile(
    r"""
    (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
  | (?P<bind>%s|%\(\w*\)s|[?$]\d+|[:@]\w+|::\s*\w+)
  | (?P<prefix>\b[A-Za-z]{1,2}&?)?(?P<text>'(?:[^'\\]|\\.|'')*'?)
  | (?P<quoted>\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z))
  | (?P<name>(?:[A-Za-z_]\w*|"[^"]*"|`[^`]*`|\[[A-Za-z_]\w*\])
        (?:\.(?:\w+|"[^"]*"|`[^`]*`|\[\w+\]))*)
  | (?P<number>[0-9][\w.]*)
  | (?P<mark>[(),;=<>\[\]])
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
# Words after which another column follows.
_CLAUSES = {
    *("and", "or", "where", "set", "from", "join", "on", "using", "having", "when"),
    *("then", "else", "end", "as", "order", "group", "limit", "offset", "returning"),
    *("union", "for", "fetch", "window", "default", "references"),
}
# A statement without one of these is only code.
_LITERAL = re.compile(
    r"""['$]|[=<>(,]\s*[0-9]|\b(?:between|and|like)\s+[0-9]|\bvalues\s*\([^)]{0,300}\"""",
    re.IGNORECASE,
)
_COMPARING = {"like", "ilike", "in", "between", "values"}


def is_sql(text: str) -> bool:
    """Whether a text has the form of one SQL statement."""
    return _STATEMENT.match(text[:TEXT_LIMIT]) is not None


def scrub_sql(text: str) -> str:
    """Return a SQL statement without its secrets.

    A literal is a secret if it is compared with, or written to, a column with a secret's
    name. In an INSERT with such a column every literal is a secret.
    """
    if text in _known:
        return text
    new = scrub_source(text)
    if _LITERAL.search(new):
        is_meant = any(map(is_sensitive, _NAME.findall(new)))
        return _Scan().scrub(new) if is_meant else new
    if new is text and len(text) < 1000 and len(_known) < 1000:
        _known.add(text)
    return new


_known: set[str] = set()
"""Statements that are only code. An application has few of them, and sends them often."""


class _Scan:
    """Goes once through a statement, from its first word to the last."""

    def __init__(self) -> None:
        self._depth = 0
        self._column = ""  # the secret's column to which the next literal belongs
        self._of_depth = 0
        self._is_compared = False
        self._columns = ""  # the last of them in the statement
        self._is_all = False

    def scrub(self, text: str) -> str:
        """Return the text with `FILTERED` in place of every secret."""
        return _TOKEN.sub(self._token, text)

    def _token(self, match: re.Match[str]) -> str:
        token, kind = match[0], match.lastgroup
        if kind == "name":
            if self._is_all and token[0] == '"':  # MySQL's other way to quote a text
                return f'"{FILTERED}"'
            self._name(token.rpartition(".")[2].strip('"`[]'))
        elif kind == "mark":
            self._mark(token)
        elif kind == "comment":
            return scrub_text(token)
        elif kind == "text":
            return self._text(match["prefix"] or "", match["text"])
        elif kind == "quoted":
            hide = self._column or self._is_all
            return f"$${FILTERED}$$" if hide else scrub_text(token)
        elif kind == "number" and self._is_compared:
            column = self._columns if self._is_all else self._column
            return FILTERED if column and not needs_no_filter(column, token) else token
        return token

    def _name(self, name: str) -> None:
        word = name.lower()
        if word in _COMPARING:
            self._is_compared = True
            self._is_all = self._is_all or (word == "values" and bool(self._columns))
        elif word in _CLAUSES:
            self._column, self._is_compared = "", self._is_all
        elif is_sensitive(name):
            self._column = self._columns = name
            self._of_depth, self._is_compared = self._depth, self._is_all

    def _mark(self, mark: str) -> None:
        if mark in "([":
            self._depth += 1
        elif mark in ")]":
            self._depth -= 1
            self._of_depth = min(self._of_depth, self._depth)
        elif mark in "=<>":
            self._is_compared = True
        elif self._depth <= self._of_depth:
            self._column, self._is_compared = "", self._is_all

    def _text(self, prefix: str, text: str) -> str:
        end = "'" if len(text) > 1 and text[-1] == "'" else ""
        inner = text[1 : len(text) - len(end)]
        hide = (self._column or self._is_all) and inner.strip()
        return f"{prefix}'{FILTERED if hide else scrub_text(inner)}{end}"
