"""Has operators' requests carried out by the loop, each once, and answers them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from agent.call import answer_seconds
from agent.errors import AgentError
from agent.operator import check_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from agent.domain.outcome import Outcome

    Done = Outcome | dict[str, Any]
    CarryOut = Callable[[dict[str, Any]], Done]
    Refresh = Callable[[dict[str, Any], Future[Outcome]], None]

REMEMBERED = 100
"""The number of requests that are known by their id."""


class Serving:
    """Answers requests.

    Args:
        post: has the loop's thread run a call.
        carry_out: carries a request out, in the loop's thread.
        refresh: starts a pass that answers the Future, in the loop's thread.
        pass_seconds: the time limit of a pass.

    """

    def __init__(
        self,
        post: Callable[[Callable[[], object]], None],
        carry_out: CarryOut,
        refresh: Refresh,
        pass_seconds: float,
    ) -> None:
        self._post = post
        self._carry_out = carry_out
        self._refresh = refresh
        self._pass_seconds = pass_seconds
        self._asked: dict[str, Future[Any]] = {}

    def ask(self, request: dict[str, Any]) -> Done:
        """Have a request carried out, and return what it came to. Any thread may call this.

        Raises `AgentError` if the answer is no, or the request is not understood. A request
        whose `request_id` was seen before is not carried out again: it gets the answer of
        the first one.
        """
        from concurrent.futures import Future  # noqa: PLC0415 - not at the start

        check_request(request)
        answer: Future[Done] = Future()
        self._post(partial(self._serve, request, answer))
        seconds = answer_seconds(request, self._pass_seconds)
        try:
            return answer.result(seconds)
        except TimeoutError:
            later = "the agent continues; resentry-agent status shows the result later"
            raise AgentError(
                f"{request['command']} got no answer within {seconds:g} s: the source "
                "or the volume hangs",
                "nothing was changed: try again" if answer.cancel() else later,
            ) from None

    def _serve(self, request: dict[str, Any], answer: Future[Any]) -> None:
        if not answer.set_running_or_notify_cancel():
            return  # the operator was told that nothing was changed
        name = request.get("request_id")
        if name is not None and name in self._asked:
            self._asked[name].add_done_callback(partial(_copy, answer))
            return
        if name is not None:
            self._asked[str(name)] = answer
            for old in list(self._asked)[:-REMEMBERED]:
                del self._asked[old]
        try:
            if request["command"] == "refresh":
                self._refresh(request, answer)
            else:
                answer.set_result(self._carry_out(request))
        except Exception as error:  # noqa: BLE001 - the caller's thread raises it
            answer.set_exception(error)


def _copy(answer: Future[Any], first: Future[Any]) -> None:
    error = first.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(first.result())
