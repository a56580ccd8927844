"""The parts of an event that are not scrubbed like any other value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resentry.scrub.text import (
    is_plain,
    is_sensitive,
    known,
    names_secret,
    rule,
    scrub_source,
)
from resentry.scrub.values import FILTERED
from resentry.scrub.walk import Walk, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Item = dict[str, Any]

SDKS_OWN = {
    *("_meta", "dist", "environment", "event_id", "level", "measurements", "modules"),
    *("platform", "release", "sdk", "server_name", "start_timestamp", "timestamp"),
    *("transaction_info", "type"),
}
"""Parts without values of the application; `modules` has package names as its keys."""

_CODE = {
    *("filename", "abs_path", "function", "module", "package", "lineno", "colno"),
    *("in_app", "platform", "pre_context", "context_line", "post_context"),
}
"""What a frame says of the code alone."""


class Parts(Walk):
    """One way through one part of an event, by the part's name."""

    __slots__ = ()

    def named(self, key: str, part: Any) -> Any:
        """A part like any other: its name counts as a key."""
        hide = known(key)
        if hide or (hide is None and is_sensitive(text_of(key))):
            return part if is_plain(key, part) else FILTERED
        return self.value(part)

    def mapping(self, _key: str, part: Any) -> Item:
        """A part that the SDK, or Sentry, wants to be an object."""
        out = self.value(part)
        return out if isinstance(out, dict) else {}

    def user(self, key: str, user: Any) -> Item:
        """An address goes altogether (`{{auto}}` asks Sentry for it); the id stays."""
        out = dict(self.mapping(key, user))
        out.pop("ip_address", None)
        if "name" in out:
            out["name"] = FILTERED
        return out

    def request(self, key: str, request: Any) -> Item:
        """The names of cookies stay."""
        out = dict(self.mapping(key, request))
        if isinstance(out.get("cookies"), str) and isinstance(request["cookies"], dict):
            out["cookies"] = dict.fromkeys(request["cookies"], FILTERED)
        return out

    def contexts(self, _key: str, contexts: Any) -> Item:
        """Each stays an object; what the SDK takes out of `trace` again is left."""
        out = {}
        for name, context in contexts.items():
            hide, shown = rule(text_of(name))
            inner = self.mapping(shown, context)
            out[shown] = dict.fromkeys(inner, FILTERED) if hide else inner
        trace, sampling = contexts.get("trace"), "dynamic_sampling_context"
        if isinstance(trace, dict) and sampling in trace:
            out["trace"] = {**out["trace"], sampling: trace[sampling]}
        return out

    def logentry(self, key: str, entry: Any) -> Item:
        """What a template like `password=%s` is filled with has no key of its own."""
        out = self.mapping(key, entry)
        if isinstance(entry.get("message"), str) and names_secret(entry["message"]):
            return {**out, "params": FILTERED} if "params" in out else out
        return out

    def attributes(self, key: str, attributes: Any) -> Item:
        """As `logentry`, where each parameter is an attribute."""
        out = self.mapping(key, attributes)
        template = attributes.get("sentry.message.template")
        if isinstance(template, str) and names_secret(template):
            prefix = "sentry.message.parameter."
            return {k: FILTERED if k.startswith(prefix) else v for k, v in out.items()}
        return out

    def stacks(self, _key: str, part: Any) -> Any:
        """Exceptions or threads: an object with `values`, or a list."""
        if isinstance(part, list):
            return [self._stack(one) for one in part]
        rest = dict(part)
        values = self.stacks("", rest.pop("values", []))
        return {**(rest and self.mapping("", rest)), "values": values}

    def _stack(self, one: Any) -> Any:
        rest = dict(one)
        traces = {
            key: self.stacktrace(key, rest.pop(key))
            for key in ("stacktrace", "raw_stacktrace")
            if rest.get(key)
        }
        return {**self.mapping("", rest), **traces}

    def stacktrace(self, _key: str, trace: Any) -> Item:
        """What names code, in a frame, is left."""
        rest = dict(trace)
        frames = [self._frame(frame) for frame in rest.pop("frames", None) or []]
        return {**(rest and self.mapping("", rest)), "frames": frames}

    def _frame(self, frame: Item) -> Item:
        out = _scrub_lines(frame)
        for key, value in frame.items():
            if key not in _CODE:
                new = self.mapping(key, value) if key == "vars" else self.value(value)
                if new is not value:
                    out = {**out, key: new}
        return out


def _scrub_lines(frame: Item) -> Item:
    """Scrub a frame's source as one text: a key may stand on several lines."""
    if not frame.get("context_line"):
        return frame
    before, line = frame.get("pre_context") or [], frame["context_line"]
    lines = [*before, line, *(frame.get("post_context") or [])]
    text = "\n".join(lines)
    new = scrub_source(text)
    if new == text:
        return frame
    scrubbed = new.split("\n")
    if len(scrubbed) != len(lines):
        scrubbed = [FILTERED] * len(lines)
    at = len(before)
    return {
        **frame,
        "pre_context": scrubbed[:at],
        "context_line": scrubbed[at],
        "post_context": scrubbed[at + 1 :],
    }


PARTS: Mapping[str, Callable[[Parts, str, Any], Any]] = {
    "user": Parts.user,
    "request": Parts.request,
    "contexts": Parts.contexts,
    "logentry": Parts.logentry,
    "exception": Parts.stacks,
    "threads": Parts.stacks,
    "stacktrace": Parts.stacktrace,
}
