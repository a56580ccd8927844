"""The agent's image unpacked, and containers of it: runc alone, no engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.images import agent_image, example_image, tools_image
from lab.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

WHITEOUT = ".wh."
USER = 65532
VOLUME = "/var/run/resentry"
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

    `volume` is the host's folder behind the volume.
    """

    def __init__(self, image: Image, folder: Path) -> None:
        self.volume = folder / "volume"
        self.volume.mkdir()
        os.chown(self.volume, USER, USER)
        self._config = image.config["config"]
        self._root = {"path": str(image.root), "readonly": True}
        self._bundle = folder
        self._runc = ["runc", "--root", str(folder / "runc")]
        # Of the whole machine: it names the cgroups, too.
        self._id = f"resentry-{folder.parent.name}-{folder.name}"
        self._shells = [shell for shell in SHELLS if (image.root / shell[1:]).is_file()]

    def command(self, *args: str, env: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs it; without `args` the image's own."""
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
                *(f"{k}={v}" for k, v in (env or {}).items()),
            ],
            "capabilities": {},
            "noNewPrivileges": True,
        }
        spaces = spec["linux"]["namespaces"]
        spec["linux"]["namespaces"] = [s for s in spaces if s["type"] != "network"]
        spec["mounts"].append(_mount(self.volume, VOLUME, "rw", "noexec"))
        spec["mounts"] += [_mount("/dev/null", shell, "ro") for shell in self._shells]
        path.write_text(json.dumps(spec))
        return [*self._runc, "run", "--bundle", str(self._bundle), self._id]

    def run(self, *args: str, env: Mapping[str, str] | None = None) -> Done:
        """Return how a command ended, and what it said."""
        return _done(self.command(*args, env=env))

    def process(
        self, *args: str, env: Mapping[str, str], ready: Callable[[], bool]
    ) -> Process:
        """Return a command, without `args` the image's own, as a process to start."""
        command = self.command(*args, env=env)
        return Process(command, log=self._bundle / "log", ready=ready)

    def execute(self, *args: str) -> Done:
        """Return how a command ended in the running container."""
        return _done([*self._runc, "exec", self._id, *args])

    def remove(self) -> None:
        """Leave no process and no cgroup of it."""
        _done([*self._runc, "delete", "--force", self._id])


def _mount(source: object, destination: str, *options: str) -> dict[str, Any]:
    return {
        "destination": destination,
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


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    yield from _unpacked(agent_image(), tmp_path_factory)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    yield from _unpacked(tools_image(), tmp_path_factory)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    yield from _unpacked(example_image(), tmp_path_factory)


def _unpacked(archive: Path, factory: pytest.TempPathFactory) -> Iterator[Image]:
    root = factory.mktemp("root")
    yield Image.unpack(archive, root)
    # pytest keeps the folders of three runs: too much here.
    shutil.rmtree(root)


@pytest.fixture
def container(image: Image, tmp_path: Path) -> Iterator[Container]:
    made = Container(image, tmp_path)
    yield made
    made.remove()


@pytest.fixture
def tools_container(tools: Image, tmp_path: Path) -> Iterator[Container]:
    folder = tmp_path / "tools"
    folder.mkdir()
    made = Container(tools, folder)
    yield made
    made.remove()


@pytest.fixture
def example_container(example: Image, tmp_path: Path) -> Iterator[Container]:
    made = Container(example, tmp_path)
    yield made
    made.remove()
