"""The forge runs what .ci/run runs, and knows no host of a registry."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.bugsink import REPOSITORY

ROOT = Path(REPOSITORY)
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


def _targets_of_ci_run() -> set[str]:
    """Return the targets that .ci/run names in its code; `vault` only builds a server."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    code = (line for line in lines if not re.match(r" *(#|echo\b)", line))
    words = {word for line in code for word in line.replace(";", " ").split()}
    targets = re.findall(r"(?m)^([a-z-]+):.*## ", (ROOT / "Makefile").read_text())
    return words & set(targets) - {"vault"}


def test_each_target_of_ci_run_is_a_job() -> None:
    """And nothing else is: a laptop, .ci/run and the forge check the same."""
    jobs = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())["jobs"]
    called = set(jobs["make"]["strategy"]["matrix"]["target"])
    for step in jobs["cluster"]["steps"]:
        called |= set(step.get("run", "").replace("make ", "").split())
    assert called == _targets_of_ci_run()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_each_action_is_pinned_to_a_commit(workflow: Path) -> None:
    """A tag can be moved. The comment beside the commit says which version it is."""
    used = re.findall(r"uses: (.+)", workflow.read_text())
    assert used
    for action in used:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_no_workflow_names_a_host(workflow: Path) -> None:
    """Registries are variables of the repository."""
    assert re.findall(r"\b[\w-]+\.(?:io|org|com|dev|net)\b", workflow.read_text()) == []


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_what_the_forge_asks_for(form: Path) -> None:
    """A name, a description, and fields with a label; each id once."""
    content: dict[str, Any] = yaml.safe_load(form.read_text())
    assert content["name"]
    assert content["description"]
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in fields)
    ids = [field["id"] for field in fields]
    assert len(ids) == len(set(ids))


def test_each_hook_calls_a_tool_of_the_project() -> None:
    """Which `make setup` installs, or which is a target."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (local,) = config["repos"]
    assert local["repo"] == "local"
    programs = {shlex.split(hook["entry"])[0] for hook in local["hooks"]}
    for program in programs - {"make"}:
        assert (ROOT / program).exists(), program
