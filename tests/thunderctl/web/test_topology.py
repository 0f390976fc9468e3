"""The picture of a fleet: who is in which column, how wide the bands are, and where they end."""

import re
from itertools import pairwise

import pytest

from tests.thunderctl.tui import worlds
from tests.thunderctl.web.deployments import two_plans
from thunderctl.web.topology import DENSE, MOST_ROOMY, ROOMY, topology_of


def names(groups):
    return [[one["id"] for one in group.replicas] for group in groups]


def ends(band):
    """The upper edge at the left, and at the right, and how wide it is."""
    left, right, lower = re.match(r"M0 ([\d.]+)C50 [\d.]+ 50 ([\d.]+) 100 [\d.]+V([\d.]+)", band.path).groups()
    return float(left), float(right), float(lower) - float(right)


def test_who_prefills_is_left_who_decodes_is_right_and_machines_hold_them_together():
    found = topology_of(worlds.serving())
    assert names(found.left) == [["p0"], ["p1"]]
    assert names(found.right) == [["d0"], ["d1"], ["d2"], ["m0"]]
    assert [(group.machines, group.note) for group in found.left] == [(("i0",), "4 × A40"), (("i3",), "4 × A6000")]


def test_bands_are_as_wide_as_their_share():
    bands = [one for one in topology_of(worlds.serving()).bands if not one.is_local]
    assert [one.share for one in bands] == [0.26, 0.18, 0.17, 0.15]
    widths = [ends(one)[2] for one in bands]
    assert [one / widths[0] for one in widths] == pytest.approx([1, 18 / 26, 17 / 26, 15 / 26], abs=0.01)


def test_the_busiest_replica_fills_its_row_and_no_band_leaves_its_own():
    found = topology_of(worlds.serving())
    out = [ends(one) for one in found.bands if one.prefill == "p0"]
    assert sum(width for _, _, width in out) == pytest.approx(ROOMY.row_px - 8, abs=0.3)
    middle = found.height_px / 2 - (2 * (ROOMY.head_px + ROOMY.row_px) + ROOMY.gap_px) / 2
    top = middle + ROOMY.head_px
    assert all(top <= left and left + width <= top + ROOMY.row_px for left, _, width in out)


def test_bands_of_one_replica_lie_as_their_other_ends_do():
    bands = {(one.prefill, one.decode): ends(one) for one in topology_of(worlds.serving()).bands if not one.is_local}
    assert bands["p0", "d0"][0] < bands["p0", "d1"][0]
    assert bands["p0", "d1"][1] < bands["p1", "d1"][1]


def test_what_a_replica_does_alone_comes_from_nowhere():
    (alone,) = [one for one in topology_of(worlds.serving()).bands if one.is_local]
    assert (alone.prefill, alone.share) == ("m0", 0.24)
    assert alone.path.startswith("M62")


def test_a_replica_that_does_both_is_in_both_columns():
    document = worlds.serving(
        replicas=[worlds.replica(name, "mixed", ["i0"], 1, 8, 0.1) for name in ("m0", "m1")],
        routes=[worlds.route("m0", "m1", 0.5, "raw", 1.0), worlds.route("m1", "m0", 0.5, "raw", 1.0)],
    )
    found = topology_of(document)
    assert (names(found.left), names(found.right)) == ([["m0", "m1"]], [["m0", "m1"]])
    assert len(found.bands) == 2


def test_without_routes_phases_decide_and_nothing_is_left_out():
    found = topology_of(worlds.serving(routes=[]))
    assert names(found.left) == [["p0"], ["p1"]]
    assert sorted(one for group in names(found.right) for one in group) == ["d0", "d1", "d2", "m0"]
    assert found.bands == ()


def test_a_route_whose_end_is_not_there_is_not_drawn():
    document = worlds.serving()
    document["routes"].append(worlds.route("gone", "d0", 0.1, "int4", None))
    assert all(one.prefill != "gone" for one in topology_of(document).bands)


def test_a_route_over_a_replica_that_is_not_ready_is_marked():
    works = {one.decode: one.works for one in topology_of(worlds.degraded()).bands}
    assert works == {"d0": True, "d1": False, "d2": False, "m0": True}


def test_labels_keep_their_distance():
    labels = sorted(one.label_y for one in topology_of(worlds.many()).bands if one.label_y is not None)
    assert labels
    assert all(high - low >= 15 for low, high in pairwise(labels))


def test_many_replicas_stand_closer():
    assert not topology_of(worlds.many(MOST_ROOMY)).is_dense
    dense = topology_of(worlds.many(40))
    assert dense.is_dense
    assert dense.height_px == 30 * DENSE.row_px + 29 * DENSE.gap_px


def test_few_bands_cross():
    """Each decode replica has one prefill replica, and is beside its sisters."""
    document = worlds.many(40)
    giver = {one["decode"]: one["prefill"] for one in document["routes"]}
    order = [giver[name] for (name,) in names(topology_of(document).right)]
    assert order == sorted(order)


def test_a_plan_is_drawn_like_what_runs():
    plan = two_plans()["k7f3q1"]
    found = topology_of(plan)
    assert names(found.left) == [["p0"], ["p1"], ["d2"]]
    assert all(one.works for one in found.bands)


def test_nothing_is_drawn_of_nothing():
    found = topology_of(worlds.absent())
    assert (found.left, found.right, found.bands, found.height_px) == ((), (), (), 0)
