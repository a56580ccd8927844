"""The library's types reach a user's type checker: the wheel is marked `py.typed`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("typing")]


HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BIN = ROOT / ".venv" / "bin"
FILES = ("application.py", "mistakes.py")


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a user's folder: the two files, and an environment with the library's wheel."""
    folder = tmp_path_factory.mktemp("user")
    for name in FILES:
        (folder / name).write_text((HERE / name).read_text())
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(build, cwd=ROOT / "client", capture_output=True, check=True)
    (wheel,) = folder.glob("*.whl")
    uv, python = ROOT / ".tools" / "bin" / "uv", folder / "venv" / "bin" / "python"
    venv = [uv, "venv", "-q", "--offline", "--python", sys.executable, folder / "venv"]
    subprocess.run(venv, capture_output=True, check=True)
    add = [uv, "pip", "install", "-q", "--offline", "--no-deps", "--python", python]
    subprocess.run([*add, wheel], capture_output=True, check=True)
    return folder


def marked() -> set[tuple[str, int]]:
    """Return file and line of each mistake."""
    return {
        (name, number)
        for name in FILES
        for number, line in enumerate((HERE / name).read_text().splitlines(), 1)
        if line.endswith("# mistake")
    }


def test_mypy_finds_the_mistakes_of_a_user_and_nothing_else(user: Path) -> None:
    """In strict mode; the same file without mistakes is clean."""
    python = user / "venv" / "bin" / "python"
    command = [
        BIN / "mypy",
        "--strict",
        "--config-file=",
        "--python-executable",
        python,
    ]
    ran = subprocess.run(
        [*command, *FILES], cwd=user, capture_output=True, text=True, check=False
    )
    lines = re.findall(r"(?m)^(\w+\.py):(\d+): error: ", ran.stdout)
    assert {(name, int(line)) for name, line in lines} == marked(), ran.stdout


def test_basedpyright_finds_the_mistakes_of_a_user_and_nothing_else(user: Path) -> None:
    """In strict mode; the same file without mistakes is clean."""
    config = {"typeCheckingMode": "strict", "include": list(FILES)}
    (user / "pyrightconfig.json").write_text(json.dumps(config))
    python = user / "venv" / "bin" / "python"
    ran = subprocess.run(
        [BIN / "basedpyright", "--outputjson", "--pythonpath", python],
        cwd=user,
        capture_output=True,
        text=True,
        check=False,
    )
    assert {
        (Path(item["file"]).name, item["range"]["start"]["line"] + 1)
        for item in json.loads(ran.stdout)["generalDiagnostics"]
        if item["severity"] == "error"
    } == marked(), ran.stdout
