"""Programs are built when what they are made of has changed, by a Go that can."""

from pathlib import Path

import pytest

from lab import golang

pytestmark = pytest.mark.process


# Builds in no time, and says no when there is a file `broken`.
FAKE_GO = """#!/bin/sh
case $1 in
version) echo "go version go$GO_IN_THIS_TEST linux/amd64" ;;
build) [ ! -e broken ] || { echo "undefined: main" >&2; exit 1; }
  while [ "$1" != -o ]; do shift; done
  cat main.go >"$2/program" ;;
esac
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Go module, with a Go 1.26 on PATH and an empty cache."""
    fake = tmp_path / "bin" / "go"
    fake.parent.mkdir()
    fake.write_text(FAKE_GO)
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")
    monkeypatch.setenv("GO_IN_THIS_TEST", "1.26.6")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "module"
    folder.mkdir()
    (folder / "go.mod").write_text("module example\n\ngo 1.25.3\n")
    (folder / "go.sum").touch()
    (folder / "main.go").write_text("one")
    return folder


def test_a_program_is_built_again_after_a_change_alone(module: Path) -> None:
    """The same content is the same folder; another content is another one."""
    first = golang.built(module, ["."], name="example")
    (module / "broken").touch()
    assert golang.built(module, ["."], name="example") == first
    (module / "broken").unlink()
    (module / "main.go").write_text("two")
    second = golang.built(module, ["."], name="example")
    assert (second / "program").read_text() == "two"
    assert golang.built(module, ["."], name="example", ldflags="") != second


def test_a_failed_build_says_why_and_leaves_nothing(module: Path) -> None:
    """The compiler's words are in the error, and the next try builds."""
    (module / "broken").touch()
    with pytest.raises(RuntimeError, match="undefined: main"):
        golang.built(module, ["."], name="example")
    assert list(golang.cache().iterdir()) == []
    (module / "broken").unlink()
    assert golang.built(module, ["."], name="example").is_dir()


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        ("1.26.6", "the installed"),
        ("1.25.3", "the installed"),
        ("1.9.7", "the wheel's"),
    ],
)
def test_an_older_go_is_passed_over(
    module: Path, monkeypatch: pytest.MonkeyPatch, version: str, taken: str
) -> None:
    """One that go.mod does not accept gives way to the wheel's."""
    monkeypatch.setenv("GO_IN_THIS_TEST", version)
    monkeypatch.setattr(golang, "UV", "true")
    installed = module.parent / "bin" / "go"
    found = golang.go(module)
    assert ("the installed" if found == installed else "the wheel's") == taken
