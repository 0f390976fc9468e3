"""Which replicas are alike, and how designations are counted."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog import Link
from planner.deployment import Phase
from planner.members import members_of
from planner.rebalancing.alike import classes_of, designations_of, moves
from tests.planner.search.fleets import paper_coding_plan, plan_of


def test_the_papers_coding_plan_has_540_designations_in_two_phases():
    members = members_of(paper_coding_plan(), {})
    found = designations_of(members, {}, np.zeros(len(members)), phases=2)
    assert sorted(map(len, found.classes)) == [1, 1, 2, 2, 2, 4]
    assert (len(members), found.count) == (12, 540)
    assert designations_of(members, {}, np.zeros(12)).count == 15 * 3 * 6 * 6 * 3 * 6


def test_replicas_alone_on_instances_alike_are_alike():
    members = members_of(plan_of([("A40", (1,)), ("A40", (1,)), ("A6000", (1,))]), {})
    assert classes_of(members, {}) == ((0, 1), (2,))


def test_a_stated_link_tells_them_apart():
    members = members_of(plan_of([("A40", (1,)), ("A40", (1,)), ("A6000", (1,))]), {})
    assert classes_of(members, {("i0", "i2"): Link(1.0, 1.0)}) == ((0,), (1,), (2,))
    both = {(end, "i2"): Link(1.0, 1.0) for end in ("i0", "i1")}
    assert classes_of(members, both) == ((0, 1), (2,))


def test_replicas_with_company_are_only_like_those_on_their_instance():
    members = members_of(plan_of([("A40", (1, 1)), ("A40", (1, 1))]), {})
    assert classes_of(members, {}) == ((0, 1), (2, 3))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.data())
def test_the_fewest_flips_are_counted_and_made(phases, data):
    """Against every way to give the counts to the replicas."""
    now = np.array(phases)
    wanted = data.draw(st.permutations(phases).map(list) | st.lists(st.integers(0, 2), min_size=len(phases)))
    counts = np.bincount(wanted[: len(phases)], minlength=3)
    least = min(sum(a != b for a, b in zip(phases, way, strict=True)) for way in permutations(wanted[: len(phases)]))
    made = moves(counts[None], now)
    assert made.flips.tolist() == [least]
    assert made.stay[0] + made.change[0].sum(axis=0) == pytest.approx(counts)


def test_of_replicas_alike_the_one_that_carries_least_flips():
    members = members_of(plan_of([("A40", (1, 1, 1))], phases=(1, 1, 1)), {})
    found = designations_of(members, {}, np.array([0.5, 0.1, 0.4]))
    flipped = {tuple(found.phases(n).tolist()) for n in np.flatnonzero(np.floor(found.farness().every()) == 1)}
    assert flipped == {(1, 0, 1), (1, 2, 1)}


def test_every_designation_is_listed_once_up_to_symmetry():
    members = members_of(plan_of([("A40", (1, 1)), ("A6000", (1, 1))]), {})
    found = designations_of(members, {}, np.zeros(4))
    listed = {tuple(found.phases(n).tolist()) for n in range(found.count)}

    def canonical(way: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(sorted(way[i] for i in alike)) for alike in found.classes)

    assert len({canonical(way) for way in listed}) == len(listed) == found.count == 36
    assert {canonical(way) for way in listed} == {canonical(way) for way in product(range(3), repeat=4)}


def test_a_plans_phases_do_not_make_its_replicas_unlike():
    plan = plan_of([("A40", (1, 1))])
    flipped = replace(plan, replicas=(plan.replicas[0].flipped(Phase.MIXED), plan.replicas[1]))
    assert classes_of(members_of(flipped, {}), {}) == ((0, 1),)
