"""The error tree: what its docstring promises is what the classes do."""

import re

import pytest

from agent import errors
from agent.errors import AgentError, CandidateRefused

CLASSES = {
    name: each
    for name, each in vars(errors).items()
    if isinstance(each, type) and issubclass(each, AgentError)
}
_LINE = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+) +(?P<code>\d{1,2})?\b")


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """Return parent and exit code by class, as the docstring draws them."""
    found: dict[str, tuple[str | None, int | None]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines()[1:]:
        match = _LINE.match(line)
        if match:
            depth = len(match["indent"]) // 4
            above[depth:] = [match["name"]]
            parent = above[depth - 1] if depth else None
            code = int(match["code"]) if match["code"] else None
            found[match["name"]] = (parent, code)
    return found


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    """Every class is drawn under its parent, and nothing else is."""
    expected = {name: parent for name, (parent, _) in drawn().items()}
    bases = {
        name: each.__base__.__name__ if each is not AgentError else None
        for name, each in CLASSES.items()
        if each.__base__
    }
    assert expected == bases


@pytest.mark.parametrize("name", CLASSES)
def test_the_exit_code_in_the_docstring_is_the_class_s(name: str) -> None:
    """A code that is drawn is the class's own; a class without one inherits 70."""
    assert (drawn()[name][1] or AgentError.exit_code) == CLASSES[name].exit_code


def test_no_two_classes_share_a_code() -> None:
    """A script can tell from the exit code what to do."""
    codes = [code for _, code in drawn().values() if code]
    assert len(codes) == len(set(codes))
    assert all(code == 1 or 65 <= code <= 78 for code in codes)


@pytest.mark.parametrize(
    ("name", "soon"),
    [
        ("SourceDown", True),
        ("SourceStale", True),
        ("PublishError", True),
        ("VolumeBusy", True),
        ("SourceDenied", False),
        ("SourceMissing", False),
        ("CandidateRefused", False),
        ("SettingsError", False),
    ],
)
def test_only_what_may_pass_by_itself_is_tried_again_soon(
    name: str, *, soon: bool
) -> None:
    """What an operator has to mend waits for the next interval."""
    assert soon is CLASSES[name].retry_soon


def test_a_refusal_names_every_problem() -> None:
    """The problems stand in the text, and one by one in the error."""
    error = CandidateRefused(["a is bad", "b is bad"], "0" * 12)
    assert error.what == str(error) == "a is bad; b is bad"
    assert error.problems == ("a is bad", "b is bad")
    assert error.hint == (
        "correct the values at the source, or a setting that the message names"
    )


def test_an_error_that_others_made_long_is_cut() -> None:
    """Each log line, the state file and every status repeat it."""
    error = CandidateRefused(["x" * 10**6, "b is bad"], "0" * 12)
    for text in (
        error.what,
        str(error),
        *error.problems,
        AgentError("a", "y" * 10**6).hint,
    ):
        assert len(text) <= errors.TEXT_LIMIT + 2


def test_a_secret_at_the_cut_is_not_shown() -> None:
    """What is left of it may be too short to have its form: the text is cut before it."""
    secret = "https://c0ffee00c0ffee00c0ffee00c0ffee00@host/1"
    for limit in (errors.TEXT_LIMIT, 2 * errors.TEXT_LIMIT):
        for place in range(limit - len(secret), limit + 1):
            text = f"{'x' * (place - 1)} {secret} {'x' * 9000}"
            assert "c0ffee" not in AgentError(text).what
