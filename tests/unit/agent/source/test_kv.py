"""Where a secret is, and what its answer holds: every state of KV, both versions.

The server is real; what it cannot be brought to hold comes from the lab's proxy.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import hvac.exceptions
import pytest

from agent.domain.guard_rails import GuardRails
from agent.domain.validate import validate
from agent.errors import (
    AgentError,
    CandidateRefused,
    SettingsError,
    SourceDenied,
    SourceMissing,
)
from agent.settings import Settings
from agent.source.kv import Location, _only_value
from agent.source.vault import VaultSource
from lab.process import eventually
from lab.proxy import Faults, Proxy
from lab.vault import Vault
from resentry import formats

SECRET = "hvs.CAESIJplantedVaultToken0123456789abcdefghijkl"
RATE = {"SENTRY_SAMPLE_RATE": "0.5"}
Make = Callable[..., VaultSource]


pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    """A real one, with KV version 2 at `secret/` and version 1 at `kv1/` and `a/b/`."""
    with Vault() as running:
        for path in ("kv1", "a/b"):
            running.client.sys.enable_secrets_engine(
                "kv", path, options={"version": "1"}
            )
        write_v1(running, "kv1/lms", RATE)
        running.write("lms", {"SENTRY_TRACES_SAMPLE_RATE": "0.1"})
        running.write("lms/SENTRY_DSN", value="https://k@host/1")
        yield running


def write_v1(vault: Vault, path: str, fields: dict[str, Any]) -> None:
    mount, _, inside = path.partition("/")
    vault.client.secrets.kv.v1.create_or_update_secret(
        inside, fields, mount_point=mount
    )


def is_version_2(vault: Vault, mount: str) -> bool:
    """Whether the mount serves, which it does not while it is being upgraded."""
    try:
        return "data" in vault.client.read(f"{mount}/data/lms")["data"]
    except hvac.exceptions.InvalidRequest:
        return False


@pytest.fixture
def source(settings: Callable[..., Settings], vault: Vault) -> Make:
    def make(*paths: str, **values: Any) -> VaultSource:
        given = {
            "vault_addr": vault.address,
            "vault_token": vault.token,
            "vault_paths": paths,
            **values,
        }
        return VaultSource(settings(**given), "tests", wait=lambda _seconds: None)

    return make


@pytest.fixture
def canned(settings: Callable[..., Settings]) -> Iterator[Callable[..., VaultSource]]:
    """Make a source that finds that secret, whatever a real server would say to it."""
    with Proxy("127.0.0.1:9") as proxy:

        def make(held: object, version: str = "2") -> VaultSource:
            data = {"data": held, "metadata": {}} if version == "2" else held
            text = json.dumps({"data": data}, ensure_ascii=False)
            body = text.encode(errors="backslashreplace")
            proxy.faults = Faults(status=200, body=body)
            given = {"vault_auth": "none", "vault_kv_version": version}
            return VaultSource(settings(vault_addr=proxy.url, **given), "tests")

        yield make


# Where it is


@pytest.mark.vault
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("secret/data/lms", Location("secret/data/lms", None, 2)),
        ("secret/lms", Location("secret/data/lms", None, 2)),
        ("/v1/secret/data/lms/", Location("secret/data/lms", None, 2)),
        (
            "secret/data/lms/SENTRY_DSN",
            Location("secret/data/lms/SENTRY_DSN", "SENTRY_DSN", 2),
        ),
        (
            "secret/lms/RESENTRY_RULES",
            Location("secret/data/lms/RESENTRY_RULES", "RESENTRY_RULES", 2),
        ),
        ("secret/lms/SENTRY_DNS", Location("secret/data/lms/SENTRY_DNS", None, 2)),
        ("kv1/lms", Location("kv1/lms", None, 1)),
        ("kv1/data/lms", Location("kv1/data/lms", None, 1)),
        ("a/b/c", Location("a/b/c", None, 1)),
    ],
)
def test_a_path_is_located_at_a_real_vault(
    source: Make, path: str, expected: Location
) -> None:
    """API and logical paths, deep mounts, both versions and single keys are told apart."""
    found = source(path)
    found.log_in()
    assert expected == found.locate(path)


@pytest.mark.parametrize(
    ("version", "path", "expected"),
    [
        ("2", "kv/lms", Location("kv/data/lms", None, 2)),
        ("2", "kv/data/lms", Location("kv/data/lms", None, 2)),
        ("1", "kv/lms", Location("kv/lms", None, 1)),
    ],
)
def test_a_set_version_asks_nobody(
    source: Make, version: str, path: str, expected: Location
) -> None:
    """With `RESENTRY_VAULT_KV_VERSION` no request is needed: none could be answered."""
    found = source(path, vault_kv_version=version, vault_addr="http://127.0.0.1:9")
    assert expected == found.locate(path)


def test_several_secrets_make_one_candidate(source: Make) -> None:
    """Values of both versions and of a single key stand together, with their origins."""
    paths = ("secret/lms", "secret/data/lms/SENTRY_DSN", "kv1/lms")
    candidate = source(*paths).read()
    assert candidate.values == {
        "SENTRY_TRACES_SAMPLE_RATE": "0.1",
        "SENTRY_DSN": "https://k@host/1",
        "SENTRY_SAMPLE_RATE": "0.5",
    }
    origin = dict(candidate.provenance["SENTRY_DSN"])
    assert time.time() - 120 < formats.moment(origin.pop("created_time"))
    assert origin == {
        "source": "vault",
        "path": "secret/data/lms/SENTRY_DSN",
        "version": 1,
    }
    assert candidate.provenance["SENTRY_SAMPLE_RATE"] == {
        "source": "vault",
        "path": "kv1/lms",
    }


LOCATION = Location("secret/data/lms/SENTRY_DSN", "SENTRY_DSN", 2)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({"SENTRY_DSN": "a", "value": "b", "other": "c"}, "a"),
        ({"value": "b", "other": "c"}, "b"),
        ({"other": "c"}, "c"),
        ({"SENTRY_DSN": ""}, ""),
        ({"value": None}, None),
    ],
    ids=repr,
)
def test_a_secret_of_one_key_holds_it_under_three_names(
    held: dict[str, Any], expected: object
) -> None:
    """In a field named like it, else `value`, else its only field."""
    assert expected == _only_value(held, LOCATION)


@pytest.mark.parametrize("held", [{}, {"a": SECRET, "b": SECRET}], ids=["none", "two"])
def test_a_secret_of_one_key_with_other_fields_is_missing(
    held: dict[str, Any],
) -> None:
    """The agent does not guess, and does not quote."""
    with pytest.raises(SourceMissing, match="has no field SENTRY_DSN or") as it:
        _only_value(held, LOCATION)
    assert SECRET not in it.value.what + it.value.hint


@pytest.mark.parametrize(
    "path",
    ["/", "v1/", "secret", "v1/secret", "secret/lms?", "secret/lms?list=true"]
    + [f"secret/lms?version={pin}" for pin in ("", "-1", "x", "1&version=2", "9" * 10)],
)
def test_what_is_no_path_is_refused_at_once(source: Make, path: str) -> None:
    """Before Vault is asked anything, naming the setting and an example."""
    with pytest.raises(
        SettingsError, match=r"RESENTRY_VAULT_PATHS: .* is not"
    ) as caught:
        source("secret/lms", path)
    assert "secret/data/lms" in caught.value.hint


def test_a_detected_version_is_asked_for_once(vault: Vault, source: Make) -> None:
    """Each further pass is one request a secret."""
    with Proxy(vault.address) as proxy:
        reading = source("secret/lms", "kv1/lms", vault_addr=proxy.url)
        for _ in range(3):
            reading.read()
        asked = [request.start[1].removeprefix("/v1/") for request in proxy.requests]
    assert asked.count("sys/internal/ui/mounts/secret/lms") == 1
    assert asked.count("sys/internal/ui/mounts/kv1/lms") == 1
    # The first pass reads twice: with several secrets, what is new has to settle.
    assert asked.count("secret/data/lms") == asked.count("kv1/lms") == 4


@pytest.mark.parametrize(
    "faults",
    [
        Faults(status=503),
        Faults(status=403),
        Faults(status=404),
        Faults(status=200, body=b"{}"),
        Faults(status=200, body=b'{"data": {"path": "secret/"}}'[:-2]),
        Faults(status=200, body=b'{"data": {"path": "secret/", "options": "2"}}'),
        Faults(
            status=200, body=b'{"data": {"path": "x/", "options": {"version": ""}}}'
        ),
    ],
    ids=repr,
)
def test_a_failed_detection_is_not_remembered(
    vault: Vault, source: Make, faults: Faults
) -> None:
    """The next pass asks again, and never takes the silence for version 1."""
    with Proxy(vault.address) as proxy:
        reading = source("secret/lms", vault_addr=proxy.url)
        reading.log_in()
        proxy.faults = faults
        with pytest.raises(AgentError):
            reading.locate("secret/lms")
        proxy.clear()
        assert reading.read().values == {"SENTRY_TRACES_SAMPLE_RATE": "0.1"}


def test_a_mount_that_may_not_be_asked_about_is_denied(
    vault: Vault, source: Make
) -> None:
    """The error names the right that lacks, and the setting that makes do without."""
    token = vault.policy_token('path "other/x" { capabilities = ["read"] }')
    reading = source("secret/lms", vault_token=token)
    with pytest.raises(
        SourceDenied, match="cannot find the mount of secret/lms"
    ) as caught:
        reading.read()
    assert "RESENTRY_VAULT_KV_VERSION" in caught.value.hint


def test_a_mount_that_was_upgraded_is_noticed_within_the_pass(
    vault: Vault, source: Make
) -> None:
    """From version 1 to 2, under a source that had read it as version 1."""
    client = vault.client
    client.sys.enable_secrets_engine("kv", "old", options={"version": "1"})
    write_v1(vault, "old/lms", RATE)
    reading = source("old/lms")
    assert reading.read().provenance["SENTRY_SAMPLE_RATE"].get("version") is None
    client.sys.tune_mount_configuration("old", options={"version": "2"})
    eventually(lambda: is_version_2(vault, "old"), what="version 2")

    found = reading.read()

    assert found.values == RATE
    where = {"source": "vault", "path": "old/data/lms", "version": 1}
    assert where.items() <= found.provenance["SENTRY_SAMPLE_RATE"].items()


# What state it is in


def test_a_secret_that_was_never_there_is_missing(source: Make) -> None:
    """Of either version: the path is named, and what to check."""
    for path, named in (("secret/no", "secret/data/no"), ("kv1/no", "kv1/no")):
        with pytest.raises(SourceMissing, match=f"no secret at {named}") as caught:
            source(path).read()
        assert "RESENTRY_VAULT_PATHS" in caught.value.hint


def test_a_version_that_was_set_wrong_is_missing(source: Make) -> None:
    """The hint names the setting, in both directions."""
    for path, version in (("secret/lms", "1"), ("kv1/lms", "2")):
        with pytest.raises(SourceMissing) as caught:
            source(path, vault_kv_version=version).read()
        assert "RESENTRY_VAULT_KV_VERSION" in caught.value.hint


def test_deleted_and_destroyed_are_told_apart(vault: Vault, source: Make) -> None:
    """Another thing has to be done about each; undeleted, the secret serves again."""
    kv = vault.client.secrets.kv.v2
    vault.write("gone", RATE)
    reading = source("secret/gone")
    vault.delete("gone")
    with pytest.raises(SourceMissing, match="secret/data/gone is deleted") as caught:
        reading.read()
    undelete = "vault kv undelete -mount=secret -versions=1 gone; or write a new"
    assert caught.value.hint.startswith(undelete)
    kv.undelete_secret_versions("gone", [1])
    assert reading.read().values == RATE
    kv.destroy_secret_versions("gone", [1])
    with pytest.raises(SourceMissing, match="secret/data/gone is destroyed") as caught:
        reading.read()
    assert "new version" in caught.value.hint
    vault.write("gone", RATE)
    assert reading.read().values == RATE


def test_a_secret_that_may_not_be_read_is_denied(vault: Vault, source: Make) -> None:
    """Though its mount may be asked about, through another right."""
    token = vault.policy_token('path "secret/data/other" { capabilities = ["read"] }')
    with pytest.raises(
        SourceDenied, match="denies access to secret/data/lms"
    ) as caught:
        source("secret/lms", vault_token=token).read()
    assert "check --policy" in caught.value.hint


@pytest.mark.slow
def test_a_deletion_in_the_future_is_noted(vault: Vault, source: Make) -> None:
    """Until then the secret serves; afterwards it is deleted."""
    kv = vault.client.secrets.kv.v2
    kv.update_metadata("ending", delete_version_after="2s")
    vault.write("ending", RATE)
    reading = source("secret/ending")
    found = reading.read()
    assert found.values == RATE
    (note,) = found.notes
    assert note.startswith("Vault will delete secret/data/ending at 20")
    assert note.endswith("Z")

    def is_deleted() -> bool:
        try:
            return not reading.read()
        except SourceMissing as error:
            return "is deleted" in error.what

    eventually(is_deleted, what="the deletion")


@pytest.mark.parametrize("held", [{}, None], ids=repr)
def test_a_secret_without_a_key_is_missing(
    vault: Vault, source: Make, held: object
) -> None:
    """Nothing in it says that nothing is meant."""
    vault.client.write_data("secret/data/empty", data={"data": held})
    with pytest.raises(SourceMissing, match="secret/data/empty is empty") as caught:
        source("secret/empty").read()
    assert caught.value.hint


def test_one_of_several_that_lacks_makes_all_lack(source: Make) -> None:
    """Half a candidate is none: the last good stays whole."""
    with pytest.raises(SourceMissing, match="no secret at secret/data/no"):
        source("secret/lms", "secret/no", "kv1/lms").read()


def test_a_version_can_be_pinned(vault: Vault, source: Make) -> None:
    """It is read though there are newer ones; 0 is the newest."""
    for value in ("0.1", "0.2", "0.3"):
        vault.write("pinned", {"SENTRY_SAMPLE_RATE": value})
    for path, value, version in (
        ("secret/pinned?version=2", "0.2", 2),
        ("secret/data/pinned?version=1", "0.1", 1),
        ("secret/pinned?version=0", "0.3", 3),
    ):
        found = source(path).read()
        assert found.values == {"SENTRY_SAMPLE_RATE": value}
        assert found.provenance["SENTRY_SAMPLE_RATE"]["version"] == version


def test_a_pinned_version_that_is_not_there_is_named(
    vault: Vault, source: Make
) -> None:
    """Never written, or deleted: the version that serves is not taken instead."""
    vault.write("few", RATE)
    vault.write("few", RATE)
    vault.client.secrets.kv.v2.delete_secret_versions("few", [1])
    for version, says in ((9, "no secret at secret/data/few"), (1, "is deleted")):
        with pytest.raises(SourceMissing, match=says) as caught:
            source(f"secret/few?version={version}").read()
        assert f"secret/data/few?version={version}" in caught.value.what


def test_version_1_has_nothing_to_pin(source: Make) -> None:
    """It keeps one version alone."""
    with pytest.raises(SettingsError, match="and KV version 1 has none"):
        source("kv1/lms?version=3").read()


# What it holds


def test_custom_metadata_is_provenance_and_no_new_content(
    vault: Vault, source: Make
) -> None:
    """Notes that people keep beside a secret are shown; they change nothing."""
    vault.write("noted", RATE)
    reading = source("secret/noted")
    before = reading.read()
    custom = {"owner": "lms team", "ticket": "OPS-7"}
    vault.client.secrets.kv.v2.update_metadata("noted", custom_metadata=custom)
    after = reading.read()
    assert "custom_metadata" not in before.provenance["SENTRY_SAMPLE_RATE"]
    assert after.provenance["SENTRY_SAMPLE_RATE"]["custom_metadata"] == custom
    assert after.fingerprint == before.fingerprint
    revisions = {
        validate(one, GuardRails(), None, time.time()).snapshot.revision
        for one in (before, after)
    }
    assert len(revisions) == 1


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("SENTRY_SAMPLE_RATE", 0.5, 0.5),
        ("SENTRY_SAMPLE_RATE", 1, 1.0),
        ("SENTRY_SEND_PII", False, False),
        ("SENTRY_ENABLE_FOR_CELERY", True, True),
        ("SENTRY_SAMPLE_RATE", True, "SENTRY_SAMPLE_RATE"),
        ("SENTRY_SAMPLE_RATE", None, "SENTRY_SAMPLE_RATE"),
        ("SENTRY_SAMPLE_RATE", {"rate": SECRET}, "SENTRY_SAMPLE_RATE"),
        ("SENTRY_SAMPLE_RATE", [SECRET], "SENTRY_SAMPLE_RATE"),
        ("SENTRY_DSN", {"dsn": SECRET}, "SENTRY_DSN"),
        ("SENTRY_DSN", 7, "SENTRY_DSN"),
        ("SENTRY_DSN", "\ud800", "SENTRY_DSN"),
        ("SENTRY_ENVIRONMENT", ["production"], "SENTRY_ENVIRONMENT"),
        ("SENTRY_ENVIRONMENT", "\ud800", "SENTRY_ENVIRONMENT"),
        ("SENTRY_RELEASE", 1.5, "SENTRY_RELEASE"),
    ],
)
@pytest.mark.parametrize("version", ["1", "2"])
def test_values_that_are_no_text_are_typed_or_refused(
    canned: Callable[..., VaultSource],
    version: str,
    key: str,
    value: Any,
    expected: Any,
) -> None:
    """A number or a boolean may be one in the store; what is nested is no value."""
    candidate = canned({key: value}, version).read()
    if expected == key:
        with pytest.raises(CandidateRefused, match=key) as caught:
            validate(candidate, GuardRails(), None, time.time())
        assert SECRET not in str(caught.value)
    else:
        snapshot = validate(candidate, GuardRails(), None, time.time()).snapshot
        found = snapshot.settings[key]
        assert (found, type(found)) == (expected, type(expected))


def test_nested_values_of_other_keys_do_not_matter(
    canned: Callable[..., VaultSource],
) -> None:
    """A secret may be shared with others, who keep in it what they like."""
    held = {**RATE, "db": {"password": SECRET, "ports": [1, 2]}, "note": None}
    validated = validate(canned(held).read(), GuardRails(), None, time.time())
    assert validated.snapshot.settings == {"SENTRY_SAMPLE_RATE": 0.5}
    assert "other keys ignored: 2" in validated.notes


# How much


def of_size(size: int) -> dict[str, str]:
    """Return a secret whose JSON has so many bytes of UTF-8."""
    held = {**RATE, "ключ": ""}
    bare = len(json.dumps(held, ensure_ascii=False, separators=(",", ":")).encode())
    left = size - bare
    return {**held, "ключ": "é" * (left // 2) + "e" * (left % 2)}


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_secret_at_the_limits_passes(
    canned: Callable[..., VaultSource], version: str
) -> None:
    """1,000 keys and 1 MiB."""
    keys = {f"KEY_{number}": "" for number in range(1000)}
    assert canned(keys, version).read().values == keys
    large = of_size(1024 * 1024)
    read = canned(large, version).read().values
    assert read == {**RATE, "ключ": ""}, "of other keys only the names are kept"


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_secret_above_a_limit_is_refused(
    canned: Callable[..., VaultSource], version: str
) -> None:
    """The limit is named; the last good stays until the secret has changed."""
    many = {f"KEY_{number}": "" for number in range(1001)}
    for held, says in (
        (many, "secret/data/lms holds 1001 keys; the limit is 1000"),
        (of_size(1024 * 1024 + 1), "secret/data/lms holds more than 1 MiB of JSON"),
    ):
        with pytest.raises(CandidateRefused, match=says) as caught:
            canned(held, version).read()
        assert not caught.value.retry_soon


def test_a_real_server_s_largest_secrets_pass(vault: Vault, source: Make) -> None:
    """A thousand keys, patched in; and nearly a mebibyte, in two values."""
    merge = {"Content-Type": "application/merge-patch+json"}
    path = "/v1/secret/data/many"
    vault.write("many", RATE)
    for start in range(0, 999, 333):
        fields = {f"KEY_{number}": "v" for number in range(start, start + 333)}
        body = json.dumps({"data": fields})
        vault.client.adapter.request("patch", path, headers=dict(merge), data=body)
    assert len(source("secret/many").read().values) == 1000

    halves = {"a": "x" * 524_000, "b": "y" * 524_000}
    vault.write("large", halves)
    assert source("secret/large").read().values.keys() == halves.keys()
