"""Another process of the same user cannot look into the agent."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent import parts, protect
from agent.cli import check
from agent.settings import Settings

NOBODY = 65534
SECRET = "hvs.planted-in-the-environment"
WAIT = "print('ready', flush=True); input()"
READ = """
import os, sys
for name in ("environ", "mem", "root/etc/hostname", "fd/0", "maps"):
    try:
        os.open(f"/proc/{sys.argv[1]}/{name}", os.O_RDONLY | os.O_NONBLOCK)
        print(name)
    except PermissionError:
        pass
open(f"/proc/{sys.argv[1]}/stat").read()
assert "SigCgt" in open(f"/proc/{sys.argv[1]}/status").read()
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has /proc and prctl"
)


@contextmanager
def process(code: str) -> Iterator[int]:
    """A process of an ordinary user, ready; the source goes along, files may not."""
    user = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
    with subprocess.Popen(
        ["/usr/bin/python3", "-I", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"TOKEN": SECRET},
        cwd="/",
        **user,  # type: ignore[call-overload]
    ) as running:
        assert running.stdout
        assert running.stdout.readline() == b"ready\n"
        yield running.pid
        running.kill()


def readable(pid: int) -> list[str]:
    """What a second process of that user can open of the first."""
    user = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
    ran = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", READ, str(pid)],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        **user,  # type: ignore[call-overload]
    )
    return ran.stdout.split()


@pytest.mark.process
@pytest.mark.skipif(
    not Path("/usr/bin/python3").exists(), reason="needs a Python for every user"
)
def test_what_is_protected_is_closed_to_its_own_user() -> None:
    """Environment, memory, files and root are; what the library reads is not."""
    with process(WAIT) as pid:
        assert "environ" in readable(pid)  # without it, all is open
    with process(inspect.getsource(protect) + "protect()\n" + WAIT) as pid:
        assert readable(pid) == []


def test_run_and_once_protect_themselves_first(
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the source is opened, which may read a credential."""
    done: list[str] = []
    monkeypatch.setattr(parts, "protect", lambda: done.append("protected"))
    monkeypatch.setattr(parts, "open_source", lambda *_: done.append("opened"))
    made = parts.assemble(settings())
    made.volume.close()
    assert done == ["protected", "opened"]


@pytest.mark.parametrize("arguments", [[], ["--policy"]])
def test_check_protects_itself_first(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], tmp_path: Path
) -> None:
    """It has the same credentials as `run`."""
    done: list[str] = []
    monkeypatch.setattr(check, "protect", lambda: done.append("protected"))
    monkeypatch.setattr(check, "open_source", lambda *_: done.append("opened"))
    given = ["--dir", str(tmp_path / "volume"), *arguments]
    CliRunner().invoke(check.command, given, env={"PATH": "/bin"})
    assert done[0] == "protected"


FREED = """
import sys, threading
from agent.protect import return_memory

def rss():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if "VmRSS" in line) // 1024

def work():
    blocks = [bytearray(4 << 20) for _ in range(5)]
    kept = bytearray(100_000)  # above them on the heap
    del blocks
    keep.append(kept)

if "bounded" in sys.argv:
    return_memory()
bytearray(30 << 20)  # glibc raises its bound when this is freed
keep, before = [], rss()
for _ in range(4):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print(rss() - before)
"""


@pytest.mark.process
def test_what_one_large_answer_needed_is_given_back() -> None:
    """To the system, and not to an arena of the thread that has read it."""
    grown = [
        int(subprocess.check_output([sys.executable, "-c", FREED, *args], text=True))
        for args in (["bounded"], [])
    ]
    assert grown[0] < 4, grown


HEAPS = """
import ctypes, sys, threading
from agent.protect import return_memory

if "bounded" in sys.argv:
    return_memory()
all_at_once = threading.Barrier(4)
keep = []

def work():
    keep.append(bytearray(10_000))
    all_at_once.wait()

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
"""


@pytest.mark.process
def test_all_threads_share_one_heap() -> None:
    """Each heap keeps what is free in it."""
    heaps = [
        subprocess.check_output([sys.executable, "-c", HEAPS, *args], text=True).count(
            "<heap nr="
        )
        for args in (["bounded"], [])
    ]
    assert heaps[0] == 1 < heaps[1], heaps
