"""The parts of an item that need their own way of scrubbing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resentry.scrub.own import (
    is_number,
    is_release,
    is_span_id,
    is_thread_id,
    scrub_code,
    scrub_slug,
)
from resentry.scrub.text import (
    cached_verdict,
    is_sensitive,
    names_secret,
    needs_no_filter,
    scrub_frame,
)
from resentry.scrub.values import FILTERED
from resentry.scrub.walk import Walk, judged, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resentry.scrub.walk import Own

Item = dict[str, Any]

SDKS_OWN = {
    *("dist", "environment", "modules", "release", "sdk", "server_name"),
    *("start_timestamp", "timestamp"),
}
"""Parts that hold no values of the application."""

_CODE = {
    *("filename", "abs_path", "function", "module", "package", "lineno", "colno"),
    *("in_app", "platform", "pre_context", "context_line", "post_context"),
}
"""The keys of a frame that describe only code."""


_TAKEN_OUT = {"": {"rem": [["!config", "s"]]}}
"""The note that the SDK's own scrubber leaves."""


class Parts(Walk):
    """Scrubs one part of an item. The part's name chooses the method."""

    __slots__ = ()

    def named(self, key: str, part: Any) -> Any:
        """Scrub a part whose name counts as a key."""
        hide = cached_verdict(key)
        if hide or (hide is None and is_sensitive(text_of(key))):
            return part if needs_no_filter(key, part) else FILTERED
        return self.value(part)

    def mapping(self, _key: str, part: Any, own: Own | None = None) -> Item:
        """Scrub a part that the SDK or Sentry expects to be an object."""
        if own and type(part) is dict:
            return self.object(part, own)
        out = self.value(part)
        return out if isinstance(out, dict) else {}

    # What the SDK itself makes

    def span_id(self, _key: str, value: Any) -> Any:
        """Keep a span's id: one in 32,000 looks like a card number."""
        return value if is_span_id(value) else self.value(value)

    def thread_id(self, _key: str, value: Any) -> Any:
        """Keep a thread's number: on some platforms it looks like a card number."""
        return value if is_thread_id(value) else self.value(value)

    def user_id(self, _key: str, value: Any) -> Any:
        """Keep a user's id if the id is a number."""
        return value if is_number(value) else self.value(value)

    def code(self, _key: str, value: Any) -> Any:
        """Scrub the name of a route or a task, or a statement of SQL."""
        return scrub_code(value) if type(value) is str else self.value(value)

    def slug(self, _key: str, value: Any) -> Any:
        """Scrub the name of a monitor."""
        return scrub_slug(value) if type(value) is str else self.value(value)

    def release(self, _key: str, value: Any) -> Any:
        """Keep a release, which looks like an e-mail address."""
        if type(value) is str and is_release(value):
            return value
        return self.value(value)

    def sampling(self, _key: str, context: Any) -> Any:
        """Scrub the sampling context, which the SDK moves to the envelope's header."""
        name = context.get("transaction") if isinstance(context, dict) else None
        return {**context, "transaction": self.code("", name)} if name else context

    def number(self, _key: str, value: Any) -> Any:
        """Keep a figure, whatever it looks like."""
        return value if type(value) in (int, float) else self.value(value)

    def measurements(self, _key: str, part: Any) -> Any:
        """Keep the figures of measurements, whose names may be `session.duration`."""
        if type(part) is not dict:
            return self.value(part)
        return {
            judged(name)[1]: self.mapping("", entry, _MEASUREMENT)
            for name, entry in part.items()
        }

    def meta(self, _key: str, part: Any) -> Any:
        """Scrub the SDK's notes about values that it cut: their keys may hold secrets."""
        if type(part) is not dict:
            return self.value(part)
        return {
            judged(key)[1]: note if note == _TAKEN_OUT else self._meta(key, note)
            for key, note in part.items()
        }

    def _meta(self, key: str, note: Any) -> Any:
        return self.meta(key, note) if key else self.value(note)

    # What the application fills

    def user(self, key: str, user: Any) -> Item:
        """Scrub a user. The id stays; the address goes, as `{{auto}}` would ask for one."""
        out = dict(self.mapping(key, user, _USER))
        out.pop("ip_address", None)
        if "name" in out:
            out["name"] = FILTERED
        return out

    def request(self, key: str, request: Any) -> Item:
        """Scrub a request. The names of cookies stay."""
        out = dict(self.mapping(key, request))
        if isinstance(out.get("cookies"), str) and isinstance(request["cookies"], dict):
            out["cookies"] = dict.fromkeys(request["cookies"], FILTERED)
        return out

    def contexts(self, _key: str, contexts: Any) -> Item:
        """Scrub the contexts. Each context stays an object."""
        out = {}
        for name, context in contexts.items():
            hide, shown = judged(name)
            inner = self.mapping(shown, context, _CONTEXTS.get(name))
            out[shown] = dict.fromkeys(inner, FILTERED) if hide else inner
        return out

    def logentry(self, key: str, entry: Any) -> Item:
        """Scrub a log entry. The parameters of `password=%s` have no key of their own."""
        out = self.mapping(key, entry)
        if isinstance(entry.get("message"), str) and names_secret(entry["message"]):
            return {**out, "params": FILTERED} if "params" in out else out
        return out

    def attributes(self, key: str, attributes: Any) -> Item:
        """Scrub attributes. Each parameter of a log entry is an attribute here."""
        out = self.mapping(key, attributes, _ATTRIBUTES)
        template = out.get("sentry.message.template")
        if isinstance(template, str) and names_secret(template):
            prefix = "sentry.message.parameter."
            return {k: FILTERED if k.startswith(prefix) else v for k, v in out.items()}
        return out

    def fingerprint(self, _key: str, part: Any) -> Any:
        """Scrub a fingerprint. Two words are not a key and its value here."""
        if type(part) is not list or len(part) > self.left:
            return self.value(part)
        return [self.value(word) for word in part]

    def spans(self, _key: str, part: Any) -> Any:
        """Scrub the spans of a transaction."""
        return self._each(part, lambda span: self.mapping("", span, _SPAN))

    def breadcrumbs(self, _key: str, part: Any) -> Any:
        """Scrub breadcrumbs. The message of a query is SQL."""
        return self._each(part, self._breadcrumb)

    def _breadcrumb(self, crumb: Any) -> Any:
        is_query = type(crumb) is dict and crumb.get("category") == "query"
        return self.object(crumb, _QUERY) if is_query else self.value(crumb)

    def stacks(self, _key: str, part: Any) -> Any:
        """Scrub exceptions or threads."""
        return self._each(part, lambda stack: self.mapping("", stack, _STACK))

    def stacktrace(self, key: str, trace: Any) -> Any:
        """Scrub a stack trace. An exception without one has None here."""
        return self.mapping(key, trace, _TRACE) if trace else self.value(trace)

    def frames(self, _key: str, frames: Any) -> Any:
        """Scrub frames. What describes only code stays."""
        return [
            self._frame(frame) if type(frame) is dict else self.value(frame)
            for frame in frames or []
        ]

    def _frame(self, frame: Item) -> Item:
        out = _scrub_lines(frame)
        for key, value in frame.items():
            if key not in _CODE:
                new = self.mapping(key, value) if key == "vars" else self.value(value)
                if new is not value:
                    out = {**out, key: new}
        return out

    def _each(self, part: Any, scrub: Callable[[Any], Any]) -> Any:
        """Scrub a list of items, or an object with such a list as its `values`."""
        if type(part) is dict and "values" in part:
            return self.object(
                part, {"values": lambda _, __, it: self._each(it, scrub)}
            )
        if type(part) is not list or len(part) > self.left:
            return self.value(part)
        self.left -= len(part)
        return [scrub(item) for item in part]


def _scrub_lines(frame: Item) -> Item:
    """Scrub a frame's source lines as one text: a value may span several lines."""
    if not frame.get("context_line"):
        return frame
    before, line = frame.get("pre_context") or [], frame["context_line"]
    lines = [*before, line, *(frame.get("post_context") or [])]
    text = "\n".join(lines)
    new = scrub_frame(text)
    if new == text:
        return frame
    scrubbed = new.split("\n")
    if len(scrubbed) != len(lines):
        scrubbed = [FILTERED] * len(lines)
    index = len(before)
    return {
        **frame,
        "pre_context": scrubbed[:index],
        "context_line": scrubbed[index],
        "post_context": scrubbed[index + 1 :],
    }


_USER: Own = {"id": Parts.user_id}
_MEASUREMENT: Own = {"value": Parts.number}
_QUERY: Own = {"message": Parts.code}
_STACK: Own = {
    "id": Parts.thread_id,
    "thread_id": Parts.thread_id,
    "stacktrace": Parts.stacktrace,
    "raw_stacktrace": Parts.stacktrace,
}
_TRACE: Own = {"frames": Parts.frames}
_SPAN: Own = {
    "span_id": Parts.span_id,
    "parent_span_id": Parts.span_id,
    "description": Parts.code,
    "data": Parts.attributes,
    "measurements": Parts.measurements,
}
_CONTEXTS: Mapping[str, Own] = {
    "trace": {**_SPAN, "dynamic_sampling_context": Parts.sampling},
    "otel": {"attributes": Parts.attributes},
}
_ATTRIBUTES: Own = {
    "sentry.segment.id": Parts.span_id,
    "sentry.trace.parent_span_id": Parts.span_id,
    "sentry.segment.name": Parts.code,
    "sentry.release": Parts.release,
    "thread.id": Parts.thread_id,
    "user.id": Parts.user_id,
    "http.route": Parts.code,
    "db.query.text": Parts.code,
    "db.statement": Parts.code,
}

PARTS: Mapping[str, Callable[[Parts, str, Any], Any]] = {
    "_meta": Parts.meta,
    "breadcrumbs": Parts.breadcrumbs,
    "contexts": Parts.contexts,
    "exception": Parts.stacks,
    "fingerprint": Parts.fingerprint,
    "logentry": Parts.logentry,
    "measurements": Parts.measurements,
    "monitor_slug": Parts.slug,
    "request": Parts.request,
    "spans": Parts.spans,
    "stacktrace": Parts.stacktrace,
    "threads": Parts.stacks,
    "transaction": Parts.code,
    "user": Parts.user,
}
