"""The bundle: what a bug report needs to know of a set-up, without any secret."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import stat
import sys
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from agent._version import __version__
from agent.domain.dsn_check import dsns_of
from agent.errors import AgentError
from agent.observe.document import masked
from agent.publish.memory import Memory
from agent.redact import redact, redact_foreign
from agent.settings import settings_of
from resentry.contract import TUNING, time_text
from resentry.values import show_dsn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.doctor.facts import Facts
    from agent.doctor.results import Finding
    from resentry.contract import Snapshot

FILES_LIMIT = 1000
"""At most this many files of the volume are listed."""

SECRET_LENGTH = 4
"""What is shorter is no secret, and may stand in any word."""


class Part(NamedTuple):
    """One file of the bundle."""

    name: str
    text: str
    """What it holds, in a few words."""
    make: Callable[[Facts, Sequence[Finding]], Any]


def write_bundle(path: str, facts: Facts, findings: Sequence[Finding]) -> list[str]:
    """Write the archive. Returns a line for each file in it.

    Every text is masked. Values of secret settings and keys of DSNs are masked wherever
    they stand, whatever their form.
    """
    known = {secret for secret in _secrets(facts) if len(secret) >= SECRET_LENGTH}
    secrets = sorted(known, key=len, reverse=True)

    def without_secrets(value: Any) -> Any:
        if isinstance(value, str):
            for secret in secrets:
                value = value.replace(secret, "…")
            # A name of a file can have bytes that are no text.
            return redact_foreign(value.encode(errors="backslashreplace").decode())
        if isinstance(value, dict):
            return {without_secrets(k): without_secrets(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [without_secrets(each) for each in value]
        return value

    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for part in PARTS:
            content = without_secrets(msgspec.to_builtins(part.make(facts, findings)))
            body = msgspec.json.format(msgspec.json.encode(content), indent=1)
            entry = tarfile.TarInfo(f"resentry-bundle/{part.name}")
            entry.size, entry.mtime = len(body), int(facts.now)
            archive.addfile(entry, io.BytesIO(body))
    try:
        _write(path, whole.getvalue())
    except OSError as error:
        raise AgentError(
            f"cannot write the bundle {redact(path)}: {error.strerror}",
            "name a file that does not exist yet, in a directory that can be written "
            "and has room",
        ) from None
    return [f"{part.name:15}{part.text}" for part in PARTS]


def _write(path: str, body: bytes) -> None:
    """Make the file, unless something has the name. After an error no file is left."""
    with contextlib.ExitStack() as on_error:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        on_error.callback(os.unlink, path)
        with open(file, "wb") as opened:
            opened.write(body)
        on_error.pop_all()


def _secrets(facts: Facts) -> Iterator[str]:
    """Yield each secret that this process knows."""
    settings = facts.settings
    for setting in settings_of(type(settings)):
        if setting.is_secret:
            whole = getattr(settings, setting.name).reveal()
            for line in (whole, *whole.splitlines()):  # the lines of headers
                yield from (line, line.partition(":")[2].strip(), line.split(" ")[-1])
    for url in settings.notify_urls:  # whoever knows the path may notify, too
        yield url.partition("://")[2].partition("/")[2]
    snapshots = [facts.current, *Memory(f"{settings.dir}/agent").history()]
    dsns = {dsn for each in snapshots if each is not None for dsn in dsns_of(each)}
    if facts.asked is not None and facts.asked.candidate is not None:
        dsns |= {*_dsns(facts.asked.candidate.values)}
    for dsn in dsns:
        key = dsn.partition("://")[2].partition("@")[0]
        yield from (part for part in (dsn, *key.split(":")) if part)


def _dsns(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _dsns(each)
    elif isinstance(value, str) and "://" in value and "@" in value:
        yield value


def _about(facts: Facts, _: object) -> dict[str, Any]:
    return {
        "agent": __version__,
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "written_at": time_text(facts.now),
        "user": os.geteuid(),
        "groups": sorted({os.getegid(), *os.getgroups()}),
        "files": {part.name: part.text for part in PARTS},
    }


def _findings(_: object, findings: Sequence[Finding]) -> Any:
    return list(findings)


def _status(facts: Facts, _: object) -> Any:
    return facts.status


def _settings(facts: Facts, _: object) -> dict[str, Any]:
    if facts.is_copy:
        return {}  # those of this machine have nothing to do with it
    shown = {}
    for setting in settings_of(type(facts.settings)):
        value = getattr(facts.settings, setting.name)
        if setting.is_secret:
            shown[setting.name] = "set" if value else "not set"
        else:
            shown[setting.name] = _plain(value)
    return shown


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return show_dsn(value) if "@" in value else value
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return repr(value)


def _snapshot(facts: Facts, _: object) -> dict[str, Any]:
    snapshots = Memory(f"{facts.settings.dir}/agent").history()
    return {
        "published": None if facts.current is None else _shown(facts.current),
        "history": [_shown(each) for each in snapshots],
    }


def _shown(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "revision": snapshot.revision,
        "sequence": snapshot.sequence,
        "published_at": snapshot.published_at,
        "judged_by": snapshot.judged_by,
        "settings": masked(snapshot.settings),
        "roles": {role: masked(values) for role, values in snapshot.roles.items()},
        **{
            name: [item._asdict() for item in getattr(snapshot, name)]
            for name in TUNING
        },
        "provenance": {key: dict(where) for key, where in snapshot.provenance.items()},
    }


def _receipts(facts: Facts, _: object) -> list[dict[str, Any]]:
    return [
        {"state": state, "owner": target.uid, **_receipt(target.receipt)}
        for target, state in facts.rollout.targets
    ]


def _receipt(receipt: Any) -> dict[str, Any]:
    document = dict(receipt._asdict())
    document["tally"], document["origins"] = dict(receipt.tally), dict(receipt.origins)
    document["values"], document["budgets"] = (
        dict(receipt.values),
        dict(receipt.budgets),
    )
    return document


def _volume(facts: Facts, _: object) -> list[dict[str, Any]]:
    settings, listed = facts.settings, dict[str, dict[str, Any]]()
    for top in (settings.dir, settings.receipts_dir):
        for folder, folders, names in os.walk(top):
            for name in (".", *folders, *names):
                if len(listed) == FILES_LIMIT:
                    return [*listed.values()]
                path = os.path.normpath(f"{folder}/{name}")
                with contextlib.suppress(OSError):
                    listed[path] = _file(path)
    return [*listed.values()]


def _file(path: str) -> dict[str, Any]:
    status = os.lstat(path)
    return {
        "path": path,
        "mode": stat.filemode(status.st_mode),
        "user": status.st_uid,
        "group": status.st_gid,
        "bytes": status.st_size,
        "changed_at": _time(status.st_mtime),
    }


def _time(moment: float) -> str:
    try:
        return time_text(moment, "seconds")
    except (ValueError, OverflowError, OSError):  # no calendar has such a year
        return f"{moment:.0f} s since 1970"


PARTS = (
    Part("about.json", "versions of agent, Python and kernel; what is in here", _about),
    Part("findings.json", "what `doctor` found", _findings),
    Part("status.json", "what `status` shows", _status),
    Part("settings.json", "the agent's settings, without its secrets", _settings),
    Part("snapshots.json", "published values, now and before, DSNs masked", _snapshot),
    Part("receipts.json", "what each process says of itself", _receipts),
    Part("volume.json", "names, modes and sizes of files; no content", _volume),
)
