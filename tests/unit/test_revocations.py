"""What a process keeps of revocations: until they expire, and never more than a bounded number."""

import pytest

from nms.common import revocations
from nms.common.guard import Caller, Kind
from nms.common.revocations import Revocation, Revocations

NOW = 1_800_000_000.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def user(subject: str = "ann", *, revision: int = 1, session: str = "s1", issued_at: int = int(NOW)) -> Caller:
    return Caller(subject, "t1", frozenset(), NOW + 600, Kind.USER, session, revision, "k1", issued_at)


@pytest.mark.parametrize(("kind", "subject"), [("token", "t1"), ("session", "s1"), ("key", "k1"), ("account", "ann")])
def test_each_kind_names_its_own_thing(clock: Clock, kind: str, subject: str) -> None:
    kept = Revocations(clock)
    kept.add([Revocation(other, "other", None, NOW + 600) for other in ("token", "session", "key", "account")])
    assert not kept.hold(user())
    assert kept.add([Revocation(kind, subject, None, NOW + 600)])
    assert kept.hold(user())
    assert not kept.add([Revocation(kind, subject, None, NOW + 600)])


def test_of_an_account_only_what_was_made_before_the_change_is_refused(clock: Clock) -> None:
    kept = Revocations(clock)
    kept.add([Revocation("account", "ann", 3, NOW + 600), Revocation("account", "ann", 2, NOW + 900)])
    assert [kept.hold(user(revision=number)) for number in (1, 2, 3, 4)] == [True, True, False, False]
    kept.add([Revocation("account", "ann", None, NOW + 600)])
    assert kept.hold(user(revision=4))


def test_an_operator_has_no_session_and_no_account(clock: Clock) -> None:
    kept = Revocations(clock)
    operator = Caller("ann", "t2", frozenset(), NOW + 600, issued_at=int(NOW))
    kept.add([Revocation("account", "ann", None, NOW + 600), Revocation("session", "None", None, NOW + 600)])
    assert not kept.hold(operator)
    kept.add([Revocation("token", "t2", None, NOW + 600)])
    assert kept.hold(operator)


def test_what_has_expired_is_let_go(clock: Clock) -> None:
    kept = Revocations(clock)
    kept.add([Revocation("session", f"s{number}", None, NOW + number) for number in range(100)])
    clock.now = NOW + 50
    kept.tidy()
    assert len(kept) == 49


def test_more_than_can_be_kept_refuses_every_earlier_token_instead_of_forgetting_one(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "MOST_KEPT", 100)
    kept = Revocations(clock)
    kept.add([Revocation("key", "k2", None, NOW + 600)])
    kept.add([Revocation("session", f"r{number}", None, NOW + 600) for number in range(150)])
    assert len(kept) == 1
    assert kept.hold(user(issued_at=int(NOW)))
    assert not kept.hold(user(issued_at=int(NOW) + 1))
