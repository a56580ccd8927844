"""A real Kubernetes node in namespaces of its own, gone with this process.

Linux with cgroup v1, root and Debian's containerd are needed; `missing` says what lacks.
The node has no proxy: pods reach each other, the API server, and what listens on
`ADDRESS`, by address. Headless Services have their DNS names. Pods reach nothing outside.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from lab import golang
from lab.apiserver import PARTS, SERVICE_ADDRESS, ApiServer
from lab.pause import pause_image
from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS = "10.88.0.1"
"""The node's address: servers for its pods listen here."""
NODE = "node1"

_DNS = Path(__file__).parent / "coredns"
_BRIDGE = "lab0"
_CGROUPS = Path("/sys/fs/cgroup")
_NEW_NETWORK = 0x40000000
_PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "unshare": "util-linux",
}
# What no flag moves is hidden, and what the kubelet sets for the whole machine is
# caught in files. Its children's ends concern nobody: ignoring them reaps them.
_JAIL = """
set -e
for folder in /run /var/lib /var/log; do mount -t tmpfs tmpfs $folder; done
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes
do
  cat /proc/sys/$name >/run/${name##*/}
  mount --bind /run/${name##*/} /proc/sys/$name
done
trap '' CHLD
touch /run/ready
exec sleep infinity
"""


def missing() -> str:
    """Return why no node can run here, "" if one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a Kubernetes node needs Linux and root"
    if not (_CGROUPS / "memory").is_dir():
        return "the node is tried with cgroup v1 alone, and this machine has v2"
    lacking = {name for tool, name in _PROGRAMS.items() if not shutil.which(tool)}
    if not Path("/usr/lib/cni/bridge").exists():
        lacking.add("containernetworking-plugins")
    if lacking:
        return f"not installed: {' '.join(sorted(lacking))}"
    return ""


class Cluster(ApiServer):
    """One node, ready for pods; its context is its network, for this thread's children.

    Until the end the thread that entered it, and the threads and processes that it
    starts from then on, are in the node's network: they reach pods by address, and
    what they let listen on `ADDRESS` is reached by pods.
    """

    def __init__(self) -> None:
        super().__init__(address=ADDRESS)
        # Built here: in the node's network there are no modules to be had.
        (self._dns,) = golang.built(_DNS, ["."], name=_DNS.name).iterdir()
        # Held until this process ends, however it does: then the folder is a leftover.
        self._held = _locked(self.folder)
        _sweep(self.folder.parent)
        self.cgroup = f"/{self.folder.name}"
        self._jail = ""

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        os.close(self._held)

    def url(self, namespace: str, pod: str, address: str, port: int) -> str:  # noqa: ARG002 - an address is enough here
        return f"http://{address}:{port}"

    def load(self, archive: Path) -> None:
        """Make the images of a docker-archive known to the node."""
        self._ctr("-n", "k8s.io", "image", "import", str(archive))

    def tag(self, image: str, name: str) -> None:
        """Give an image that the node knows a second name."""
        self._ctr("-n", "k8s.io", "image", "tag", image, name)

    def _start(self) -> None:
        self.port = 443
        self._stack.callback(_remove_cgroups, self.cgroup)
        self._enter_jail()
        self._make_certificates()
        self._kubeconfig("admin", "admin", "system:masters")
        manager = self._kubeconfig(
            "manager", "system:kube-controller-manager", "system:masters"
        )
        scheduler = self._kubeconfig("scheduler", "system:kube-scheduler", "")
        kubelet = self._kubeconfig("kubelet", f"system:node:{NODE}", "system:nodes")
        self._configure()
        self._run_inside(
            *("containerd", "--config", f"{self.folder}/containerd.toml"),
            ready=self._containerd_ready,
        )
        self.load(pause_image(self.programs / "pause", self.folder / "pause.tar"))
        self._start_server()
        self._start_dns()
        self._run(
            str(self.programs / "kube-controller-manager"),
            f"--kubeconfig={manager}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self.folder}/manager",
            f"--service-account-private-key-file={self.folder}/server.key",
            f"--root-ca-file={self.folder}/ca.pem",
            f"--flex-volume-plugin-dir={self.folder}/volumeplugins",
        )
        self._run(
            str(self.programs / "kube-scheduler"),
            f"--kubeconfig={scheduler}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self.folder}/scheduler",
        )
        self._run_inside(
            str(self.programs / "kubelet"),
            f"--config={self.folder}/kubelet.yaml",
            f"--kubeconfig={kubelet}",
            f"--root-dir={self.folder}/kubelet",
            f"--cert-dir={self.folder}/kubelet-certificates",
            f"--hostname-override={NODE}",
            f"--node-ip={ADDRESS}",
            ready=self._node_ready,
        )

    def _start_dns(self) -> None:
        corefile = self.folder / "Corefile"
        known = {"address": ADDRESS, "kubeconfig": self.kubeconfig}
        template = Template((_DNS / "Corefile").read_text())
        corefile.write_text(template.substitute(known))
        self._run(str(self._dns), "-conf", str(corefile))

    def _enter_jail(self) -> None:
        """Make the namespaces, and join their network with this thread."""
        flags = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        jail = self._run(
            *("unshare", *flags, "--propagation", "private", "sh", "-c", _JAIL)
        )
        self._jail = eventually(lambda: _child(jail.pid), what="the jail's init")
        ready = Path(f"/proc/{self._jail}/root/run/ready")
        eventually(ready.exists, what="the jail's mounts")
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._stack.callback(os.close, home)
        self._stack.callback(_join, home)
        with open(f"/proc/{self._jail}/ns/net") as network:
            _join(network.fileno())
        for command in (
            "link set lo up",
            # A bridge without ports holds the node's address, and that of the one
            # Service that is needed, in place of a proxy.
            f"link add {_BRIDGE} type bridge",
            f"link set {_BRIDGE} up",
            f"addr add {ADDRESS}/24 dev {_BRIDGE}",
            f"addr add {SERVICE_ADDRESS}/32 dev {_BRIDGE}",
        ):
            subprocess.run(["ip", *command.split()], check=True)

    def _configure(self) -> None:
        known = {
            "address": ADDRESS,
            "bridge": _BRIDGE,
            "cgroup": self.cgroup,
            "folder": self.folder,
        }
        for name in ("containerd.toml", "kubelet.yaml", "cni/bridge.conflist"):
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            template = Template((PARTS / path.name).read_text())
            path.write_text(template.substitute(known))
        (self.folder / "volumeplugins").mkdir()
        (self.folder / "resolv.conf").write_text(f"nameserver {ADDRESS}\n")
        _make_cgroups(self.cgroup)

    def _inside(self, *command: str) -> list[str]:
        return ["nsenter", "-t", self._jail, "--mount", "--pid", *command]

    def _run_inside(self, *command: str, ready: Callable[[], bool]) -> None:
        self._run(*self._inside(*command), ready=ready)

    def _ctr(self, *args: str) -> str:
        socket = f"{self.folder}/containerd/socket"
        command = self._inside("ctr", "-a", socket, *args)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"ctr {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def _containerd_ready(self) -> bool:
        try:
            return bool(self._ctr("version"))
        except RuntimeError:
            return False

    def _node_ready(self) -> bool:
        try:
            conditions = self.get("node", NODE)["status"]["conditions"]
        except (RuntimeError, KeyError):
            return False
        return any(
            (found["type"], found["status"]) == ("Ready", "True")
            for found in conditions
        )


def _child(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()


def _join(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "cannot join a network namespace")


def _make_cgroups(name: str) -> None:
    for hierarchy in _CGROUPS.iterdir():
        Path(f"{hierarchy}{name}").mkdir()
    for kind in ("cpuset.cpus", "cpuset.mems"):
        everything = (_CGROUPS / "cpuset" / kind).read_text()
        Path(f"{_CGROUPS}/cpuset{name}/{kind}").write_text(everything)


def _remove_cgroups(name: str) -> None:
    """Remove them as soon as their last process, killed just now, is gone."""

    def removed() -> bool:
        for top in _CGROUPS.glob(f"*{name}"):
            for folder, _, _ in os.walk(top, topdown=False):
                with suppress(OSError):
                    os.rmdir(folder)
        return not any(_CGROUPS.glob(f"*{name}"))

    eventually(removed, 30, f"the end of all in {name}")


def _locked(folder: Path) -> int:
    """Return a descriptor that holds the folder; BlockingIOError if another does."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    return lock


def _sweep(parent: Path) -> None:
    """Remove what nodes have left whose process was killed; they died with it."""
    for folder in parent.glob("lab-cluster-*"):
        with suppress(BlockingIOError):
            lock = _locked(folder)
            _remove_cgroups(f"/{folder.name}")
            shutil.rmtree(folder)
            os.close(lock)


def main() -> None:
    """Say, after all other tests, what `make cluster-test` would do here."""
    why = missing()
    print(
        f"make cluster-test: {f'cannot run here: {why}' if why else 'is a run apart'}"
    )


if __name__ == "__main__":
    main()
