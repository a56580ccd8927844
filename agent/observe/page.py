"""The page for people: one HTML file that needs nothing else.

It reads `status` and `findings` beside it, and changes nothing. Its own style and script
run by their hashes. A browser runs and loads nothing else of it, whatever a text holds.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re

PAGE = os.path.join(os.path.dirname(__file__), "page.html")
TYPE = "text/html; charset=utf-8"
_INLINE = r"<{0}>(.*?)</{0}>"


def read() -> tuple[bytes, str]:
    """Return the page, and the content security policy that fits it."""
    with open(PAGE, encoding="utf-8", newline="") as file:
        text = file.read()
    policy = (
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        f"script-src {_hash(text, 'script')}",
        f"style-src {_hash(text, 'style')}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
    return text.encode(), "; ".join(policy)


def _hash(text: str, tag: str) -> str:
    (content,) = re.findall(_INLINE.format(tag), text, re.DOTALL)
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
