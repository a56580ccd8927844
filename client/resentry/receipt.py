"""The receipt, as a target writes it. Import it from `resentry.contract`."""

from __future__ import annotations

import json
import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from resentry.answers import ANSWERS_LIMIT, Answer, is_answer, read_answers
from resentry.formats import ROLE
from resentry.sampled import is_share
from resentry.schema import SCHEMA, ContractError, plain, read_object
from resentry.snapshot import NAME_LIMIT, NAMED_LIMIT
from resentry.verification import (
    UNABLE,
    Verified,
    cut_verified,
    document_of,
    is_verified,
    read_verified,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RECEIPT_LIMIT_BYTES = 64 * 1024
ERROR_LIMIT = 1000
"""Characters of a receipt's error."""
TEXT_LIMIT = 200
"""Characters of every other text in a receipt."""
ENTRIES_LIMIT = 32
"""Entries of a receipt's tally, and of its origins."""
HOLDERS_LIMIT = 16


class Holder(NamedTuple):
    """A part of a process that still sends by an older DSN and cannot follow.

    `kind` is `client` for a client that the application made, `otlp` for an exporter.
    `dsn` is the fingerprint of that older DSN.
    """

    kind: str
    dsn: str


class Receipt(NamedTuple):
    """A target's proof of what runs in it.

    `phase` is `running` after a swap, and `drained` once nothing in the process sends by
    an older DSN. `refused` names a snapshot that could not be applied, and `error` says
    why; `revision` and `sequence` then still name the snapshot that runs. The thread
    `tid` takes `signal`. `dsn` is the fingerprint of the current client's DSN. `answers`
    are those of the servers to which this process sends. `ignored` names fields of the
    snapshot that this library does not know. `values` are those that run, by key, without
    the DSN. `problems` says what the application gave that cannot be used. `foreign` says
    that the application's own client runs instead of ours. `verified` is this process's
    part in the newest verification. `decided` is how many traces were compared with the
    rules, and `matched` has a bit, in hex, for each rule that matched; an older library does
    not say so. `decided_errors` and `matched_errors` are the same of errors and their
    rules; `matched_ceilings` has a bit for each ceiling that bounded something. `before` counts what the process did before `init`. `dropped` counts errors
    that were not sent, by cause: `rule 0`, `rate`, `ceiling`, `budget`. `budgets` has the
    share that each budget lets pass of what no rule and no boost names. An older library
    has neither, for it knows no ceilings, error rules and budgets. `own` names the
    application's own options that decide beside the snapshot's values, or would without
    them; an older library does not say so.
    """

    id: str
    role: str
    pid: int
    pidns: int
    start_time: int
    parent: str | None = None
    revision: str | None = None
    sequence: int = 0
    phase: str = "drained"
    since: str = ""
    swap_ms: float = 0.0
    refused: tuple[str, int] | None = None
    error: str | None = None
    signal: int | None = None
    tid: int | None = None
    watch: str = "stat"
    tally: Mapping[str, int] = MappingProxyType({})
    origins: Mapping[str, str] = MappingProxyType({})
    dsn: str = ""
    answers: tuple[Answer, ...] = ()
    holders: tuple[Holder, ...] = ()
    ignored: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    values: Mapping[str, Any] = MappingProxyType({})
    foreign: bool = False
    verified: Verified | None = None
    decided: int | None = None
    matched: str = ""
    decided_errors: int | None = None
    matched_errors: str = ""
    matched_ceilings: str = ""
    before: Mapping[str, int] = MappingProxyType({})
    sdk: str = ""
    library: str = ""
    dropped: Mapping[str, int] | None = None
    budgets: Mapping[str, float] = MappingProxyType({})
    own: tuple[str, ...] | None = None


def encode_receipt(receipt: Receipt) -> bytes:
    """Return the content of `<id>.json`. It is always smaller than its limit."""
    cut = _cut(receipt)
    document = cut._asdict()
    document["holders"] = [holder._asdict() for holder in cut.holders]
    if cut.verified is not None:
        document["verified"] = document_of(cut.verified)
    document["answers"] = [answer._asdict() for answer in cut.answers]
    # Not escaped: a character then takes at most 4 bytes instead of 12.
    text = json.dumps({"schema": SCHEMA} | document, ensure_ascii=False)
    return text.encode() + b"\n"


def decode_receipt(body: bytes) -> Receipt:
    """Read `<id>.json`, or raise `ContractError` without quoting its content.

    A field that an older library does not write gets its default. A field that only a
    newer library knows is skipped.
    """
    document = read_object(body, "the receipt")
    known = {k: v for k, v in document.items() if k in Receipt._fields}
    for name, kinds in _TYPES.items():
        if name not in known and name not in _REQUIRED:
            continue
        if type(known.get(name)) not in kinds:
            raise ContractError(f"the receipt's {name} has the wrong type")
    for name, limit in _LIMITS.items():
        if not 0 <= (known.get(name) or 0) < limit:
            raise ContractError(f"the receipt's {name} is out of range")
    for name, is_good in _PARTS.items():
        if known.get(name) is not None and not is_good(known[name]):
            raise ContractError(f"the receipt's {name} has the wrong type")
    if not ROLE.match(known["role"]):
        raise ContractError("the receipt's role is not valid")
    holders = [Holder(each["kind"], each["dsn"]) for each in known.get("holders", ())]
    refused = known.get("refused")
    known |= {
        "phase": known.get("phase", "running"),  # drained only if the target says so
        "refused": tuple(refused) if refused is not None else None,
        "holders": tuple(holders),
        "verified": _read_verified(known),
        "answers": read_answers(known.get("answers", ())),
        "ignored": tuple(known.get("ignored", ())),
        "problems": tuple(known.get("problems", ())),
        "own": None if known.get("own") is None else tuple(known["own"]),
    }
    return _cut(Receipt(**known))


def _read_verified(known: Mapping[str, Any]) -> Verified | None:
    if "verified" not in known:
        return UNABLE
    value = known["verified"]
    return None if value is None else read_verified(value)


_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "role", "phase", "since", "watch"), (str,)),
    **dict.fromkeys(("dsn", "matched", "sdk", "library"), (str,)),
    **dict.fromkeys(("parent", "revision", "error"), (str, type(None))),
    **dict.fromkeys(("pid", "pidns", "start_time", "sequence"), (int,)),
    **dict.fromkeys(("matched_errors", "matched_ceilings"), (str,)),
    **dict.fromkeys(("signal", "tid", "decided", "decided_errors"), (int, type(None))),
    **dict.fromkeys(("tally", "origins", "values", "before", "budgets"), (dict,)),
    "dropped": (dict, type(None)),
    "own": (list, type(None)),
    **dict.fromkeys(("answers", "holders", "ignored", "problems"), (list,)),
    "swap_ms": (int, float),
    "foreign": (bool,),
    "verified": (dict, type(None)),
    "refused": (list, type(None)),
}
_LIMITS: Mapping[str, float] = {
    **dict.fromkeys(("pid", "tid", "signal"), 2**31),
    **dict.fromkeys(("pidns", "start_time", "sequence", "swap_ms"), math.inf),
    **dict.fromkeys(("decided", "decided_errors"), 2**63),
}
"""Numbers of the system are in these ranges: from 0 to below the limit."""
_SCALARS = (str, int, float, bool, type(None))
_REQUIRED = ("id", "role", "pid", "pidns", "start_time")
_PARTS: Mapping[str, Callable[[Any], bool]] = {
    "refused": lambda value: [type(part) for part in value] == [str, int],
    **dict.fromkeys(
        ("tally", "before", "dropped"),
        lambda value: all(type(n) is int and n >= 0 for n in value.values()),
    ),
    "budgets": lambda value: all(map(is_share, value.values())),
    **dict.fromkeys(
        ("matched", "matched_errors", "matched_ceilings"),
        lambda value: set(value) <= set("0123456789abcdef"),
    ),
    "origins": lambda value: all(type(origin) is str for origin in value.values()),
    "answers": lambda value: all(map(is_answer, value)),
    "verified": is_verified,
    **dict.fromkeys(
        ("ignored", "own"), lambda value: all(type(name) is str for name in value)
    ),
    "problems": lambda value: all(type(problem) is str for problem in value),
    "values": lambda value: all(type(one) in _SCALARS for one in value.values()),
    "holders": lambda value: all(
        type(each) is dict and type(each.get("kind")) is type(each.get("dsn")) is str
        for each in value
    ),
}


def _cut(receipt: Receipt) -> Receipt:
    """Cut every text and list to its limit, both when writing and when reading."""
    texts: dict[str, Any] = {
        name: plain(text, ERROR_LIMIT if name == "error" else TEXT_LIMIT)
        for name in Receipt._fields
        if isinstance(text := getattr(receipt, name), str)
    }
    refused, own = receipt.refused, receipt.own
    tally = list(receipt.tally.items())[:ENTRIES_LIMIT]
    before = list(receipt.before.items())[:ENTRIES_LIMIT]
    dropped = receipt.dropped
    budgets = list(receipt.budgets.items())[:ENTRIES_LIMIT]
    origins = list(receipt.origins.items())[:ENTRIES_LIMIT]
    values = list(receipt.values.items())[:ENTRIES_LIMIT]
    return receipt._replace(
        **texts,
        refused=refused and (plain(refused[0], NAME_LIMIT), refused[1]),
        tally={plain(name, NAME_LIMIT): number for name, number in tally},
        before={plain(name, NAME_LIMIT): number for name, number in before},
        dropped=None if dropped is None else _largest(dropped),
        own=own and tuple(plain(name, NAME_LIMIT) for name in own[:NAMED_LIMIT]),
        budgets={plain(name, NAME_LIMIT): share for name, share in budgets},
        origins={plain(k, NAME_LIMIT): plain(v, NAME_LIMIT) for k, v in origins},
        holders=tuple(
            Holder(plain(each.kind, NAME_LIMIT), plain(each.dsn, NAME_LIMIT))
            for each in receipt.holders[:HOLDERS_LIMIT]
        ),
        verified=receipt.verified and cut_verified(receipt.verified),
        answers=tuple(_plain_answer(each) for each in receipt.answers[-ANSWERS_LIMIT:]),
        problems=tuple(plain(p, TEXT_LIMIT) for p in receipt.problems[:NAMED_LIMIT]),
        values={plain(k, NAME_LIMIT): _plain_value(v) for k, v in values},
        ignored=tuple(plain(n, NAME_LIMIT) for n in receipt.ignored[:NAMED_LIMIT]),
    )


def _largest(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the largest counts, in their order: a process may have 100 error rules."""
    kept = sorted(counts, key=lambda name: -counts[name])[:ENTRIES_LIMIT]
    return {plain(name, NAME_LIMIT): counts[name] for name in counts if name in kept}


def _plain_value(value: Any) -> Any:
    return plain(value, TEXT_LIMIT) if isinstance(value, str) else value


def _plain_answer(answer: Answer) -> Answer:
    texts: dict[str, Any] = {
        name: plain(text, NAME_LIMIT)
        for name, text in answer._asdict().items()
        if isinstance(text, str)
    }
    return answer._replace(**texts)
