"""The states of a KV secret, as an operator and the applications see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hvac.exceptions
import pytest

from lab.process import eventually
from lab.system import SECRET, System
from resentry import formats

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.sink import Sink
    from lab.vault import Vault

pytestmark = pytest.mark.vault


def version_1(system: System, path: str = "kv1/lms") -> Callable[..., None]:
    """Mount KV version 1 where the path says; return what writes it."""
    mount, _, inside = path.partition("/")
    client = system.vault.client
    client.sys.enable_secrets_engine("kv", mount, options={"version": "1"})
    system.environ["RESENTRY_VAULT_PATHS"] = path

    def write(**fields: Any) -> None:
        client.secrets.kv.v1.create_or_update_secret(inside, fields, mount_point=mount)

    return write


def upgraded(act: Callable[[], object]) -> None:
    """Do it on a mount of version 2 that is new, which refuses for a moment."""

    def is_done() -> bool:
        try:
            act()
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.InvalidPath):
            return False
        return True

    eventually(is_done, what="the mount's version 2")


def sequence(system: System, number: int) -> dict[str, Any]:
    """Wait for that snapshot."""

    def current() -> dict[str, Any] | None:
        found: dict[str, Any] | None = system.status()["current"]
        return found if found and found["sequence"] == number else None

    return eventually(current, what=f"sequence {number}")


def missing(system: System) -> None:
    system.vault.forget(SECRET)


def deleted(system: System) -> None:
    system.vault.delete(SECRET)


def destroyed(system: System) -> None:
    system.vault.client.secrets.kv.v2.destroy_secret_versions(SECRET, [1])


def empty(system: System) -> None:
    system.write()


def forbidden(system: System) -> None:
    token = system.vault.policy_token('path "secret/data/x" { capabilities=["read"] }')
    system.environ["RESENTRY_VAULT_TOKEN"] = token


def partial(system: System) -> None:
    system.write(SENTRY_TRACES_SAMPLE_RATE="0.5")


def nested(system: System) -> None:
    system.write(SENTRY_DSN={"dsn": "https://k@host/1"})


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (missing, 66, "there is no secret at secret/data/lms"),
        (deleted, 66, "this version of secret/data/lms is deleted"),
        (destroyed, 66, "this version of secret/data/lms is destroyed"),
        (empty, 66, "secret/data/lms is empty"),
        (forbidden, 77, "Vault denies access to secret/data/lms"),
        (partial, 65, "SENTRY_DSN is gone from the source"),
        (nested, 65, "SENTRY_DSN must be text"),
    ],
)
def test_a_secret_that_does_not_serve_keeps_the_last_good(
    system: System, sink: Sink, change: Callable[[System], None], code: int, says: str
) -> None:
    """Each state has its exit code and its sentence; what is published stays."""
    system.write(SENTRY_DSN=sink.dsn(1))
    assert system.run("resentry-agent", "once")[0] == 0

    change(system)
    found, printed = system.run("resentry-agent", "once")

    assert (found, says in printed) == (code, True), printed
    assert system.status()["current"]["sequence"] == 1
    assert sink.dsn(1) in (system.directory / "SENTRY_DSN").read_text()


@pytest.mark.parametrize("version", ["1", "2"])
def test_both_versions_are_polled_alike(
    system: System, sink: Sink, version: str
) -> None:
    """A change is published within one interval, a write without one is not."""
    write = version_1(system) if version == "1" else system.write
    write(SENTRY_DSN=sink.dsn(1))
    system.start_agent()
    sequence(system, 1)
    write(SENTRY_DSN=sink.dsn(1), ANOTHER="key")
    eventually(
        lambda: "other keys ignored: 1" in system.status()["source"]["notes"],
        what="the other key",
    )
    write(SENTRY_DSN=sink.dsn(2), ANOTHER="key")
    sequence(system, 2)


def test_a_mount_is_upgraded_under_a_running_agent(system: System, sink: Sink) -> None:
    """From version 1 to 2: the same agent reads what is written then."""
    write = version_1(system)
    write(SENTRY_DSN=sink.dsn(1))
    agent = system.start_agent()
    sequence(system, 1)

    client = system.vault.client
    client.sys.tune_mount_configuration("kv1", options={"version": "2"})
    fields = {"data": {"SENTRY_DSN": sink.dsn(2)}}
    upgraded(lambda: client.write_data("kv1/data/lms", data=fields))

    sequence(system, 2)
    assert agent.alive


def test_custom_metadata_is_shown_and_publishes_nothing(
    system: System, sink: Sink
) -> None:
    """It stands in the provenance of the next revision that has another reason."""
    system.write(SENTRY_DSN=sink.dsn(1))
    assert system.run("resentry-agent", "once")[0] == 0
    system.vault.client.secrets.kv.v2.update_metadata(
        SECRET, custom_metadata={"owner": "lms team"}
    )
    code, printed = system.run("resentry-agent", "once")
    assert (code, "nothing new" in printed) == (0, True), printed

    system.write(SENTRY_DSN=sink.dsn(2))
    assert system.run("resentry-agent", "once")[0] == 0
    origin = system.status()["current"]["provenance"]["SENTRY_DSN"]
    assert formats.moment(origin.pop("created_time"))
    assert origin == {
        "source": "vault",
        "path": "secret/data/lms",
        "version": 2,
        "custom_metadata": {"owner": "lms team"},
    }


def test_a_pinned_version_stays_until_another_is_pinned(
    system: System, sink: Sink
) -> None:
    """A newer version is not taken; the next pin is."""
    for project in (1, 2, 3):
        system.write(SENTRY_DSN=sink.dsn(project))
    for version, number in ((2, 1), (2, 1), (3, 2)):
        path = f"secret/data/{SECRET}?version={version}"
        code, printed = system.run("resentry-agent", "once", RESENTRY_VAULT_PATHS=path)
        assert code == 0, printed
        current = system.status()["current"]
        assert current["sequence"] == number
        assert current["provenance"]["SENTRY_DSN"]["version"] == version


def test_a_coming_deletion_is_noted(system: System, sink: Sink) -> None:
    """With its time, while the secret still serves."""
    system.vault.client.secrets.kv.v2.update_metadata(SECRET, delete_version_after="1h")
    system.write(SENTRY_DSN=sink.dsn(1))
    code, printed = system.run("resentry-agent", "once")
    assert code == 0
    assert "Vault will delete secret/data/lms at 20" in printed


def test_a_namespace_has_secrets_of_its_own(sink: Sink) -> None:
    """Token, mount and secret are those of the namespace, and it may be nested."""
    with System() as system:
        if not system.vault.openbao:
            pytest.skip("HashiCorp Vault has namespaces in its paid editions alone")
        for name in ("team", "team/eu"):
            outer, _, last = name.rpartition("/")
            inside(system.vault, outer, "post", f"sys/namespaces/{last}")
        where = "team/eu"
        engine = {"type": "kv", "options": {"version": "2"}}
        inside(system.vault, where, "post", "sys/mounts/secret", **engine)
        fields = {"SENTRY_DSN": sink.dsn(7)}
        upgraded(
            lambda: inside(system.vault, where, "post", "secret/data/lms", data=fields)
        )
        text = 'path "secret/data/lms" { capabilities = ["read"] }'
        inside(system.vault, where, "post", "sys/policies/acl/lms", policy=text)
        made = inside(
            system.vault, where, "post", "auth/token/create", policies=["lms"]
        )
        token = made["auth"]["client_token"]

        code, printed = system.run(
            "resentry-agent",
            "once",
            RESENTRY_VAULT_NAMESPACE=where,
            RESENTRY_VAULT_TOKEN=token,
        )
        assert code == 0, printed
        assert sink.dsn(7) in (system.directory / "SENTRY_DSN").read_text()

        code, printed = system.run(
            "resentry-agent", "once", RESENTRY_VAULT_NAMESPACE="elsewhere"
        )
        assert code in (66, 77), printed


def inside(
    vault: Vault, namespace: str, method: str, path: str, **body: Any
) -> dict[str, Any]:
    """Ask the server within a namespace."""
    client = vault.client
    client.adapter.namespace = namespace or None
    answer = client.adapter.request(method, f"/v1/{path}", json=body)
    return answer if isinstance(answer, dict) else {}
