"""An application that cannot follow the volume says so, and what to do.

Each state is told once, within ten seconds, and for as long as it lasts in `status()`.
The cases of this module run side by side: nearly all of their time is waiting.
"""

import ctypes
import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from script import Ran, run_script

from lab.sink import Sink

pytestmark = pytest.mark.process


ROOT = "only root can become another user"
MOUNTS = "only who may mount can make such a file system"
OWNER, GROUP = 4141, 4242


class Case(NamedTuple):
    """One way in which an application cannot follow."""

    prepare: str
    path: str = "VOLUME"
    number: int = 0
    """The errno that is told."""
    mend: str = ""
    """Ends it; without, it lasts."""
    later: str = ""
    """Begins it, where it begins after `init`."""
    words: tuple[str, ...] = ()
    """What else stands in the warning, as patterns: what to do, above all."""
    environment: str = "staging"
    dsn: bool = False
    """Whether the environment has a DSN: then Sentry works, without the volume."""
    needs: str = ""


_FORGOTTEN = Case(
    "",
    number=errno.ENOENT,
    mend="pass",
    words=(r"mount|RESENTRY_DIR",),
)
_NO_GROUP = Case(
    f"""
    publish(SETTINGS)
    os.chown(VOLUME, {OWNER}, {GROUP})
    VOLUME.chmod(0o750)
    become_another_user()
    """,
    number=errno.EACCES,
    words=(str(OWNER), str(GROUP), "750|rwxr-x---", r"(?i)group"),
    needs=ROOT,
)

VOLUMES = {
    "forgotten mount": _FORGOTTEN,
    "forgotten mount, in production": _FORGOTTEN._replace(environment="production"),
    "forgotten mount, with a DSN": _FORGOTTEN._replace(dsn=True),
    "no common group": _NO_GROUP,
    "no common group, in production": _NO_GROUP._replace(environment="production"),
    "no common group, with a DSN": _NO_GROUP._replace(dsn=True),
    "a closed directory above": Case(
        """
        closed = HOME / "closed"
        closed.mkdir()
        os.environ["RESENTRY_DIR"] = str(closed / "volume")
        VOLUME = closed / "volume"
        publish(SETTINGS)
        closed.chmod(0o700)
        become_another_user()
        """,
        number=errno.EACCES,
        needs=ROOT,
    ),
    "a file of another user": Case(
        """
        publish(SETTINGS)
        (VOLUME / "settings.json").chmod(0o600)
        become_another_user()
        """,
        number=errno.EACCES,
        needs=ROOT,
    ),
    "subPath of a directory": Case(
        "VOLUME.mkdir()", mend="pass", words=(r"subPath|mount", r"(?i)agent|snapshot")
    ),
    "subPath of the file": Case(
        """
        own_mounts()
        publish(SETTINGS)
        whole, VOLUME = VOLUME, HOME / "bound"
        VOLUME.mkdir()
        bind_file(str(whole / "settings.json"), str(VOLUME / "settings.json"))
        os.environ["RESENTRY_DIR"] = str(VOLUME)
        """,
        words=("subPath",),
        needs=MOUNTS,
    ),
    "a file in the volume's place": Case(
        "VOLUME.touch()", number=errno.ENOTDIR, mend="VOLUME.unlink()"
    ),
    "a volume that vanishes": Case(
        "publish(SETTINGS)",
        later="VOLUME.rename(HOME / 'away')",
        mend="(HOME / 'away').rename(VOLUME)",
        number=errno.ENOENT,
    ),
    "another root directory": Case(
        "publish(SETTINGS)",
        later="""
        outside = os.open("/", os.O_RDONLY)
        os.chroot(HOME)
        """,
        mend="os.fchdir(outside); os.chroot('.')",
        number=errno.ENOENT,
        needs=ROOT,
    ),
}
"""The volume cannot be read. The receipts can be given, and say so as well."""

RECEIPTS = {
    "missing receipts": Case(
        "publish(SETTINGS); RECEIPTS.rmdir()",
        number=errno.ENOENT,
        mend="RECEIPTS.mkdir()",
        words=(r"RESENTRY_RECEIPTS|mount|agent",),
    ),
    "missing receipts, in production": Case(
        "publish(SETTINGS); RECEIPTS.rmdir()",
        number=errno.ENOENT,
        mend="RECEIPTS.mkdir()",
        environment="production",
    ),
    "a file in the receipts' place": Case(
        "publish(SETTINGS); RECEIPTS.rmdir(); RECEIPTS.touch()",
        number=errno.ENOTDIR,
        mend="RECEIPTS.unlink(); RECEIPTS.mkdir()",
    ),
    "receipts that are read-only": Case(
        """
        publish(SETTINGS)
        own_mounts()
        mount_memory(str(RECEIPTS), read_only=True)
        """,
        number=errno.EROFS,
        mend="make_writable(str(RECEIPTS))",
        needs=MOUNTS,
    ),
    "receipts that are full": Case(
        """
        publish(SETTINGS)
        own_mounts()
        mount_memory(str(RECEIPTS), "16k")
        (RECEIPTS / "filler").write_bytes(b"x" * 16384)
        """,
        number=errno.ENOSPC,
        mend="(RECEIPTS / 'filler').unlink()",
        needs=MOUNTS,
    ),
    "a limit of a file's size": Case(
        "publish(SETTINGS); limit(0)", number=errno.EFBIG, mend="limit(-1)"
    ),
    "receipts of another user": Case(
        f"""
        publish(SETTINGS)
        os.chown(RECEIPTS, {OWNER}, {GROUP})
        RECEIPTS.chmod(0o755)
        become_another_user()
        """,
        number=errno.EACCES,
        words=(str(OWNER), str(GROUP), "755|rwxr-xr-x"),
        needs=ROOT,
    ),
    "receipts that are full later": Case(
        "publish(SETTINGS)",
        # A snapshot is smaller than that, a receipt is not.
        later="eventually(given); limit(600); publish({**SETTINGS, 'SENTRY_DSN': B})",
        number=errno.EFBIG,
        mend="limit(-1)",
    ),
    "receipts that vanish": Case(
        "publish(SETTINGS)",
        later="eventually(given); shutil.rmtree(RECEIPTS)",
        number=errno.ENOENT,
        mend="RECEIPTS.mkdir()",
    ),
}
"""The snapshot runs, and nobody can know."""

CASES = {
    **VOLUMES,
    **{name: case._replace(path="RECEIPTS") for name, case in RECEIPTS.items()},
}

STEPS = """
import json
import resource
import shutil
import time
from pathlib import Path

from mishaps import *
from mounts import *

A, B = os.environ["A"], os.environ["B"]
HOME = Path(os.environ["HOME"])
VOLUME, RECEIPTS = HOME / "volume", HOME / "receipts"
SETTINGS = {"SENTRY_DSN": A, "SENTRY_ENVIRONMENT": os.environ["ENVIRONMENT"]}
RECEIPTS.mkdir()
RECEIPTS.chmod(0o777)

def limit(size):
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))

def given():
    return [json.loads(path.read_text()) for path in RECEIPTS.glob("*.json")]

def number():
    "What the machine answers to who reads the snapshot, or writes a receipt."
    try:
        if PATH is RECEIPTS:
            (RECEIPTS / "tried").write_bytes(b"x" * 1000)
            (RECEIPTS / "tried").unlink()
        else:
            (VOLUME / "settings.json").read_bytes()
    except OSError as error:
        (RECEIPTS / "tried").unlink() if (RECEIPTS / "tried").is_file() else None
        return error.errno
    return 0

def is_told():
    return str(PATH) in (resentry.status()["error"] or "")
"""

TELL = """
log, PATH = Told(), {path}
resentry.init(**QUICK)
{later}
assert not {number} or number() == {number}, number()
began = time.monotonic()
try:
    eventually(is_told, 12)
except TimeoutError:
    say(error=resentry.status()["error"], took=None, lines=log.lines)
    os._exit(0)
took, error = time.monotonic() - began, resentry.status()["error"]
time.sleep(2.5)  # two looks: it is not told again
lines = log.about(str(PATH))
still = is_told()
own = given() if PATH is VOLUME and os.path.isdir(RECEIPTS) else []
if {mend!r}:
    {mend}
    newest = publish({{**SETTINGS, "SENTRY_DSN": B}})
    wait_for(lambda now: now["sequence"] == newest.sequence and not now["error"])
    eventually(lambda: [r["sequence"] for r in given()] == [newest.sequence])
    sentry_sdk.capture_message("follows again")
    sentry_sdk.flush(5)
say(
    error=error,
    took=took,
    lines=lines,
    still=still,
    receipts=[one["error"] for one in own],
    ids=[os.getuid(), os.getgid(), *os.getgroups()],
    path=str(PATH),
)
"""


def can_mount() -> bool:
    """Whether a process of ours gets mounts of its own."""
    asked = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x20000) != 0)"
    return subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


HAS = {ROOT: hasattr(os, "geteuid") and os.geteuid() == 0, "": True}
HAS[MOUNTS] = HAS[ROOT] and hasattr(ctypes.CDLL(None), "unshare") and can_mount()


def go(case: Case, sink: Sink, project: int) -> Ran:
    """Run one case in a directory that everybody can reach."""
    home = tempfile.mkdtemp(prefix="resentry-")
    Path(home).chmod(0o755)
    tell = TELL.format(
        path=case.path,
        later=textwrap.dedent(case.later),
        mend=case.mend,
        number=case.number,
    )
    own = {"SENTRY_DSN": sink.dsn(project)} if case.dsn else {}
    try:
        return run_script(
            Path(home),
            STEPS + textwrap.dedent(case.prepare) + tell,
            HOME=home,
            RESENTRY_DIR=f"{home}/volume",
            RESENTRY_RECEIPTS=f"{home}/receipts",
            ENVIRONMENT=case.environment,
            A=sink.dsn(project),
            B=sink.dsn(project + 1),
            **own,
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Ran]]]:
    """What comes of each case that was asked for."""
    asked = {
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
        if hasattr(item, "callspec") and "name" in item.callspec.params
    }
    with Sink() as sink, ThreadPoolExecutor(6) as pool:
        yield {
            name: pool.submit(go, case, sink, 2 * number + 1)
            for number, (name, case) in enumerate(CASES.items())
            if name in asked and HAS[case.needs]
        }


@pytest.mark.parametrize("name", CASES)
def test_it_is_told_once_while_it_lasts(
    outcomes: dict[str, Future[Ran]], name: str
) -> None:
    """One warning: path, reason, own ids and the directory's, and what to do."""
    case = CASES[name]
    if not HAS[case.needs]:
        pytest.skip(case.needs)
    said = outcomes[name].result().said
    assert said["took"] is not None, said
    assert said["took"] <= 11
    assert said["still"]
    reason = os.strerror(case.number) if case.number else ""
    assert reason in said["error"]

    # In production the lack of a DSN is an error of its own, and names the path, too.
    levels = [level for level, _ in said["lines"]]
    assert levels in (["WARNING"], ["ERROR"], ["ERROR", "WARNING"])
    assert "WARNING" in levels or case.environment == "production"
    text = said["lines"][-1][1]
    assert said["path"] in text
    assert reason in text
    for number in said["ids"]:
        assert re.search(rf"\b{number}\b", text), (number, text)
    for word in case.words:
        assert re.search(word, text), (word, text)
    if case.path == "VOLUME" and said["receipts"]:
        assert said["path"] in said["receipts"][0]
