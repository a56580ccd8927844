"""The image that holds a pod's namespaces, made without any tool."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TAG = "localhost/pause:1"


def pause_image(program: Path, archive: Path) -> Path:
    """Write a docker-archive of an image with that program alone; return `archive`."""
    layer = _tar({"pause": program.read_bytes()})
    about = {
        "architecture": {"aarch64": "arm64"}.get(platform.machine(), "amd64"),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
        },
    }
    manifest = {"RepoTags": [TAG], "Config": "config.json", "Layers": ["layer.tar"]}
    files = {
        "layer.tar": layer,
        "config.json": json.dumps(about).encode(),
        "manifest.json": json.dumps([manifest]).encode(),
    }
    archive.write_bytes(_tar(files))
    return archive


def _tar(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()
