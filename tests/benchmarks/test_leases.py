"""The report of the crash matrix says what was played, and what went wrong."""

from benchmarks.leases import BY_LENGTH, Played, play_one, report
from tests.provisioners.lease_cases import Case
from tests.provisioners.lease_worlds import WORLDS, FakeWorld


def test_cases_kills_and_faults_are_counted():
    played = Played("fake")
    play_one(played, FakeWorld(), Case(create="dropped after", create_at="C2", delete="429", delete_at="C6-after"))
    text = "\n".join(report([played]))
    assert "**1 of 1 cases ended well; 2 processes were killed on the way.**" in text
    assert "| C2 | 1 |" in text
    assert "* fake: dropped after (1)" in text


def test_a_case_that_ends_badly_is_named(monkeypatch):
    monkeypatch.setattr("provisioners.leases.observe.why_not_trusted", lambda _listing, _rows: "")
    played = Played("fake")
    play_one(played, FakeWorld(), Case(listing="empty"))
    text = "\n".join(report([played]))
    assert "**0 of 1 cases ended well" in text
    assert "* fake: listing empty: an untrusted listing ended a lease" in text


def test_every_world_is_played():
    assert set(BY_LENGTH) == set(WORLDS)
