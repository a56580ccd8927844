"""The library's wheel: one dependency, nothing but the library, and it works alone."""

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
import sentry_sdk

from agent.cli import COMMANDS, WITHOUT_JSON
from lab.paths import REPOSITORY

pytestmark = pytest.mark.process


LICENSE = (REPOSITORY / "LICENSE").read_bytes()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the client's wheel and source archive; return their folder."""
    folder = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "hatchling", "build", "-d", folder]
    subprocess.run(build, cwd=REPOSITORY / "client", capture_output=True, check=True)
    return folder


@pytest.fixture
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture
def source(built: Path) -> Path:
    (source,) = built.glob("*.tar.gz")
    return source


def test_the_library_depends_on_sentry_sdk_alone(wheel: Path) -> None:
    """It lives in other people's processes, so it brings nothing else by itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    assert metadata.get_all("Requires-Dist") == [
        "sentry-sdk<3,>=2.43",
        "opentelemetry-sdk>=1.30; extra == 'opentelemetry'",
    ]
    assert metadata["Name"] == "resentry"


def test_the_wheel_holds_the_library_alone(wheel: Path) -> None:
    """No agent, no lab, no tests: every module of `client/resentry`, and no more."""
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    source = (REPOSITORY / "client" / "resentry").glob("*.py")
    assert {f"resentry/{path.name}" for path in source} <= names
    assert "resentry/py.typed" in names
    assert all(name.startswith("resentry/") for name in names)


def test_the_library_brings_its_license(wheel: Path, source: Path) -> None:
    """The wheel and the source archive hold the project's own, as client/ does."""
    assert (REPOSITORY / "client" / "LICENSE").read_bytes() == LICENSE
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/licenses/LICENSE"))
        assert archive.read(name) == LICENSE
    with tarfile.open(source) as archive:
        (name,) = (n for n in archive.getnames() if n.endswith("/LICENSE"))
        member = archive.extractfile(name)
        assert member is not None
        assert member.read() == LICENSE


def test_the_library_works_where_there_is_no_agent(wheel: Path, tmp_path: Path) -> None:
    """With the SDK and what that needs, `import resentry` works and `agent` is unknown."""
    uv, venv = REPOSITORY / ".tools" / "bin" / "uv", tmp_path / "venv"
    made = [uv, "venv", "-q", "--offline", "--python", sys.executable, venv]
    subprocess.run(made, capture_output=True, check=True)
    python = venv / "bin" / "python"
    added = [uv, "pip", "install", "-q", "--offline", "--no-deps", "--python", python]
    subprocess.run([*added, wheel], capture_output=True, check=True)
    # What pip would bring: links instead of a download.
    site = Path(sentry_sdk.__file__).parents[1]
    needed = tmp_path / "needed"
    needed.mkdir()
    for name in ("sentry_sdk", "urllib3", "certifi"):
        (needed / name).symlink_to(site / name)
    script = """
import resentry
resentry.init(role="api")
print(resentry.__version__, resentry.status()["error"])
try:
    import agent
except ImportError as error:
    print(error)
"""
    ran = subprocess.run(
        [python, "-W", "error", "-c", script],
        env={"PYTHONPATH": str(needed), "ENVIRONMENT": "staging", "VERSION": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    version, said = ran.stdout.splitlines()
    assert version.endswith(" None")
    assert said == "No module named 'agent'"


def test_the_agent_s_wheel_holds_schemas_and_page(tmp_path: Path) -> None:
    """Whoever reads `--json` finds the schemas beside the program."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=REPOSITORY, capture_output=True, check=True)
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        files = archive.namelist()
    assert "agent/observe/page.html" in files
    names = {name for name in files if name.startswith("agent/schemas/")}
    assert names == {
        f"agent/schemas/{name.replace(' ', '-')}.json"
        for name in {*COMMANDS, "source", "tuning"} - {*WITHOUT_JSON}
    }
