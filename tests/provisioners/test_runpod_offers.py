"""RunPod's catalogue → offers: what is kept, what is left out and why, and at which price."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import ProvisioningError
from planner.gpus import gpu_named
from planner.requirements import CUDA_VERSION
from provisioners.runpod.offers import sold
from provisioners.runpod.pods import DISK_USD_PER_GB_HOUR
from tests.provisioners.fakes import FakeClock
from tests.provisioners.runpod_cloud import RunPodCloud, gpu_type
from tests.provisioners.runpod_world import runpod_world


def catalogue(*gpus: dict, count: int = 1) -> dict:
    return {"gpus": RunPodCloud(FakeClock(), list(gpus)).catalogue(count)}


def row(**other) -> dict:
    return gpu_type("NVIDIA L40S", 48, 0.4, {"US-KS-2": 2}, **other)


def test_an_offer_is_so_many_gpus_of_a_type_in_a_data_centre_with_its_disk():
    found, left_out = sold(catalogue(gpu_type("NVIDIA L40S", 48, 0.8, {"US-KS-2": 8, "EU-RO-1": 1}), count=2), 2, 100.0)
    [offer] = found
    assert not left_out
    assert (offer.offer_id, offer.provider, offer.region) == ("2x NVIDIA L40S @ US-KS-2", "runpod", "US-KS-2")
    assert (offer.gpu, offer.gpu_count, offer.disk_gb) == (gpu_named("L40S"), 2, 100.0)
    assert offer.usd_per_hour == pytest.approx(1.6 + 100 * DISK_USD_PER_GB_HOUR)
    assert (offer.cuda_version, offer.interruptible, offer.nvlink) == (CUDA_VERSION, False, False)


def test_traffic_is_free_and_the_network_is_known_to_be_a_guess():
    [offer] = sold(catalogue(row()), 1, 100.0)[0]
    assert (offer.egress_usd_per_gb, offer.ingress_usd_per_gb) == (0.0, 0.0)
    assert {"inet_up_gbit_per_s", "inet_down_gbit_per_s"} <= set(offer.estimated)


@pytest.mark.parametrize(
    ("gpu_id", "memory", "gpu", "nvlink"),
    [
        ("NVIDIA A100 80GB PCIe", 80, "A100-PCIE-80GB", False),
        ("NVIDIA A100-SXM4-80GB", 80, "A100-SXM4-80GB", True),
        ("NVIDIA H100 80GB HBM3", 80, "H100-SXM5-80GB", True),
        ("NVIDIA H200", 141, "H200-SXM-141GB", True),
        ("NVIDIA GeForce RTX 4090", 24, "RTX4090", False),
        ("NVIDIA RTX 6000 Ada Generation", 48, "RTX6000Ada", False),
        ("NVIDIA RTX A5000", 24, "A5000", False),
        ("NVIDIA L4", 24, "L4", False),
    ],
)
def test_a_type_is_known_by_the_name_that_the_catalogue_has_for_it(gpu_id, memory, gpu, nvlink):
    [offer] = sold(catalogue(gpu_type(gpu_id, memory, 1.0, {"EU-RO-1": 1})), 1, 100.0)[0]
    assert offer.gpu == gpu_named(gpu)
    assert offer.nvlink is nvlink


def test_what_is_out_of_stock_too_large_or_without_a_public_address_is_no_offer():
    for gpu, count in ((row() | {"stock": {"US-KS-2": 0}}, 1), (row(), 16), (row(secure=False), 1)):
        assert sold(catalogue(gpu, count=count), count, 100.0) == ((), {})


def test_a_type_that_we_do_not_know_is_named_and_hides_no_other():
    found, left_out = sold(catalogue(gpu_type("AMD Instinct MI300X OAM", 192, 2.0, {"X": 1}), row()), 1, 100.0)
    assert len(found) == 1
    assert left_out == {"GPU 'AMD Instinct MI300X OAM' is not known": 1}


@given(name=st.sampled_from(sorted(row())), value=st.none() | st.booleans() | st.integers() | st.floats() | st.text())
def test_no_row_however_strange_hides_the_others(name, value):
    [strange] = RunPodCloud(FakeClock(), [row()]).catalogue(1)
    body = catalogue(row())
    body["gpus"].insert(0, strange | {name: value})
    found, _ = sold(body, 1, 100.0)
    assert found[-1].offer_id == "1x NVIDIA L40S @ US-KS-2"
    assert all(0 <= offer.usd_per_hour < float("inf") for offer in found)


@pytest.mark.parametrize("body", [None, [], {}, {"gpus": None}, "<html>"])
def test_a_catalogue_that_is_none_is_not_taken_for_an_empty_one(body):
    with pytest.raises(ProvisioningError, match="no list of GPUs"):
        sold(body, 1, 100.0)


async def test_every_size_of_pod_that_is_in_stock_is_offered():
    with runpod_world(gpu_type("NVIDIA L40S", 48, 0.4, {"US-KS-2": 5}), gpu_type("Some Card", 8, 0.1, {})) as world:
        provisioner = world.provisioner()
        offers = await provisioner.offers()
        assert {offer.gpu_count: offer.available for offer in offers} == {1: 4, 2: 1, 4: 1}
        assert provisioner.left_out == {"GPU 'Some Card' is not known": 1}


async def test_a_type_that_is_sold_no_more_is_not_called_left_out_for_ever():
    with runpod_world(gpu_type("NVIDIA L40S", 48, 0.4, {"US-KS-2": 5}), gpu_type("Some Card", 8, 0.1, {})) as world:
        provisioner = world.provisioner()
        await provisioner.offers()
        assert provisioner.left_out
        del world.cloud.gpus[1]
        await provisioner.offers()
        assert not provisioner.left_out
