"""A root folder of Debian packages, in place of an official Python image.

Of the machine's own release, from the machine's own apt sources. Needs root, mmdebstrap.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

from lab.paths import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

# As in the official slim images: a shell and coreutils for RUN, Python with venv, and
# what they add to Debian's own.
PACKAGES = (
    *("base-files", "base-passwd", "coreutils", "dash", "libc-bin"),
    *("python3", "python3-venv"),
    *("ca-certificates", "netbase", "tzdata"),
)
LEFT_OUT = ("doc", "info", "locale", "man")
# What belongs to this machine, or to package tools that the base does not have.
EMPTIED = ("dev", "etc/apt", "var/cache", "var/lib")
REMOVED = ("etc/hostname", "etc/resolv.conf")


def suite() -> str:
    """Return the code name of the machine's release."""
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def unpack(root: Path) -> None:
    """Fill the folder, as if the packages had been installed there."""
    origin = platform.freedesktop_os_release()["ID"].title()
    index = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    which = ("Created-By: Packages", f"Origin: {origin}")
    sources = run("apt-get", "indextargets", "--format", index, *which)
    settings = run("apt-config", "dump").splitlines()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as conf:
        # Proxies and the like; the rest of apt's settings is about this machine.
        conf.writelines(f"{s}\n" for s in settings if s.startswith("Acquire::"))
        conf.flush()
        run(
            *("mmdebstrap", "--quiet", "--mode=root", "--variant=extract"),
            f"--include={','.join(PACKAGES)}",
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT),
            *(f"--aptopt={conf.name}", "--format=directory", suite(), str(root), "-"),
            given=sources,
        )
    _finish(root)


def _finish(root: Path) -> None:
    # The packages' own scripts have not run: this is what they would have done.
    for name in ("passwd", "group"):
        master = root / f"usr/share/base-passwd/{name}.master"
        shutil.copy(master, root / "etc" / name)
    authorities = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.write_bytes(b"".join(each.read_bytes() for each in authorities))
    for name in EMPTIED:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir()
    for name in REMOVED:
        (root / name).unlink(missing_ok=True)


def run(*command: str, given: str = "") -> str:
    """Return what a command prints; raise RuntimeError with all of it when it fails."""
    done = subprocess.run(
        command,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout
