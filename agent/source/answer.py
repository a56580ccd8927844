"""Requests and answers with Vault, as http.client has them.

urllib3 and requests connect, and say what fails. But both take an answer apart once more:
their headers, their readers, a jar for cookies. A poll would pay for that each time.
"""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import requests
from urllib3 import HTTPResponse
from urllib3.exceptions import ReadTimeoutError

from agent.source.bounds import (
    ANSWER_LIMIT_BYTES,
    BoundedAdapter,
    PlainConnection,
    Response,
    TlsConnection,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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


class _Response(Response):
    """An answer whose body is not read yet. The pool of urllib3 sets what it needs."""

    version_string = ""
    length_remaining = None
    _connection: Any
    _pool: Any

    def leave(self, *, is_whole: bool) -> None:
        """Leave the connection to the next request. What is not read ends it."""
        connection, pool = self._connection, self._pool
        # The connection remembers this answer: a circle would keep both open.
        self._connection = self._pool = None
        if not is_whole:
            connection.close()
        self.close()
        pool._put_conn(connection)  # noqa: SLF001 - as the response of urllib3

    def timed_out(self) -> ReadTimeoutError:
        """Return the error for a body that does not come."""
        return ReadTimeoutError(self._pool, "", "Read timed out.")


class _Exchange:
    """Mixed into connections: sends and receives without what urllib3 adds."""

    response_class: Any = _Response
    putheader = http.client.HTTPConnection.putheader
    sock: Any
    timeout: Any

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        *,
        chunked: bool = False,
        **_given: object,
    ) -> None:
        """Send a request."""
        if self.sock is not None:
            self.sock.settimeout(self.timeout)
        made: Any = self
        http.client.HTTPConnection.request(
            made, method, url, body, headers or {}, encode_chunked=chunked
        )

    def getresponse(self) -> Any:
        """Return the answer, whose body is not read yet."""
        made: Any = self
        return http.client.HTTPConnection.getresponse(made)


class _Plain(_Exchange, PlainConnection):
    """To an address with http."""


class _Tls(_Exchange, TlsConnection):
    """To an address with https."""


class AnswerAdapter(BoundedAdapter):
    """Returns answers for `read`."""

    connections: ClassVar[Mapping[str, Callable[..., Any]]] = {
        "http": _Plain,
        "https": _Tls,
    }

    def build_response(self, _request: Any, answer: Any) -> Any:
        """Return the answer as it is."""
        return answer


def read(answer: _Response) -> Answer:
    """Read the body. The connection is left to the next request if all of it is read.

    Raises `TooLargeError`, an error of urllib3 or of http.client, or `OSError`.
    """
    status, body, is_whole = answer.status, bytearray(), False
    limit = _BODY_LIMITS.get(status, 0)
    try:
        for chunk in _chunks(answer) if limit else ():
            body += chunk
            if len(body) > limit:
                break
        else:
            is_whole = limit > 0
    except TimeoutError as error:
        raise answer.timed_out() from error
    finally:
        answer.leave(is_whole=is_whole)
    if status == 200 and not is_whole:
        raise TooLargeError
    return Answer(status, answer.headers, bytes(body))  # type: ignore[arg-type]


def _chunks(answer: _Response) -> Iterator[bytes]:
    lengths = ",".join(answer.headers.get_all("Content-Length", ())).split(",")
    if len(set(map(str.strip, lengths))) > 1:  # http.client takes the first
        raise http.client.HTTPException("lengths that differ")
    if "Content-Encoding" in answer.headers:  # although we ask for none
        yield from HTTPResponse(
            body=answer,
            headers=dict(answer.headers),
            status=answer.status,
            preload_content=False,
        ).stream(CHUNK_BYTES, decode_content=True)
        return
    while chunk := answer.read(CHUNK_BYTES):
        yield chunk
    if answer.length:  # http.client says so only of chunked answers
        raise http.client.IncompleteRead(b"", answer.length)
