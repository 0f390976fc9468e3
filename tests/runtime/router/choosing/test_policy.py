"""The choice of a route follows the plan's shares."""

from hypothesis import given
from hypothesis import strategies as st

from planner.deployment import Codec, Phase
from planner.rotation import AHEAD, Rotation
from runtime.messages import ReplicaAddress, Routes, RouteShare
from runtime.router.choosing.policy import Choice, RoutePolicy

EVERYONE = frozenset({"p0", "p1", "d0", "d1", "m0"})

REPLICAS = tuple(
    ReplicaAddress(name, phase, f"http://127.0.0.1/{name}")
    for name, phase in {
        "p0": Phase.PREFILL,
        "p1": Phase.PREFILL,
        "d0": Phase.DECODE,
        "d1": Phase.DECODE,
        "m0": Phase.MIXED,
    }.items()
)


def routes_of(*shares: RouteShare) -> Routes:
    return Routes(1, "tiny", REPLICAS, shares)


def policy_of(*shares: RouteShare) -> RoutePolicy:
    return RoutePolicy(routes_of(*shares))


def up(names: frozenset[str] | set[str]):
    return lambda replica: replica in names


weights = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8)


@given(weights, st.integers(1, 300))
def test_every_pair_stays_within_one_draw_of_its_share(shares: list[float], draws: int):
    rotation = Rotation(shares)
    counts = [0] * len(shares)
    for drawn in range(1, draws + 1):
        counts[rotation.pick(range(len(shares)))] += 1
        for count, share in zip(counts, shares, strict=True):
            assert abs(count - drawn * share / sum(shares)) <= 1 + 1e-6


@given(weights, st.data())
def test_no_pair_is_taken_further_ahead_of_its_share_than_the_bound(shares: list[float], data: st.DataObject):
    """However costs are, and though they favour one pair all the time."""
    rotation = Rotation(shares)
    favoured = data.draw(st.integers(0, len(shares) - 1))
    counts = [0] * len(shares)
    for drawn in range(1, data.draw(st.integers(1, 300)) + 1):
        if data.draw(st.booleans()):
            index = rotation.cheapest(range(len(shares)), lambda i: float(i != favoured))
        else:
            costs = data.draw(st.lists(st.integers(0, 3), min_size=len(shares), max_size=len(shares)))
            index = rotation.cheapest(range(len(shares)), costs.__getitem__)
        counts[index] += 1
        for count, share in zip(counts, shares, strict=True):
            assert count <= drawn * share / sum(shares) + AHEAD + 1e-6


@given(weights, st.integers(0, 7))
def test_a_pair_that_is_cheapest_is_taken_as_far_ahead_as_the_bound_allows(shares: list[float], favoured: int):
    favoured %= len(shares)
    rotation = Rotation(shares)
    share = shares[favoured] / sum(shares)
    for drawn in range(300):
        if rotation.cheapest(range(len(shares)), lambda i: float(i != favoured)) != favoured:
            assert drawn - drawn * share <= AHEAD + 1e-6 < drawn + 1 - (drawn + 1) * share + 1e-5
            return
    assert 300 - 300 * share <= AHEAD + 1e-6


@given(weights, st.integers(1, 100))
def test_pairs_that_cost_the_same_are_taken_in_the_order_of_the_rotation(shares: list[float], draws: int):
    everything = range(len(shares))
    one, other = Rotation(shares), Rotation(shares)
    assert [one.pick(everything) for _ in range(draws)] == [
        other.cheapest(everything, lambda _: 0.0) for _ in range(draws)
    ]


@given(weights, st.data())
def test_shares_are_renormalised_over_what_may_be_drawn(shares: list[float], data: st.DataObject):
    rotation = Rotation(shares)
    everything = range(len(shares))
    for _ in range(data.draw(st.integers(0, 40))):
        rotation.pick(everything)
    allowed = data.draw(st.lists(st.sampled_from(everything), min_size=1, unique=True))
    counts = dict.fromkeys(allowed, 0)
    for _ in range(400):
        counts[rotation.pick(allowed)] += 1
    total = sum(shares[index] for index in allowed)
    assert all(abs(counts[index] - 400 * shares[index] / total) <= len(shares) + 1 for index in allowed)


def test_a_pair_without_a_share_is_never_drawn():
    policy = policy_of(RouteShare("p0", "d0", 1.0, Codec.INT4), RouteShare("p1", "d1", 0.0, Codec.INT4))
    assert {policy.choose(up(EVERYONE)).decode for _ in range(20)} == {"d0"}


def test_pairs_are_interleaved_rather_than_drawn_in_runs():
    policy = policy_of(RouteShare("p0", "d0", 0.5, Codec.INT4), RouteShare("p1", "d1", 0.5, Codec.RAW))
    drawn = [policy.choose(up(EVERYONE)).decode for _ in range(6)]
    assert drawn in (["d0", "d1"] * 3, ["d1", "d0"] * 3)


def test_a_local_route_has_no_prefill_leg():
    policy = policy_of(RouteShare("m0", "m0", 1.0, Codec.LOCAL))
    assert policy.choose(up(EVERYONE)) == Choice(None, "m0", Codec.LOCAL)


def test_a_pair_with_an_end_that_is_down_is_not_drawn():
    policy = policy_of(RouteShare("p0", "d0", 0.9, Codec.INT4), RouteShare("p1", "d1", 0.1, Codec.INT8))
    for down in ("p0", "d0"):
        assert {policy.choose(up(EVERYONE - {down})) for _ in range(9)} == {Choice("p1", "d1", Codec.INT8)}


def test_without_any_prefill_replica_decode_prefills_itself():
    policy = policy_of(RouteShare("p0", "d0", 1.0, Codec.INT4))
    assert policy.choose(up({"d0"})) == Choice(None, "d0", Codec.LOCAL, bereft=True)
    assert policy.choose(up(EVERYONE), without=frozenset({"p0"})) == Choice(None, "d0", Codec.LOCAL, bereft=True)


def test_a_request_that_needs_its_prompt_computed_where_it_decodes_takes_no_prefill_leg():
    policy = policy_of(RouteShare("p0", "d0", 1.0, Codec.INT4))
    assert policy.choose(up(EVERYONE), local=True) == Choice(None, "d0", Codec.LOCAL)


def test_a_decode_replica_that_failed_a_request_gets_it_again_only_where_no_other_is_up():
    policy = policy_of(RouteShare("p0", "d0", 0.9, Codec.INT4), RouteShare("p0", "d1", 0.1, Codec.INT4))
    failed = frozenset({"d0"})
    assert {policy.choose(up(EVERYONE), without=failed).decode for _ in range(4)} == {"d1"}
    assert policy.choose(up({"p0", "d0"}), without=failed).decode == "d0"


def test_when_everything_seems_down_everything_is_tried():
    policy = policy_of(RouteShare("p0", "d0", 0.5, Codec.INT4), RouteShare("p1", "d1", 0.5, Codec.INT4))
    assert {policy.choose(up(set())).decode for _ in range(4)} == {"d0", "d1"}


def test_another_decode_replica_is_one_paired_with_the_same_prefill_if_there_is_one():
    policy = policy_of(
        RouteShare("p0", "d0", 0.4, Codec.INT4),
        RouteShare("p0", "d1", 0.1, Codec.INT4),
        RouteShare("p1", "m0", 0.5, Codec.INT4),
    )
    assert policy.other_decode(up(EVERYONE), "p0", frozenset({"d0"})) == "d1"
    assert policy.other_decode(up(EVERYONE), "p0", frozenset({"d0", "d1"})) == "m0"
    assert policy.other_decode(up({"d0"}), "p0", frozenset({"d0"})) is None


def test_who_reads_tokens_back_counts_for_nobodys_share():
    shares = [RouteShare("p0", decode, 0.5, Codec.INT4) for decode in ("d0", "d1")]
    asked, quiet = policy_of(*shares), policy_of(*shares)
    for _ in range(3):
        assert asked.reader(up(EVERYONE), {"d0"}) == "d1"
    assert [asked.choose(up(EVERYONE)) for _ in range(8)] == [quiet.choose(up(EVERYONE)) for _ in range(8)]
    assert asked.reader(up({"d0"}), {"d0"}) is None
    assert asked.reader(up(set()), {"d0"}) == "d1"  # a check that fails for everything is doubted
