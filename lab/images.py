"""The images of the agent and of the example, built with no engine and no registry.

`python -m lab.images agent` (`make image`) builds the Dockerfile with buildah and prints
the path of a docker-archive. In place of an official Python image stands a base of the
machine's own Debian packages. Needs root and what `.ci/packages.txt` names.
"""

from __future__ import annotations

import argparse
import configparser
import fcntl
import hashlib
import os
import shutil
import ssl
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent._version import __version__
from lab import debian
from lab.debian import run
from lab.paths import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KEPT_SECONDS = 86_400.0
"""So long an image stays that no test has asked for."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "resentry")
FOLDER = CACHE / "images"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""What the images take for their commit: they are built from what is here now."""


class Image(NamedTuple):
    """What is built: from which file, and from what besides."""

    name: str
    dockerfile: str
    inputs: tuple[str, ...]
    target: str = ""
    """The stage of the file; the last one if it is empty."""

    @property
    def tag(self) -> str:
        """The name that the archive gives it."""
        return f"localhost/resentry-{self.name}:test"


AGENT = Image(
    "agent",
    "Dockerfile",
    (
        *("LICENSE", "README.md", "pyproject.toml", "hatch_build.py"),
        *("client", "agent"),
        *("requirements/agent.txt", "requirements/build.txt"),
        "requirements/tools.txt",  # buildah 1.28 builds every stage
    ),
)
TOOLS = Image("agent-tools", AGENT.dockerfile, AGENT.inputs, target="tools")
EXAMPLE = Image(
    "example",
    "examples/lms/Dockerfile",
    (
        *("client", "examples/lms/app", "examples/lms/test_sentry.py"),
        *("requirements/example.txt", "requirements/build.txt"),
    ),
)


def agent_image() -> Path:
    """Return a docker-archive of the agent's image, `localhost/resentry-agent:test`."""
    return _archive(AGENT)


def tools_image() -> Path:
    """Return a docker-archive of the image for operators, `localhost/resentry-agent-tools:test`."""
    return _archive(TOOLS)


def example_image() -> Path:
    """Return a docker-archive of the example's, `localhost/resentry-example:test`."""
    return _archive(EXAMPLE)


def obstacle(*commands: str) -> str:
    """Say why images cannot be built, nor those commands be run; "" if they can."""
    if os.geteuid():
        return "only root can build images here"
    if not all(map(shutil.which, ("buildah", "mmdebstrap", *commands))):
        packages = " ".join((REPOSITORY / ".ci/packages.txt").read_text().split())
        return f"first: apt-get install --no-install-recommends {packages}"
    return ""


def _archive(image: Image) -> Path:
    if why := obstacle():
        raise RuntimeError(why)
    built = FOLDER / f"{image.name}-{_key(image)}.tar"
    with _alone():
        if not built.exists():
            _build(image, built)
        built.touch()
    return built


def _build(image: Image, built: Path) -> None:
    # A build that was killed leaves its containers behind.
    _buildah("rm", "--all")
    base = _base()
    arguments = (f"PYTHON={base}", f"VERSION={__version__}", f"REVISION={COMMIT}")
    with _secrets() as secrets:
        _say(f"{image.tag}, from {image.dockerfile}")
        _buildah(
            "build",
            # OCI's own format has no health check.
            *("--format", "docker", "--isolation", "chroot", "--pull-never"),
            *(f"--build-arg={argument}" for argument in arguments),
            *(f"--secret={secret}" for secret in secrets),
            *((f"--target={image.target}",) if image.target else ()),
            *("--file", image.dockerfile, "--tag", image.tag, "."),
        )
    for other in FOLDER.glob(f"{image.name}-{'?' * 12}.tar"):
        # It may be in use: another checkout shares this folder.
        if other.stat().st_mtime < time.time() - KEPT_SECONDS:
            other.unlink()
    fresh = built.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    _buildah("push", image.tag, f"docker-archive:{fresh}:{image.tag}")
    _buildah("rmi", image.tag)
    fresh.rename(built)


def _base() -> str:
    """Return the base's name in buildah's store, into which it is put when missing."""
    recipe = _digest([Path(debian.__file__).read_bytes()])
    name = f"localhost/resentry-base:{debian.suite()}-{recipe}"
    if name in _buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        return name
    _say("the base, from Debian packages")
    _buildah("rmi", "--all", "--force")
    with tempfile.TemporaryDirectory(prefix="lab-base-") as folder:
        debian.unpack(Path(folder))
        _buildah(
            *("build", "--file", "-", "--tag", name, folder),
            given="FROM scratch\nCOPY . /\n",
        )
    return name


@contextmanager
def _secrets() -> Iterator[list[str]]:
    """Yield this machine's way to its package index, as secrets of the build."""
    pip = configparser.ConfigParser(interpolation=None)
    home = Path.home()
    pip.read(["/etc/pip.conf", home / ".pip/pip.conf", home / ".config/pip/pip.conf"])
    settings = dict(pip["global"]) if pip.has_section("global") else {}
    if index := os.environ.get("PIP_INDEX_URL"):
        settings["index-url"] = index
    authorities = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
    settings["cert"] = "/run/secrets/ca.pem"
    inside = configparser.ConfigParser(interpolation=None)
    inside["global"] = settings
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as conf:
        inside.write(conf)
        conf.flush()
        yield [f"id=pip.conf,src={conf.name}", f"id=ca.pem,src={authorities}"]


def _key(image: Image) -> str:
    made_by = (".dockerignore", image.dockerfile, "lab/debian.py", "lab/images.py")
    paths = [
        path for name in (*made_by, *image.inputs) for path in _files(REPOSITORY / name)
    ]
    whole = [
        part
        for path in sorted(paths)
        for part in (str(path.relative_to(REPOSITORY)).encode(), path.read_bytes())
    ]
    return _digest(whole)


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return (
        file
        for file in path.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    )


def _digest(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:12]


@contextmanager
def _alone() -> Iterator[None]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _buildah(*arguments: str, given: str = "") -> str:
    # vfs works wherever files can be written, also inside a container.
    store = ("--root", f"{FOLDER}/store", "--runroot", f"{FOLDER}/run")
    return run("buildah", *store, "--storage-driver", "vfs", *arguments, given=given)


def _say(what: str) -> None:
    print(f"==> building {what}", file=sys.stderr, flush=True)


def main() -> None:
    """Build the image that is named, and print where its archive is."""
    build = {"agent": agent_image, "tools": tools_image, "example": example_image}
    parser = argparse.ArgumentParser(prog="python -m lab.images")
    parser.add_argument("image", choices=build)
    try:
        print(build[parser.parse_args().image]())
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
