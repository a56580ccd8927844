"""The token's life, told by a clock of the test's own, at a Vault that can be told all.

What a real one does is tested in tests/e2e/test_logins.py.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from agent.errors import CandidateRefused, SourceDenied, SourceDown, SourceError
from agent.source import login
from agent.source import token as tokens
from agent.source.token import CAP_SECONDS, Token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.settings import Settings

    Open = Callable[..., Token]

LOG_IN = "auth/approle/login"
LOOK_UP = "auth/token/lookup-self"
RENEW = "auth/token/renew-self"
REVOKE = "auth/token/revoke-self"
READ = "secret/data/lms"
DENIED, DOWN = SourceDenied("no"), SourceDown("away")


class Clock:
    """Monotonic seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Vault:
    """Stands for `Api`: makes tokens, counts every request, fails as it is told."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.token = ""
        self.ttl: Any = 60.0
        self.max_ttl = float("inf")
        self.renewable: Any = True
        self.living: dict[str, tuple[float, float]] = {}  # end, greatest end
        self._numbers = itertools.count(1)
        self.failing: dict[str, Exception] = {}
        self.asked: list[tuple[float, str, str]] = []

    def get(self, path: str) -> dict[str, Any]:
        return self._ask(path)

    def post(self, path: str, _body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._ask(path)

    def _ask(self, path: str) -> dict[str, Any]:
        self.asked.append((self.clock.now, path, self.token))
        if path in self.failing:
            raise self.failing[path]
        if path == LOG_IN:
            assert not self.token
            return {"auth": self.issue()}
        if self.living.get(self.token, (0.0, 0.0))[0] <= self.clock.now:
            raise DENIED
        return getattr(self, "_" + path.rpartition("/")[2].replace("-", "_"))()

    def issue(self, name: str = "") -> dict[str, Any]:
        """Make a token."""
        name = name or f"token-{next(self._numbers)}"
        most = self.clock.now + self.max_ttl
        ends = min(self.clock.now + self.ttl, most) if self.ttl else float("inf")
        self.living[name] = ends, most
        return {"client_token": name, **self._told(name)}

    def _told(self, name: str) -> dict[str, Any]:
        left = self.living[name][0] - self.clock.now if self.ttl else 0
        return {"lease_duration": left, "ttl": left, "renewable": self.renewable}

    def _lookup_self(self) -> dict[str, Any]:
        return {"data": self._told(self.token)}

    def _renew_self(self) -> dict[str, Any]:
        if self.renewable is not True:
            raise DENIED
        most = self.living[self.token][1]
        self.living[self.token] = min(self.clock.now + self.ttl, most), most
        return {"auth": self._told(self.token)}

    def _revoke_self(self) -> dict[str, Any]:
        del self.living[self.token]
        return {}

    def _lms(self) -> dict[str, Any]:
        return {}

    def times(self, path: str) -> list[float]:
        """When each request for that path came."""
        return [at for at, asked, _ in self.asked if asked == path]

    def count(self, path: str) -> int:
        """How many requests there were for that path."""
        return len(self.times(path))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault(clock: Clock) -> Vault:
    return Vault(clock)


@pytest.fixture
def opened(settings: Callable[..., Settings], vault: Vault, clock: Clock) -> Open:
    """Make a token; it logs in by AppRole unless told otherwise."""

    def make(**values: Any) -> Token:
        given = {"vault_auth": "approle", "vault_role_id": "role", **values}
        return Token(settings(**given), vault, clock)  # type: ignore[arg-type]

    return make


def one_pass(token: Token, vault: Vault) -> None:
    """Read once, as `VaultSource` does."""
    token.ensure()
    try:
        vault.get(READ)
    except SourceDenied:
        if not token.recheck():
            raise
        vault.get(READ)
    token.confirm_works()


def live(token: Token, vault: Vault, seconds: float, poll: float = 1.0) -> int:
    """Have passes for so long, as the daemon has them; return how many failed."""
    failed = 0
    until = vault.clock.now + seconds
    while vault.clock.now < until:
        try:
            one_pass(token, vault)
        except SourceError:
            failed += 1
        due = token.due_seconds()
        vault.clock.now += poll if due is None else min(poll, due)
    return failed


def gaps(times: list[float]) -> list[float]:
    """How long each request came after the one before."""
    return [after - before for before, after in itertools.pairwise(times)]


@pytest.mark.parametrize(
    ("made", "poll", "logins", "renewals"),
    [
        pytest.param({"ttl": 6}, 1, (1, 1), (12, 20), id="renewable"),
        pytest.param({"ttl": 4}, 3600, (1, 1), (20, 30), id="longer poll"),
        pytest.param({"ttl": 6, "max_ttl": 20}, 1, (3, 4), (8, 20), id="max ttl"),
        pytest.param({"ttl": 6, "max_ttl": 6}, 1, (9, 16), (9, 16), id="max ttl only"),
        pytest.param({"ttl": 6, "renewable": False}, 1, (11, 20), (0, 0), id="batch"),
        pytest.param({"ttl": 6, "renewable": "?"}, 3600, (14, 17), (0, 0), id="odd"),
        pytest.param({"ttl": 0, "renewable": False}, 1, (1, 1), (0, 0), id="for ever"),
        pytest.param({"ttl": 0}, 1, (1, 1), (0, 0), id="for ever, renewable"),
        pytest.param({"ttl": 2_764_800}, 60, (1, 1), (0, 0), id="a month"),
    ],
)
def test_the_token_lives_through_many_ttls(
    opened: Open,
    vault: Vault,
    made: dict[str, Any],
    poll: float,
    logins: tuple[int, int],
    renewals: tuple[int, int],
) -> None:
    """In a minute it is renewed or replaced as it needs, and no read is refused."""
    vars(vault).update(made)
    token = opened()

    assert live(token, vault, 60, poll) == 0

    assert logins[0] <= vault.count(LOG_IN) <= logins[1]
    assert renewals[0] <= vault.count(RENEW) <= renewals[1]
    assert token.counts == {
        "logins": vault.count(LOG_IN),
        "renewals": vault.count(RENEW),
    }
    assert vault.count(LOOK_UP) == 0


def test_renewal_is_due_at_two_thirds_with_a_tenth_left_to_chance(opened: Open) -> None:
    """Tokens of one age are not all renewed in the same moment."""
    found = []
    for _ in range(50):
        token = opened()
        token.ensure()
        found.append(token.due_seconds() or 0)
    assert all(36 <= due <= 40 for due in found)
    assert max(found) - min(found) > 1


def test_the_token_is_replaced_before_its_greatest_age(
    opened: Open, vault: Vault, clock: Clock
) -> None:
    """The one before is given back, and so is not left to whoever may find it."""
    vault.ttl, vault.max_ttl = 60, 90
    token = opened()
    live(token, vault, 89)
    assert vault.count(LOG_IN) == 2
    assert {"token-2"} == {t for t, (end, _) in vault.living.items() if end > clock.now}


def test_a_failing_renewal_is_tried_again_before_the_end_and_never_at_once(
    opened: Open, vault: Vault
) -> None:
    """After a tenth of what is left each time; at the end a login takes its place."""
    vault.ttl = 3600
    token = opened()
    token.ensure()
    vault.failing[RENEW] = DOWN
    assert live(token, vault, 3610) == 0
    assert vault.count(LOG_IN) == 2
    assert 30 <= vault.count(RENEW) <= 70
    assert min(gaps(vault.times(RENEW))) >= 1


def test_a_refused_renewal_leads_to_a_login_at_once(opened: Open, vault: Vault) -> None:
    """A token that may not renew itself is replaced, and not asked a second time."""
    vault.failing[RENEW] = DENIED
    token = opened()
    assert live(token, vault, 41) == 0
    assert (vault.count(RENEW), vault.count(LOG_IN)) == (1, 2)

    vault.failing[LOG_IN] = DOWN
    assert live(token, vault, 55) == 0
    assert vault.count(LOG_IN) > 3
    assert vault.count(RENEW) == 2


def test_trouble_is_told_while_the_token_still_serves(
    opened: Open, vault: Vault
) -> None:
    """Long before the first pass fails the outcome says what will be wrong."""
    vault.ttl, vault.renewable = 60, False
    token = opened()
    token.ensure()
    assert token.notes == ()
    vault.failing[LOG_IN] = DENIED

    assert live(token, vault, 55) == 0
    assert "denies the login at auth/approle" in token.notes[0]

    del vault.failing[LOG_IN]
    token.forget_backoff()
    live(token, vault, 10)
    assert token.notes == ()


@pytest.mark.parametrize("poll", [1, 60])
@pytest.mark.parametrize(
    ("values", "path", "most"),
    [
        ({"vault_auth": "approle"}, LOG_IN, 4),
        (
            {"vault_auth": "userpass", "vault_username": "u", "vault_password": "p"},
            "auth/userpass/login/u",
            4,
        ),
        (
            {"vault_auth": "jwt", "vault_jwt_file": "/proc/self/comm"},
            "auth/jwt/login",
            30,
        ),
    ],
    ids=["approle", "userpass", "jwt"],
)
def test_a_refused_login_is_tried_less_and_less_often(
    opened: Open,
    vault: Vault,
    poll: float,
    values: dict[str, str],
    path: str,
    most: int,
) -> None:
    """Vault locks out after five wrong secrets in a quarter of an hour: never that."""
    vault.failing[path] = DENIED
    token = opened(**values)

    passes = 3600 / poll
    assert live(token, vault, 3600, poll) == passes

    times = vault.times(path)
    assert 2 <= len(times) <= most
    assert max(gaps(times)) >= CAP_SECONDS * 0.75
    if most == 4:
        assert min(gaps(times)) > 900


def test_the_refusal_is_told_at_every_pass(opened: Open, vault: Vault) -> None:
    """Also by those that do not ask, and without growing from pass to pass."""
    vault.failing[LOG_IN] = DENIED
    token = opened()
    for _ in range(5):
        with pytest.raises(SourceDenied, match="denies the login") as caught:
            token.ensure()
    assert vault.count(LOG_IN) == 1
    assert len(caught.traceback) < 5


def test_another_credential_is_tried_at_once(
    opened: Open, vault: Vault, tmp_path: Path
) -> None:
    """A secret id that was replaced in its file need not wait for the old one's sins."""
    file = tmp_path / "secret-id"
    vault.failing[LOG_IN] = DENIED
    token = opened(vault_secret_id_file=str(file))
    for content in ("first", "second", "second", "third"):
        file.write_text(content)
        with pytest.raises(SourceDenied):
            token.ensure()
    assert vault.count(LOG_IN) == 3
    del vault.failing[LOG_IN]
    file.write_text("fourth")
    assert token.ensure()


def test_an_operator_s_wish_is_tried_at_once(opened: Open, vault: Vault) -> None:
    """SIGHUP and `refresh` wait for no back-off."""
    vault.failing[LOG_IN] = DENIED
    token = opened()
    for _ in range(3):
        with pytest.raises(SourceDenied):
            token.ensure()
        token.forget_backoff()
    assert vault.count(LOG_IN) == 3


def test_a_vault_that_is_away_costs_no_more_than_the_daemon_s_back_off(
    opened: Open, vault: Vault
) -> None:
    """A login without an answer was not refused: each pass may try it again."""
    vault.failing[LOG_IN] = DOWN
    token = opened()
    assert live(token, vault, 10) == 10
    assert vault.count(LOG_IN) == 10
    vault.failing.clear()
    assert live(token, vault, 1) == 0


def test_a_revoked_token_costs_one_look_up_and_one_login(
    opened: Open, vault: Vault
) -> None:
    """The next read notices, and the same pass ends well."""
    token = opened()
    live(token, vault, 5)
    for times in range(1, 6):
        vault.living.clear()
        assert live(token, vault, 2) == 0
        assert (vault.count(LOOK_UP), vault.count(LOG_IN)) == (times, times + 1)


def test_a_missing_right_is_no_reason_to_log_in(opened: Open, vault: Vault) -> None:
    """Look-ups get rarer while every read is refused; there is one login in all."""
    vault.failing[READ] = DENIED
    token = opened()
    assert live(token, vault, 3600) == 3600
    assert vault.count(LOG_IN) == 1
    times = vault.times(LOOK_UP)
    assert 8 <= len(times) <= 25
    assert max(gaps(times)) >= CAP_SECONDS * 0.75


def test_a_token_without_any_right_makes_no_login_storm(
    opened: Open, vault: Vault
) -> None:
    """It may not even look itself up, so it seems revoked: logins get rarer, too."""
    vault.failing |= {READ: DENIED, LOOK_UP: DENIED}
    token = opened()
    assert live(token, vault, 3600) == 3600
    times = vault.times(LOG_IN)
    assert 8 <= len(times) <= 25
    assert max(gaps(times)) >= CAP_SECONDS * 0.75


def test_a_new_token_is_not_taken_for_the_one_before(
    opened: Open, vault: Vault
) -> None:
    """That one was unknown; what is refused to the new one is told as it is."""
    vault.failing |= {READ: DENIED, LOOK_UP: DENIED}
    token = opened()
    for _ in range(2):
        with pytest.raises(SourceDenied) as caught:
            one_pass(token, vault)
        assert caught.value is DENIED


def test_a_look_up_without_an_answer_settles_nothing(
    opened: Open, vault: Vault
) -> None:
    """The token is kept; what is raised has the pass repeated soon."""
    token = opened()
    live(token, vault, 2)
    vault.failing |= {READ: DENIED, LOOK_UP: DOWN}
    with pytest.raises(SourceDown):
        one_pass(token, vault)
    vault.failing.clear()
    assert live(token, vault, 2) == 0
    assert vault.count(LOG_IN) == 1


def test_a_given_token_is_renewed_and_never_given_back(
    opened: Open, vault: Vault
) -> None:
    """It is looked up once, to learn how long it lives."""
    vault.issue("given")
    token = opened(vault_auth="token", vault_token="given")
    assert not token.ensure()
    assert live(token, vault, 200) == 0
    assert (vault.count(LOOK_UP), vault.count(LOG_IN)) == (1, 0)
    assert 4 <= vault.count(RENEW) <= 6
    token.revoke()
    assert vault.count(REVOKE) == 0


@pytest.mark.parametrize(
    ("renewable", "failing"), [(False, {}), (True, {RENEW: DENIED})]
)
def test_a_given_token_that_cannot_be_renewed_needs_no_pass(
    opened: Open, vault: Vault, *, renewable: bool, failing: dict[str, Exception]
) -> None:
    """Its end is known, and who made it has to make another one."""
    vault.renewable, vault.failing = renewable, failing
    vault.issue("given")
    token = opened(vault_auth="token", vault_token="given")
    assert live(token, vault, 59) == 0
    assert token.due_seconds() is None
    assert token.ends_at() is not None
    assert vault.count(RENEW) == len(failing)


def test_a_given_token_that_somebody_else_prolongs_goes_on(
    opened: Open, vault: Vault
) -> None:
    """Its end, as it was once told, is no reason to doubt it, nor for more passes."""
    vault.renewable = False
    vault.issue("given")
    token = opened(vault_auth="token", vault_token="given")
    token.ensure()
    vault.ttl = 3600
    vault.issue("given")
    assert live(token, vault, 100, 10) == 0
    assert vault.count(READ) == 10


def test_a_given_token_that_is_unknown_is_told_in_one_way(
    opened: Open, vault: Vault
) -> None:
    """The sentence is the same when nothing is looked up: it is news once."""
    token = opened(vault_auth="token", vault_token="mistyped")
    said = set()
    for _ in range(600):
        with pytest.raises(SourceDenied) as caught:
            one_pass(token, vault)
        said.add((caught.value.what, caught.value.hint))
        vault.clock.now += 1
    assert len(said) == 1
    assert "does not know the token" in said.pop()[0]
    assert 8 <= vault.count(LOOK_UP) <= 15
    assert max(gaps(vault.times(LOOK_UP))) > 100


def test_a_given_token_is_taken_anew_when_its_file_changes(
    opened: Open, vault: Vault, tmp_path: Path
) -> None:
    """Also while the one before is in doubt, and when the file was away meanwhile."""
    file = tmp_path / "token"
    file.write_text("old")
    token = opened(vault_auth="token", vault_token_file=str(file))
    assert live(token, vault, 30) == 30
    vault.issue("new")
    file.write_text("new")
    assert live(token, vault, 1) == 0

    file.unlink()
    with pytest.raises(SourceDenied, match="cannot read"):
        token.ensure()
    assert token.due_seconds() is None
    file.write_text("new")
    assert live(token, vault, 1) == 0


def _write_with_old_times(file: Path) -> None:
    status = file.stat()
    file.write_text("new")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _rename(file: Path) -> None:
    new = file.with_suffix(".new")
    new.write_text("new")
    new.rename(file)


def _link(file: Path) -> None:
    generation = file.parent / "generation"
    generation.write_text("new")
    new = file.with_suffix(".new")
    new.symlink_to(generation)
    new.rename(file)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read of the token's file, each time anew."""
    found: list[str] = []
    read = login.token

    def note(settings: Settings) -> str:
        found.append(read(settings))
        return found[-1]

    monkeypatch.setattr(login, "token", note)
    return found


@pytest.mark.parametrize("change", [_write_with_old_times, _rename, _link])
def test_a_token_file_that_has_not_changed_is_not_read_again(
    opened: Open,
    vault: Vault,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reads: list[str],
    change: Callable[[Path], None],
) -> None:
    """Its status tells, whoever changed it in whatever way, and to the same size."""
    monkeypatch.setattr(tokens, "QUIET_SECONDS", 0.02)
    vault.issue("old")
    vault.issue("new")
    file = tmp_path / "token"
    file.write_text("old")
    token = opened(vault_auth="token", vault_token_file=str(file))
    time.sleep(0.05)
    for _ in range(5):
        token.ensure()
    assert reads == ["old"]
    change(file)
    token.ensure()
    assert vault.token == "new"
    time.sleep(0.05)
    for _ in range(5):
        token.ensure()
    assert reads == ["old", "new", "new"]
    file.unlink()
    with pytest.raises(SourceDenied, match="cannot read"):
        token.ensure()


def test_a_token_file_that_changed_just_now_is_read_again(
    opened: Open, vault: Vault, tmp_path: Path, reads: list[str]
) -> None:
    """It may change once more within one tick of the file system's clock."""
    vault.issue("old")
    file = tmp_path / "token"
    file.write_text("old")
    token = opened(vault_auth="token", vault_token_file=str(file))
    for _ in range(3):
        token.ensure()
    assert reads == ["old"] * 3


def test_a_given_token_taken_while_vault_is_away_is_renewed_later(
    opened: Open, vault: Vault
) -> None:
    """How long it lives is asked again until there is an answer."""
    vault.issue("given")
    vault.failing[LOOK_UP] = DOWN
    token = opened(vault_auth="token", vault_token="given")
    assert live(token, vault, 3) == 3
    vault.failing.clear()
    assert live(token, vault, 200) == 0
    assert vault.count(RENEW) >= 4


def test_without_a_login_nothing_is_asked(opened: Open, vault: Vault) -> None:
    """A Vault Agent or Proxy adds its own token; ours is empty."""
    token = opened(vault_auth="none")
    assert not token.ensure()
    assert not token.recheck()
    token.revoke()
    assert vault.asked == []
    assert token.due_seconds() is None


@pytest.mark.parametrize("failing", [{}, {REVOKE: DENIED}, {REVOKE: DOWN}])
def test_a_token_of_ours_is_given_back_once(
    opened: Open, vault: Vault, failing: dict[str, Exception]
) -> None:
    """Whether Vault takes it or not, it is used no more."""
    token = opened()
    token.revoke()
    token.ensure()
    vault.failing = failing
    token.revoke()
    token.revoke()
    assert vault.count(REVOKE) == 1
    assert vault.token == ""


@pytest.mark.parametrize(
    "seconds", [None, -5, "60", float("nan"), float("inf"), 1e300, [60], {}], ids=repr
)
def test_a_lease_that_cannot_be_is_for_ever(
    opened: Open, vault: Vault, monkeypatch: pytest.MonkeyPatch, seconds: object
) -> None:
    """A Vault that lies costs neither an error nor a pass."""
    told = {"lease_duration": seconds, "ttl": seconds, "renewable": True}
    monkeypatch.setattr(vault, "_told", lambda _name: told)
    token = opened()
    assert live(token, vault, 5) == 0
    assert token.due_seconds() is None
    assert token.ends_at() is None
    assert vault.count(LOG_IN) == 1


@pytest.mark.parametrize("error", [DENIED, DOWN, CandidateRefused(["large"], "x")])
def test_whatever_fails_a_pass_is_never_due_at_once(
    opened: Open, vault: Vault, clock: Clock, error: Exception
) -> None:
    """Up to the very end of a token that cannot be replaced there is a second between."""
    vault.ttl = 10
    token = opened()
    token.ensure()
    vault.failing = {RENEW: error, LOG_IN: error}
    while (due := token.due_seconds()) is not None:
        assert due >= 1
        clock.now += due
        try:
            token.ensure()
        except (SourceError, CandidateRefused):
            break
    assert clock.now >= 1010
    assert token.due_seconds() is None
