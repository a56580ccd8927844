"""What `run` imports: each pod pays for it in CPU time and in memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent import lean
from lab.paths import REPOSITORY

pytestmark = pytest.mark.process

PROGRAM = Path(__file__).parent / "programs/modules.py"
ALWAYS = {
    *("agent", "resentry", "msgspec", "structlog"),  # settings, the volume, the log
    *("hvac", "requests", "urllib3", "idna", "certifi"),  # Vault
    "watchdog",  # mounted files
}
AFTER_IT = {"apscheduler", "prometheus_client", "waitress"}
NEVER = {
    *(
        "asyncio",
        "click",
        "hvac.v1",
        "hvac.api",
        "importlib.metadata",
        "multiprocessing",
    ),
    *(
        "http.server",
        "html",
        "socketserver",
        "wsgiref",
        "tzlocal",
        "rich",
        "sentry_sdk",
    ),
    *("agent.cli", "agent.doctor", "agent.bridge", "uvicorn", "h11", "sqlite3", "csv"),
    *("structlog.stdlib", "structlog.testing", "structlog.threadlocal", "argparse"),
    *(
        "charset_normalizer",
        "chardet",
        "concurrent.futures.process",
        "concurrent.futures.thread",
        "unittest",
    ),
    *("getopt", "gettext"),
}
"""What libraries would import that the agent has no use for."""
NOT_FIRST = {
    *("agent.services", "concurrent.futures", "decimal", "inspect", "platform"),
    *("agent.domain.summary", "linecache", "textwrap", "tokenize", "traceback"),
}
"""What is imported after the first snapshot, if ever."""


def modules(folder: Path, when: str) -> set[str]:
    """Return what the process has imported at the first publication, or after it."""
    (folder / "source").write_text("SENTRY_SAMPLE_RATE=1.0\n")
    environ = {
        "RESENTRY_DIR": str(folder / "volume"),
        "RESENTRY_SOURCE_PATH": str(folder / "source"),
        "RESENTRY_PROBES_LISTEN": "127.0.0.1:0",
        "RESENTRY_HTTP_LISTEN": "off",
    }
    ran = subprocess.run(
        [sys.executable, PROGRAM, when],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(ran.stdout))


def foreign(names: set[str]) -> set[str]:
    """Return the packages among them that the image has, beside Python."""
    locked = (REPOSITORY / "requirements/agent.txt").read_text()
    shipped = re.findall(r"^([a-z0-9-]+)==", locked, re.MULTILINE)
    shipped = [name.replace("-", "_") for name in shipped] + ["agent", "resentry"]
    return {name.partition(".")[0] for name in names} & set(shipped)


def test_before_the_first_snapshot_only_its_libraries_are_imported(
    tmp_path: Path,
) -> None:
    """An application waits for this snapshot, and for each import before it."""
    found = modules(tmp_path, "first")
    assert foreign(found) <= ALWAYS
    assert (NEVER | NOT_FIRST) & found == set()


def test_the_running_agent_has_not_imported_what_it_does_not_use(
    tmp_path: Path,
) -> None:
    """A library that needs one more package shows up here first."""
    found = modules(tmp_path, "all")
    assert {"agent.services", "agent.observe.metrics", "agent.source.vault"} <= found
    assert foreign(found) <= ALWAYS | AFTER_IT
    assert NEVER & found == set()


def run(code: str, folder: Path) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize("library", lean.LIBRARIES)
def test_each_library_comes_up_with_its_stand_ins(library: str, tmp_path: Path) -> None:
    """None of them was imported, and none is left for others to find."""
    code = f"""
import sys
from agent import lean
lean.load({library!r})
left = [name for name in lean.LIBRARIES[{library!r}] if name in sys.modules]
print(left, {library!r} in sys.modules)
"""
    assert run(code, tmp_path) == "[] True"


def test_what_a_stand_in_lacks_is_imported_at_its_first_use(tmp_path: Path) -> None:
    """A method that nobody calls today still works."""
    code = """
from agent import lean
lean.load("structlog")
import structlog, asyncio
print(structlog.stdlib.BoundLogger.__name__, structlog._native.asyncio.run is asyncio.run)
"""
    assert run(code, tmp_path) == "BoundLogger True"


def test_a_release_that_does_not_come_up_with_stand_ins_is_imported_whole(
    tmp_path: Path,
) -> None:
    """A user may install another release than the locked one."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "__init__.py").write_text("from library.part import Base\n")
    (library / "part.py").write_text(
        "from heavy import Real\nclass Base(Real):\n    size = Real.size + 1\n"
    )
    (tmp_path / "heavy.py").write_text("class Real:\n    size = 1\n")
    code = """
import sys
from agent import lean
lean.LIBRARIES["library"] = {"heavy": {"Real": lean.later("heavy", "Real")}}
lean.load("library")
import heavy, library
print(library.Base.size, heavy.Real.size)
"""
    assert run(code, tmp_path) == "2 1"
