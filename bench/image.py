"""The agent's start in its image with a tenth of a processor: `make bench-image`.

Needs root, and what builds and runs the image (`.ci/packages.txt`).
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import page, proc
from bench.agent import GOALS, memory_folder, version
from bench.peers import NAMES, Peers
from bench.report import Section, measured, over_rounds, ratio, say, write
from bench.subjects import add, figures_of, stages
from lab.images import agent_image, obstacle
from lab.runc import USER, Container, Image
from lab.vault import ProductionVault

if TYPE_CHECKING:
    from bench.subjects import Rounds

ROUNDS = 15
CPUS = 0.1
WHOLE_SECONDS = 0.2
"""After this time nothing is left of what runc has used up of the limit."""
BINARIES = Path("/opt/resentry/bin")
SUBJECTS = ("agent", "bao_agent")
ROWS = {
    "start_ms": "start to first file (ms)",
    "start_cpu_ms": "  CPU until then (ms)",
    "startupz_ms": "start to /startupz (ms)",
    "startupz_cpu_ms": "  CPU until then (ms)",
}
SECTIONS = (
    Section(
        "image",
        "The agent's start in its image, at 100m CPU",
        "The image under runc, which gives a container 10 of every 100 ms of one "
        "processor, as a kubelet does for a limit of 100m. `bao agent` runs in the same "
        "image under the same limit. Both start in turns, and read their secret over TLS. "
        "What runc needs until the command begins does not count. When a pod "
        "is Ready stands under [On a Kubernetes node](#on-a-kubernetes-node).",
        {
            **{NAMES[name]: f"figures/{name}/{{}}" for name in SUBJECTS},
            "ratio": "ratios/{}",
            "goal for the agent": "goals/{}",
        },
        ROWS,
    ),
)


def main() -> None:
    """Measure, print, write. Where no image can be run, leave the figures as they are."""
    if why := obstacle("runc"):
        say(f"the image is left out: {why}")
        return
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as root,
        tempfile.TemporaryDirectory(prefix="bench-", dir=memory_folder()) as files,
        ProductionVault() as vault,
    ):
        image = Image.unpack(agent_image(), Path(root))
        say(f"{ROUNDS} starts of each in the image, in turns")
        rounds = starts(image, vault, Path(files), ROUNDS)
        python = python_of(image, Path(files))
    agent, bao = (rounds[name] for name in SUBJECTS)
    result = {
        "measured": measured(
            python=python,
            bao=version(vault.binary),
            over="TLS; files in memory; a secret each",
            limit="10 ms of every 100 ms",
            starts=ROUNDS,
        ),
        "figures": {
            name: {row: over_rounds(values) for row, values in found.items()}
            for name, found in rounds.items()
        },
        "ratios": {row: ratio(agent[row], bao[row]) for row in bao},
        "goals": {"startupz_cpu_ms": GOALS["startupz_cpu_ms"]},
    }
    write("image", result)
    print(page.table(SECTIONS[0], result))


def python_of(image: Image, folder: Path) -> str:
    """Return the version of the image's Python."""
    said = Container(image, folder).run("python", "-V").stdout
    return said.removeprefix("Python").strip()


def starts(image: Image, vault: ProductionVault, folder: Path, rounds: int) -> Rounds:
    """Start each in turns, until the agent answers /startupz."""
    found: Rounds = {}
    for number in range(rounds):
        for name in SUBJECTS:
            own = folder / f"{name}-{number}"
            own.mkdir()
            add(found, name, _start(image, vault, own, name))
    return found


def _start(
    image: Image, vault: ProductionVault, folder: Path, name: str
) -> dict[str, float]:
    files = folder / "files"
    files.mkdir()
    command = Peers(vault, BINARIES, files, {}).command(name, 1)
    for path in (files, *files.rglob("*")):
        os.chown(path, USER, USER)
    shared = [files, vault.folder / "ca.pem", Path(vault.binary)]
    container = Container(image, folder, shared=shared, cpus=CPUS)
    try:
        pid = container.create(*command.args, env=command.env)
        time.sleep(WHOLE_SECONDS)
        used_ns = proc.usage(pid).cpu_ns
        container.start()
        moments = proc.reached(
            stages(command),
            pid,
            lambda: not Path(f"/proc/{pid}").exists(),
            time.monotonic(),
            used_ns,
        )
        return figures_of(moments)
    except RuntimeError as error:
        raise RuntimeError(f"{name} {error}:\n{container.log.read_text()}") from None
    finally:
        container.remove()


if __name__ == "__main__":
    main()
