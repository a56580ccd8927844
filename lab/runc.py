"""An image unpacked, and containers of it: runc alone, no engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

WHITEOUT = ".wh."
USER = 65532
VOLUME = "/var/run/resentry"
PERIOD_US = 100_000
"""As a kubelet sets it."""
SHELLS = ("/usr/bin/bash", "/usr/bin/dash")


@dataclass
class Image:
    """A docker-archive: its configuration, the files of each layer, and their sum."""

    config: dict[str, Any]
    layers: list[dict[str, tarfile.TarInfo]]
    root: Path

    @classmethod
    def unpack(cls, archive: Path, root: Path) -> Image:
        root.chmod(0o755)  # pytest's folders are for root alone
        with tarfile.open(archive) as outer:

            def member(name: str) -> Any:
                return outer.extractfile(name)

            (manifest,) = json.load(member("manifest.json"))
            image = cls(json.load(member(manifest["Config"])), [], root)
            for name in manifest["Layers"]:
                with tarfile.open(fileobj=member(name)) as layer:
                    image._add(layer)
        return image

    def _add(self, layer: tarfile.TarFile) -> None:
        members = {member.name: member for member in layer}
        self.layers.append(members)
        gone = [path for name in members if (path := Path(name)).name[:4] == WHITEOUT]
        for path in gone:
            victim = self.root / path.parent / path.name.removeprefix(WHITEOUT)
            shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
        kept = [member for name, member in members.items() if WHITEOUT not in name]
        layer.extractall(self.root, kept, filter="fully_trusted")

    def paths(self) -> Iterator[Path]:
        """Yield everything that a container of it sees."""
        return self.root.rglob("*")


class Container:
    """One container: read-only, no capability, no shell, the machine's own loopback.

    `volume` is the host's folder behind the volume. The container sees `shared` of the
    host's files and folders at their own paths. It gets so many `cpus`; 0 is no limit.
    """

    def __init__(
        self,
        image: Image,
        folder: Path,
        *,
        shared: Sequence[Path] = (),
        cpus: float = 0,
    ) -> None:
        self.volume = folder / "volume"
        self.volume.mkdir()
        os.chown(self.volume, USER, USER)
        self._config = image.config["config"]
        self._root = {"path": str(image.root), "readonly": True}
        self.log = folder / "log"
        self._bundle = folder
        self._runc = ["runc", "--root", str(folder / "runc")]
        # Of the whole machine: it names the cgroups, too.
        self._id = f"resentry-{folder.parent.name}-{folder.name}"
        shells = [shell for shell in SHELLS if (image.root / shell[1:]).is_file()]
        self._mounts = [
            _mount(self.volume, VOLUME, "rw", "noexec"),
            *(_mount("/dev/null", shell, "ro") for shell in shells),
            *(_mount(path, path, "rw") for path in shared),
        ]
        self._cpus = cpus

    def command(self, *args: str, env: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs it; without `args` the image's own."""
        self._write(args, env or {})
        return [*self._runc, "run", "--bundle", str(self._bundle), self._id]

    def create(self, *args: str, env: Mapping[str, str] | None = None) -> int:
        """Make it; return the process that becomes the command at `start`."""
        self._write(args, env or {})
        bundle, pid = self._bundle, self._bundle / "pid"
        create = ("create", "--bundle", bundle, "--pid-file", pid, self._id)
        with self.log.open("wb") as log:
            subprocess.run(
                [*self._runc, *create],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )
        return int(pid.read_text())

    def start(self) -> None:
        """Let what `create` made run its command."""
        subprocess.run([*self._runc, "start", self._id], check=True)

    def _write(self, args: Sequence[str], env: Mapping[str, str]) -> None:
        (self._bundle / "config.json").unlink(missing_ok=True)
        subprocess.run(["runc", "spec"], cwd=self._bundle, check=True)
        path = self._bundle / "config.json"
        spec = json.loads(path.read_text())
        spec["root"] = self._root
        uid, gid = self._config["User"].split(":")
        spec["process"] |= {
            "terminal": False,
            "cwd": self._config["WorkingDir"] or "/",
            "user": {"uid": int(uid), "gid": int(gid)},
            "args": list(args) or self._config["Entrypoint"] + self._config["Cmd"],
            "env": [
                *self._config["Env"],
                *(f"{k}={v}" for k, v in env.items()),
            ],
            "capabilities": {},
            "noNewPrivileges": True,
        }
        spaces = spec["linux"]["namespaces"]
        spec["linux"]["namespaces"] = [s for s in spaces if s["type"] != "network"]
        spec["mounts"] += self._mounts
        if self._cpus:
            quota = round(self._cpus * PERIOD_US)
            spec["linux"]["resources"]["cpu"] = {"quota": quota, "period": PERIOD_US}
        path.write_text(json.dumps(spec))

    def run(self, *args: str, env: Mapping[str, str] | None = None) -> Done:
        """Return how a command ended, and what it said."""
        return _done(self.command(*args, env=env))

    def process(
        self, *args: str, env: Mapping[str, str], ready: Callable[[], bool]
    ) -> Process:
        """Return a command, without `args` the image's own, as a process to start."""
        command = self.command(*args, env=env)
        return Process(command, log=self.log, ready=ready)

    def execute(self, *args: str) -> Done:
        """Return how a command ended in the running container."""
        return _done([*self._runc, "exec", self._id, *args])

    def remove(self) -> None:
        """Leave no process and no cgroup of it."""
        _done([*self._runc, "delete", "--force", self._id])


def _mount(source: object, destination: object, *options: str) -> dict[str, Any]:
    return {
        "destination": str(destination),
        "source": str(source),
        "type": "bind",
        "options": ["bind", "nosuid", "nodev", *options],
    }


Done = subprocess.CompletedProcess[str]


def _done(command: list[str]) -> Done:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
