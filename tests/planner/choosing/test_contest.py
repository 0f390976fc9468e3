"""Who wins, and of whom it is asked how much more."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from planner.choosing.contest import best_use, most_of


@dataclass
class Trial:
    """Of a fleet whose goodput is known; it notes whether it was searched for."""

    rps: float
    searched: list[bool] = field(default_factory=list)

    def exceeds(self, rate_rps: float) -> bool:
        return self.rps > rate_rps

    def goodput_rps(self) -> float:
        self.searched.append(True)
        return self.rps

    def sustained(self, rate_rps: float) -> SimpleNamespace:
        return SimpleNamespace(measures=None)


def fleets(*rates: float) -> list[SimpleNamespace]:
    common = {"is_split": False, "mixes_types": False, "usd_per_hour": 1.0}
    return [SimpleNamespace(makeup=f"{number}", trial=Trial(rate), **common) for number, rate in enumerate(rates)]


def trial_of(one: SimpleNamespace) -> Trial:
    return one.trial


def test_the_one_with_the_most_wins_and_only_those_that_exceed_the_best_are_searched():
    given = fleets(5.0, 3.0, 7.0, 7.0)
    best = most_of(given, trial_of)
    assert (best.candidate, best.goodput_rps) == (given[2], 7.0)
    assert [bool(one.trial.searched) for one in given] == [True, False, True, False]


def test_the_best_so_far_is_kept_unless_it_is_exceeded():
    best = most_of(fleets(5.0), trial_of)
    assert most_of(fleets(4.0, 5.0), trial_of, best) is best


def test_one_that_is_alike_is_not_tried():
    one, other = fleets(5.0, 9.0)
    other.makeup = one.makeup
    assert most_of([one, other], trial_of).candidate is one


def test_among_none_there_is_no_best():
    assert most_of([], trial_of) is None


@pytest.fixture
def contest(monkeypatch):
    """Finalists, rivals and what the search among mixed groups finds, each a fleet of known goodput."""

    def play(finalist: SimpleNamespace, rival: SimpleNamespace, found_again: SimpleNamespace) -> SimpleNamespace:
        monkeypatch.setattr("planner.choosing.contest._rivals", lambda *_: [rival])
        monkeypatch.setattr("planner.choosing.contest._found_again", lambda *_: [found_again])
        monkeypatch.setattr("planner.choosing.contest._other_use", lambda *_: None)
        search = SimpleNamespace(trial=trial_of, progress=lambda _: None, rent_all=False)
        choice = SimpleNamespace(without=lambda *_: None)
        return best_use(search, choice, [finalist], among_rivals=True).chosen

    return play


def test_where_a_colocated_rival_wins_the_search_goes_on_among_colocated_groups(contest):
    finalist, rival, again = fleets(5.0, 6.0, 7.0)
    assert contest(finalist, rival, again) is again


def test_where_the_finalist_or_a_split_rival_wins_it_does_not(contest):
    finalist, rival, again = fleets(5.0, 4.0, 7.0)
    assert contest(finalist, rival, again) is finalist
    finalist, rival, again = fleets(5.0, 6.0, 7.0)
    rival.is_split = True
    assert contest(finalist, rival, again) is rival


def test_where_replicas_of_unlike_gpus_win_the_search_goes_on_among_those_of_one_type(contest):
    finalist, rival, again = fleets(5.0, 4.0, 7.0)
    finalist.mixes_types = True
    assert contest(finalist, rival, again) is again
