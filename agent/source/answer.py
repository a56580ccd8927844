"""One answer of a server: status, headers, and as much of the body as is needed.

requests has such a class, too, but each of its objects brings a jar for cookies, and more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import requests

from agent.source.bounds import ANSWER_LIMIT_BYTES, BoundedAdapter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from urllib3 import BaseHTTPResponse

CHUNK_BYTES = 65536
_BODY_LIMITS = {200: ANSWER_LIMIT_BYTES, 400: 64 * 1024, 404: 64 * 1024}
"""How much of a body is read. The status alone says what most answers mean."""
_REDIRECTS = (301, 302, 303, 307, 308)


class TooLargeError(requests.RequestException):
    """The answer is larger than `ANSWER_LIMIT_BYTES`."""


class Answer(NamedTuple):
    """What hvac and `api` use of an answer."""

    status_code: int
    headers: Mapping[str, str]
    """The names count in any case."""
    content: bytes
    ok: bool = True
    """So hvac raises no error of its own."""

    @property
    def is_redirect(self) -> bool:
        """Whether the server names another address."""
        return self.status_code in _REDIRECTS and "Location" in self.headers


class AnswerAdapter(BoundedAdapter):
    """Returns the answers of urllib3 as they are, for `read`."""

    def build_response(self, _request: Any, answer: Any) -> Any:
        """Return the answer, whose body is not read yet."""
        return answer


def read(answer: BaseHTTPResponse) -> Answer:
    """Read the body, and leave the connection to the next request if all of it is read.

    Raises `TooLargeError`, or an error of urllib3.
    """
    status, body, is_whole = answer.status, bytearray(), False
    limit = _BODY_LIMITS.get(status, 0)
    try:
        for chunk in answer.stream(CHUNK_BYTES, decode_content=True) if limit else ():
            body += chunk
            if len(body) > limit:
                break
        else:
            is_whole = limit > 0
    finally:
        if not is_whole:
            answer.close()
        answer.release_conn()
    if status == 200 and not is_whole:
        raise TooLargeError
    return Answer(status, answer.headers, bytes(body))
