"""`--version` and `completion`: what is built in, and what a real shell completes."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from agent.cli import COMMANDS
from lab.paths import REPOSITORY

pytestmark = pytest.mark.process

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
BASH = """
eval "$(resentry-agent completion bash)"
COMP_WORDS=({words}); COMP_CWORD={last}; COMPREPLY=()
_resentry_agent_completion resentry-agent
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
compdef() {{ :; }}; compadd() {{ shift 1; print -l -- $@ $completions $completions_with_descriptions }}
_describe() {{ print -l -- ${{(P)3}} ${{(P)2}} }}
eval "$(resentry-agent completion zsh)"
words=({words}); CURRENT={last}
CURRENT=$((CURRENT + 1)); _resentry_agent_completion
"""
FISH = """
resentry-agent completion fish | source
complete --do-complete "{words}"
"""
SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def complete(shell: str, words: str, tmp_path: Path) -> set[str]:
    """What the shell offers for the last word."""
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell}: apt-get install {shell}")
    script = SHELLS[shell].format(words=words, last=len(words.split()) - 1)
    ran = subprocess.run(
        [shell, "-c", script],
        env={"PATH": PATH, "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return {line.split("\t")[0].split(":")[0] for line in ran.stdout.splitlines()}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_and_choices(
    shell: str, tmp_path: Path
) -> None:
    """By the script that `completion` prints, in the shell itself."""
    assert {"history"} <= complete(shell, "resentry-agent hist", tmp_path)
    assert {"--drained"} <= complete(shell, "resentry-agent wait --dr", tmp_path)
    assert {"debug"} <= complete(shell, "resentry-agent log-level deb", tmp_path)
    offered = complete(shell, "resentry-agent r", tmp_path)
    wanted = {name for name in COMMANDS if name.startswith("r")}
    assert wanted <= offered
    assert {"check"} <= complete(shell, "resentry-agent alerts ch", tmp_path)
    assert "status" not in offered


def test_completion_names_its_shells(command: Any) -> None:
    """Another shell is a mistake in usage."""
    ran = command("completion", "tcsh")
    assert ran.returncode == 2
    assert "'bash', 'zsh', 'fish'" in ran.stderr


def build(kind: str, root: Path, to: Path, **environ: str) -> Path:
    """Build a distribution of the agent; return its file."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(to)]
    subprocess.run(
        build, cwd=root, env={"PATH": PATH, **environ}, capture_output=True, check=True
    )
    (built,) = to.iterdir()
    return built


def commit_in(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read("agent/commit.txt").decode().strip()


def test_a_wheel_knows_its_commit_without_git(tmp_path: Path) -> None:
    """From the repository, from a variable, and from the source distribution."""
    wheel = build("wheel", REPOSITORY, tmp_path / "one", RESENTRY_COMMIT=COMMIT)
    assert commit_in(wheel) == COMMIT
    source = build("sdist", REPOSITORY, tmp_path / "two", RESENTRY_COMMIT=COMMIT)
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("resentry_agent-*")
    again = build("wheel", unpacked, tmp_path / "three")
    assert commit_in(again) == COMMIT
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    asked = [sys.executable, "-c", "from agent.cli import main; main()", "--version"]
    ran = subprocess.run(
        asked, cwd=tmp_path / "installed", capture_output=True, text=True, check=True
    )
    assert ran.stdout.endswith(f", commit {COMMIT}\n")
    if (REPOSITORY / ".git").exists():
        head = ["git", "rev-parse", "HEAD"]
        named = subprocess.run(head, cwd=REPOSITORY, capture_output=True, check=True)
        built = commit_in(build("wheel", REPOSITORY, tmp_path / "four"))
        assert built.removesuffix("-dirty") == named.stdout.decode().strip()


def test_a_source_tree_claims_no_commit(command: Any) -> None:
    """Nobody knows what it has become since."""
    assert command("--version").stdout.endswith(", from a source tree\n")
    assert not (REPOSITORY / "agent" / "commit.txt").exists()
