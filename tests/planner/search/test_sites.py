"""Sites: what is joined by groups that span instances, counted where it is alike."""

from planner.deployment import Phase
from planner.search.sites import sites_of
from planner.search.state import Group, State, inside
from tests.planner.search.searching import offer, scorer

P, D, M = Phase.PREFILL, Phase.DECODE, Phase.MIXED


def test_instances_alike_with_the_same_replicas_are_one_class():
    of = scorer(offer("a", available=3))
    state = State((0, 0, 0), (inside(0, 2, P), inside(1, 2, P), inside(2, 2, D)))
    assert sorted(sites_of(of.ratings, state).values()) == [1, 2]


def test_mixed_replicas_and_idle_instances_are_no_site():
    of = scorer(offer("a", available=2))
    assert not sites_of(of.ratings, State((0, 0), (inside(0, 2, M),)))


def test_a_group_joins_its_instances_and_what_else_is_on_them():
    of = scorer(offer("a", available=4))
    state = State(
        (0, 0, 0, 0),
        (Group(((0, 1), (1, 1)), P), Group(((1, 1), (2, 1)), D), inside(0, 1, D), inside(3, 2, P)),
    )
    sites = sites_of(of.ratings, state)
    assert sorted(len(site.offers) for site in sites) == [1, 3]
    (joined,) = (site for site in sites if len(site.offers) == 3)
    spans = sorted(len(replica.places) for replica in joined.replicas)
    assert spans == [1, 2, 2]
    prefill, decode = (
        {place for one in joined.replicas if one.rated.phase is phase and len(one.places) == 2 for place in one.places}
        for phase in (P, D)
    )
    assert len(prefill & decode) == 1


def test_sites_of_several_instances_are_alike_whatever_their_numbers():
    of = scorer(offer("a", available=2), offer("b", gpu="A6000", available=2))
    state = State(
        (0, 1, 1, 0),
        (Group(((0, 1), (1, 1)), P), Group(((2, 1), (3, 1)), P), inside(0, 1, D), inside(3, 1, D)),
    )
    assert list(sites_of(of.ratings, state).values()) == [2]
