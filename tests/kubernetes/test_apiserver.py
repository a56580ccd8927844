"""The manifests at a real API server: dry runs, pod security, and a login at Vault."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from blocks import PAGE, blocks, followed
from manifests import AGENT, K8S, OVERLAYS, named, overlay, pod, workloads
from operated import BAO, check, set_up
from servers import NAMESPACE, restricted

from lab import golang, kustomize
from lab.apiserver import PARTS, ApiServer
from lab.process import Process, eventually
from lab.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The server is built when a test is the first to need it.
pytestmark = [
    pytest.mark.vault,
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("kubectl"),
]


class Kinds(NamedTuple):
    """A Go module that publishes custom kinds: its checksum, its folder of definitions."""

    module: str
    checksum: str
    folder: str


KINDS = {
    "external-secrets.io": Kinds(
        "github.com/external-secrets/external-secrets@v1.3.2",
        "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=",
        "config/crds/bases",
    ),
    "secrets.hashicorp.com": Kinds(
        "github.com/hashicorp/vault-secrets-operator@v0.10.0",
        "h1:BjOTBJRqx1SLo7NeyqNJWRPDyfRscbqPtGU1U2LzArg=",
        "config/crd/bases",
    ),
    "secrets-store.csi.x-k8s.io": Kinds(
        "sigs.k8s.io/secrets-store-csi-driver@v1.5.4",
        "h1:enl+v1+JbKDyVjdfT/7CillZsc4rLAM9tTHyf7GeLxc=",
        "config/crd/bases",
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """An API server, with a namespace that takes restricted pods only."""
    with restricted() as started:
        yield started


def dry_run(server: ApiServer, objects: list[dict[str, Any]]) -> list[str]:
    """Return what the server would do with each object; unknown fields are errors."""
    said = server.apply(
        yaml.safe_dump_all(objects),
        *("--dry-run=server", "--validate=strict", f"-n{NAMESPACE}"),
    )
    return said.splitlines()


def pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the pods that the workloads would make."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": workload["metadata"]["name"]},
            "spec": pod(workload),
        }
        for workload in workloads(objects)
    ]


def is_custom(built: dict[str, Any]) -> bool:
    return built["apiVersion"].partition("/")[0] in KINDS


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_server_takes_each_object(server: ApiServer, name: str) -> None:
    """Every object that is Kubernetes' own passes a server-side dry run."""
    objects = [built for built in overlay(name) if not is_custom(built)]

    assert len(dry_run(server, objects)) == len(objects)


def test_the_server_takes_a_rotation_on_a_schedule(server: ApiServer) -> None:
    """Its objects pass a dry run, and its pod is one that `restricted` admits."""
    objects = kustomize.build(K8S / "rotation")
    (job,) = (built for built in objects if built["kind"] == "CronJob")
    spec = dict(job["spec"]["jobTemplate"]["spec"]["template"]["spec"])
    del spec["serviceAccountName"]  # a dry run does not make it
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "rotation"}}

    assert len(dry_run(server, [*objects, {**made, "spec": spec}])) == len(objects) + 1


def test_the_server_takes_a_bridge(server: ApiServer) -> None:
    """Its objects pass a dry run, and `restricted` admits its pod."""
    objects = kustomize.build(K8S / "bridge")
    made = pods(objects)
    for each in made:
        del each["spec"]["serviceAccountName"]  # a dry run does not make it

    assert len(dry_run(server, [*objects, *made])) == len(objects) + 1


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_restricted_namespace_admits_the_pods(server: ApiServer, name: str) -> None:
    """Pod security `restricted` is enforced, and has nothing to say."""
    made = pods(overlay(name))

    assert len(dry_run(server, made)) == 2


def test_a_restricted_namespace_would_refuse_others(server: ApiServer) -> None:
    """The namespace enforces what the other test relies on."""
    (plain, *_) = pods(overlay("kubernetes"))
    spec = {**plain["spec"], "hostNetwork": True}

    with pytest.raises(RuntimeError, match="violates PodSecurity"):
        dry_run(server, [plain | {"spec": spec}])


def test_the_documents_manifests_are_taken(server: ApiServer, tmp_path: Path) -> None:
    """The five minutes' result and the NetworkPolicy of docs/kubernetes.md are valid."""
    objects = followed(tmp_path)
    objects += pods(objects)
    objects.append(yaml.safe_load(blocks()["network-policy.yaml"]))

    assert len(dry_run(server, objects)) == len(objects)


def forget_the_label(deployment: dict[str, Any]) -> None:
    """The component leaves the workload alone; the owner's patch does not."""
    kept = {"resentry", "resentry-receipts"}
    spec = pod(deployment)
    spec["initContainers"] = [c for c in spec["initContainers"] if c["name"] != AGENT]
    assert kept <= {one["name"] for one in spec["volumes"]}
    del spec["volumes"]


def misname_the_container(deployment: dict[str, Any]) -> None:
    """What kustomize makes of a patch that names a container which is not there."""
    patched = named(pod(deployment)["containers"], "api")
    wrong = {key: patched[key] for key in ("env", "volumeMounts")}
    pod(deployment)["containers"].insert(0, {"name": "app", **wrong})


@pytest.mark.parametrize("slip", [forget_the_label, misname_the_container])
def test_the_document_quotes_what_the_server_says(
    server: ApiServer, tmp_path: Path, slip: Callable[[dict[str, Any]], None]
) -> None:
    """Whoever makes a slip finds the server's words in the page's table."""
    (made,) = workloads(followed(tmp_path))
    slip(made)

    with pytest.raises(RuntimeError) as refused:
        dry_run(server, [made])
    _, table, _ = re.split("## (?:What kubectl says|Variants)", PAGE.read_text())
    quotes = re.findall(r"(?m)^\| `([^`]+)` \| `apply`", table)
    assert len(quotes) == 2
    assert any(quote in str(refused.value) for quote in quotes), refused.value


@pytest.mark.parametrize("group", KINDS)
def test_custom_kinds_pass_their_published_schema(
    server: ApiServer, group: str
) -> None:
    """With the kinds' own definitions installed the server takes the objects, too."""
    objects = [
        built
        for name in OVERLAYS
        for built in overlay(name)
        if built["apiVersion"].startswith(f"{group}/")
    ]
    install(server, group)

    assert len(dry_run(server, objects)) == len(objects) > 0


def install(server: ApiServer, group: str) -> None:
    """Install a group's published definitions."""
    wanted = KINDS[group]
    # The checksum stands above: not every module is in the public database of checksums.
    done = subprocess.run(
        [golang.go(PARTS), "mod", "download", "-json", wanted.module],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {"GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GONOSUMDB": "*"},
    )
    module = json.loads(done.stdout)
    assert module.get("Sum") == wanted.checksum, module.get("Error")
    definitions = sorted(Path(module["Dir"], wanted.folder).glob(f"{group}_*.yaml"))
    assert definitions
    for definition in definitions:
        # Too large for the annotation of a client-side apply.
        server.kubectl("apply", "--server-side", "-f", str(definition))
    server.kubectl("wait", "--for=condition=Established", "crd", "--all")


@pytest.fixture
def vault(server: ApiServer, tmp_path: Path) -> Iterator[Vault]:
    """A Vault to which setup.sh has introduced the API server."""
    with Vault() as started:
        started.write("lms", SENTRY_DSN="")
        server.apply((K8S / "vault" / "reviewer.yaml").read_text())
        # The Secret stays empty here: a controller of a whole cluster fills it.
        account = ("create", "token", "vault-reviewer", "-nkube-system")
        (tmp_path / "reviewer").write_text(server.kubectl(*account).strip())
        set_up(
            started,
            NAMESPACE=NAMESPACE,
            KUBERNETES_HOST=f"https://127.0.0.1:{server.port}",
            KUBERNETES_CA_FILE=f"{server.folder}/ca.pem",
            REVIEWER_JWT_FILE=str(tmp_path / "reviewer"),
        )
        yield started


def token(server: ApiServer, path: Path, account: str, *options: str) -> str:
    """Write a new token of an account to a file; return its path."""
    made = server.kubectl("create", "token", account, f"-n{NAMESPACE}", *options)
    path.write_text(made.strip())
    return str(path)


def settings(folder: Path, **more: str) -> dict[str, str]:
    """Return the agent's settings, beyond those that `more` holds."""
    return {
        "RESENTRY_DIR": str(folder / "volume"),
        "RESENTRY_ENVIRONMENT": "development",
        "RESENTRY_VAULT_PATHS": "secret/data/lms",
        **more,
    }


def test_a_pods_token_logs_in_at_vault(
    server: ApiServer, vault: Vault, tmp_path: Path
) -> None:
    """The role that setup.sh makes takes the base's account, for the audience alone."""
    path = tmp_path / "jwt"
    environ = settings(
        tmp_path,
        RESENTRY_VAULT_ADDR=vault.address,
        RESENTRY_VAULT_AUTH="kubernetes",
        RESENTRY_VAULT_ROLE="lms",
        RESENTRY_VAULT_JWT_FILE=str(path),
    )
    for account, audience, code in (
        ("resentry", "vault", 0),
        ("resentry", "other", 77),
        ("default", "vault", 77),
    ):
        token(server, path, account, f"--audience={audience}")
        found, said = check(environ)

        assert found == code, said


def test_the_agent_reads_through_the_overlays_proxy(
    server: ApiServer, vault: Vault, tmp_path: Path
) -> None:
    """With the overlay's own proxy.hcl a proxy logs in, and the agent sends no token."""
    jwt = token(server, tmp_path / "jwt", "resentry", "--audience=vault")
    socket, config = tmp_path / "socket", tmp_path / "proxy.hcl"
    text = (K8S / "overlays" / "vault-proxy" / "proxy.hcl").read_text()
    for there, here in (
        ("https://vault.example.com:8200", vault.address),
        ("/var/run/secrets/vault/token", jwt),
        ("/var/run/vault-proxy/socket", str(socket)),
    ):
        assert there in text
        text = text.replace(there, here)
    config.write_text(text)
    environ = settings(
        tmp_path, RESENTRY_VAULT_ADDR=f"unix://{socket}", RESENTRY_VAULT_AUTH="none"
    )
    command = [BAO, "proxy", f"-config={config}"]
    with Process(command, env={"HOME": "/nowhere"}, ready=socket.exists):
        eventually(lambda: check(environ)[0] == 0, 30, "the proxy has logged in")
