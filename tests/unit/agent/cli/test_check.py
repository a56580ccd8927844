"""`check` tells what `run` would stumble over, and what `status` knows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from living import living

from resentry.contract import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.process

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"
ID = "0123456789abcdef"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


@pytest.fixture
def check(command: Any, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run `check` beside a good source; return its exit code, steps, and error."""
    source = tmp_path / "source"
    source.write_text(f"SENTRY_DSN={DSN}\n")
    good = {
        "RESENTRY_SOURCE_PATH": str(source),
        "RESENTRY_HTTP_LISTEN": "off",
        "RESENTRY_DSN_CHECK": "off",
    }

    def run(name: str = "check", **environ: str) -> dict[str, Any]:
        ran = command(name, "--json", **good | environ)
        shown = json.loads(ran.stdout)
        steps = {each["step"]: each for each in shown["result"].get("steps", ())}
        return {"code": ran.returncode, "error": shown["error"], **steps}

    return run


@pytest.fixture
def published(check: Callable[..., dict[str, Any]], tmp_path: Path) -> Path:
    """The volume, with a snapshot on it."""
    assert check("once")["code"] == 0
    assert check()["code"] == 0
    return tmp_path / "volume"


@pytest.fixture
def live(published: Path) -> Iterator[None]:
    """A process that gave a receipt before the snapshot came."""
    receipt = Receipt(ID, "api", 1, 0, 1, revision="f" * 12, sequence=0)
    with living(published / "receipts", receipt):
        yield


@pytest.mark.usefixtures("live")
def test_an_overdue_process_is_a_problem(check: Callable[..., dict[str, Any]]) -> None:
    """With the code that `status` has for it; before the time limit it is none."""
    assert check()["targets"]["result"] == "ok"
    late = check(RESENTRY_CONFIRM_SECONDS="0.01")
    assert (late["code"], late["error"]["code"]) == (1, "NotConfirmed")
    assert "1 overdue" in late["targets"]["detail"]
    assert "read the log of the process" in late["targets"]["hint"]


@pytest.mark.usefixtures("live")
def test_a_role_that_no_process_has_is_named(
    check: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """It is no problem: the processes may be in another pod. Or it is a typing error."""
    roles = json.dumps({"celrey": {"SENTRY_SAMPLE_RATE": 0.5}})
    (tmp_path / "source").write_text(f"SENTRY_DSN={DSN}\nRESENTRY_ROLES={roles}\n")
    check("once")
    step = check()["targets"]
    assert step["result"] == "ok"
    assert "no process here has the role celrey" in step["detail"]


def test_no_receipt_at_all_is_a_problem_after_the_time_limit(
    check: Callable[..., dict[str, Any]], published: Path
) -> None:
    """The hint says which mounts and which group an application needs."""
    late = check(RESENTRY_CONFIRM_SECONDS="0.01")
    assert (late["code"], late["error"]["code"]) == (1, "NotConfirmed")
    assert "no process has given a receipt" in late["targets"]["detail"]
    group = (published / "receipts").stat().st_gid
    for text in (str(published / "receipts"), "RESENTRY_DIR", f"group {group}"):
        assert text in late["targets"]["hint"]


@as_root
def test_a_full_file_system_of_the_receipts_is_a_problem(
    check: Callable[..., dict[str, Any]], published: Path
) -> None:
    """No receipt would say so, because none can be written."""
    receipts = published / "receipts"
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k,mode=3770", "tmpfs", receipts]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        assert check()["code"] == 0
        (receipts / f"{ID}.tmp").write_bytes(bytes(12 * 1024))
        full = check()
    finally:
        subprocess.run(["umount", "-l", receipts], check=True)
    assert full["code"] == 1
    assert f"the file system of {receipts} is full" in full["targets"]["detail"]
    assert "8 KiB" in full["targets"]["hint"]


@pytest.mark.parametrize("setting", ["RESENTRY_HTTP_LISTEN", "RESENTRY_PROBES_LISTEN"])
def test_an_address_that_is_taken_is_a_problem(
    check: Callable[..., dict[str, Any]], setting: str
) -> None:
    """As it is one when `run` starts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        found = check(**{setting: address})
    assert found["code"] == 78
    assert f"cannot listen at {address}" in found["listen"]["detail"]


def test_an_address_that_is_none_of_this_machine_is_a_problem(
    check: Callable[..., dict[str, Any]],
) -> None:
    """It belongs to a network for documents."""
    found = check(RESENTRY_HTTP_LISTEN="203.0.113.1:19464")
    assert found["code"] == 78
    assert "cannot listen at 203.0.113.1:19464" in found["listen"]["detail"]


@pytest.mark.parametrize("name", ["x" * 110, "source"])
def test_a_control_path_that_cannot_be_used_is_a_problem(
    check: Callable[..., dict[str, Any]], tmp_path: Path, name: str
) -> None:
    """Too long, or something else is there, which stays."""
    found = check(RESENTRY_CONTROL=str(tmp_path / name))
    assert found["code"] == 78
    assert "cannot open the control socket" in found["listen"]["detail"]
    assert (tmp_path / "source").exists()


def test_something_in_the_way_of_a_file_is_a_problem(
    check: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """Before anything is published, `check` names the file."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "SENTRY_DSN").write_text("mine")
    found = check()
    assert found["code"] == 74
    assert "volume/SENTRY_DSN: a file that is not" in found["volume"]["detail"]


def test_the_tuning_file_has_a_step_of_its_own(
    check: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """It is judged on top of the source; without the setting there is no such step."""
    assert "tuning" not in check()
    file = tmp_path / "tuning"
    environ = {
        "RESENTRY_TUNING_PATH": str(file),
        "RESENTRY_RATE_CAPS": "production=0.2",
    }
    for text, code, said in (
        (None, 66, "cannot read"),
        ("SENTRY_TRACES_SAMPLE_RATE=0.1", 0, f"{file}: SENTRY_TRACES_SAMPLE_RATE"),
        ("SENTRY_TRACES_SAMPLE_RATE=0.3", 65, "must be at most 0.2 in production"),
        (f"SENTRY_DSN={DSN}", 65, "SENTRY_DSN must not stand in a tuning file"),
        ("{}", 0, "nothing on top of the source"),
    ):
        if text is not None:
            file.write_text(text)
        found = check(**environ)
        assert (found["code"], said in found["tuning"]["detail"]) == (code, True), found
        assert DSN not in str(found)
