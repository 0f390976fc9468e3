import json
from dataclasses import replace

import pytest

from planner.catalog import GpuCalibration
from planner.document import offer_to_json, plan_from_json, plan_to_json
from planner.errors import SpecError
from planner.models import llm_named


def test_a_plan_survives_its_document(split_plan):
    text = json.dumps(plan_to_json(split_plan))
    assert plan_from_json(json.loads(text)) == split_plan


def test_the_document_has_the_keys_that_others_rely_on(split_plan):
    document = plan_to_json(split_plan)
    assert document["schema"] == "thunder.plan/v1"
    assert document["model"]["kv_bytes_per_token"] == split_plan.llm.kv_bytes_per_token
    assert document["model"]["weight_bytes"] == split_plan.llm.weight_bytes
    assert document["replicas"][2] == {
        "id": "r2",
        "phase": "mixed",
        "tp": 1,
        "pp": 2,
        "stages": [{"instance": "i1", "gpus": [0], "layers": 16}, {"instance": "i2", "gpus": [0], "layers": 16}],
        "capacity_rps": 1.0,
        "kv_capacity_tokens": 90_000,
    }
    assert document["routes"][0] == {
        "prefill": "r0",
        "decode": "r1",
        "share": 0.75,
        "codec": "raw",
        "bandwidth_gbit_per_s": 64.0,
    }
    assert set(document["predicted"]) >= {"goodput_rps", "slo_attainment", "usd_per_million_tokens", "calibrated"}


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "gpt-oss-120b", "opt-66b", "qwen1.5-moe-a2.7b"])
def test_every_kind_of_model_survives_its_document(split_plan, name):
    plan = replace(split_plan, llm=llm_named(name))
    document = json.loads(json.dumps(plan_to_json(plan)))
    assert plan_from_json(document).llm == llm_named(name)
    assert document["model"]["weight_bytes"] == llm_named(name).weight_bytes


def test_a_document_that_says_nothing_of_experts_and_windows_has_none(split_plan):
    document = plan_to_json(split_plan)
    for key in ("gated", "experts", "active_experts", "shared_intermediate", "window", "full_layers", "positions"):
        del document["model"][key]
    assert plan_from_json(document) == split_plan


def test_unknown_keys_are_left_out(split_plan):
    document = plan_to_json(split_plan) | {"from_the_future": 1}
    document["slo"]["p50"] = 3
    assert plan_from_json(document) == split_plan


def test_how_requests_arrive_and_hit_the_cache_survives_too_and_is_the_usual_where_it_is_absent(split_plan):
    bursty = replace(split_plan, workload=replace(split_plan.workload, burstiness=0.5, prefix_hit_share=0.25))
    document = plan_to_json(bursty)
    assert (document["workload"]["burstiness"], document["workload"]["prefix_hit_share"]) == (0.5, 0.25)
    assert plan_from_json(json.loads(json.dumps(document))) == bursty
    del document["workload"]["burstiness"], document["workload"]["prefix_hit_share"]
    assert plan_from_json(document) == split_plan


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), "thunder.plan/v2", "schema is 'thunder.plan/v2'; expected 'thunder.plan/v1'"),
        (("replicas", 0, "phase"), "both", r"replicas\[0\].phase 'both'; expected one of prefill, decode, mixed"),
        (("routes", 1, "codec"), "zip", r"routes\[1\].codec 'zip'"),
        (("replicas",), "none", "replicas is not a list"),
        (("slo", "ttft_s"), -1, "slo is wrong"),
        (("workload", "burstiness"), 0, "workload is wrong: Workload conversation has burstiness 0"),
        (("workload", "burstiness"), "1", "workload.burstiness is '1'; expected a number"),
        (("workload", "prefix_hit_share"), 1.0, "has prefix hit share 1.0; expected at least 0 and below 1"),
        (("model", "kv_heads"), 0, "model is wrong"),
        (("model", "active_experts"), 2, "model is wrong: .* 2 active experts of 0"),
        (("model", "gated"), 1, r"model.gated is 1; expected true or false"),
        (("instances", 1, "usd_per_hour"), "0.5", r"instances\[1\].usd_per_hour is '0.5'; expected a number"),
        (("instances", 0, "usd_per_hour"), True, r"usd_per_hour is True; expected a number"),
        (("instances", 0, "id"), 7, r"instances\[0\].id is 7; expected a text"),
        (("instances", 0, "nvlink"), "no", r"instances\[0\].nvlink is 'no'; expected true or false"),
        (("instances", 0), [], "instances is not a list of objects"),
        (("replicas", 0, "stages", 0, "gpus"), "0", r"replicas\[0\].stages\[0\].gpus is '0'; expected a list"),
        (("replicas", 0, "stages", 0, "gpus"), 0, r"stages\[0\].gpus is 0; expected a list"),
        (("replicas", 0, "stages", 0, "gpus"), ["0"], r"gpus\[0\] is '0'; expected a whole number"),
        (("replicas", 0, "phase"), None, r"replicas\[0\].phase None; expected one of"),
        (("replicas", 0, "phase"), [], r"replicas\[0\].phase \[\]; expected one of"),
        (("replicas", 0, "tp"), "1", r"replicas\[0\].tp is '1'; expected a whole number"),
        (("replicas", 0, "tp"), 2, r"replicas\[0\].tp is 2; expected 1, as its stages have"),
        (("replicas", 2, "pp"), 1, r"replicas\[2\].pp is 1; expected 2, as its stages have"),
        (("routes", 0, "share"), "all", r"routes\[0\].share is 'all'; expected a number"),
        (("max_model_len",), "x", "The plan's max_model_len is 'x'; expected a whole number"),
        (("max_model_len",), 8192.5, "max_model_len is 8192.5; expected a whole number"),
        (("budget_usd_per_hour",), None, "budget_usd_per_hour is None; expected a number"),
        (("slo",), [1], "slo is list; expected an object"),
        (("notes",), "none", "notes is 'none'; expected a list"),
    ],
)
def test_a_wrong_value_is_named(split_plan, path, value, message):
    document = plan_to_json(split_plan)
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(SpecError, match=message):
        plan_from_json(document)


@pytest.mark.parametrize("path", [("model",), ("model", "hidden"), ("instances", 1, "gpu"), ("plan_id",), ("routes",)])
def test_a_missing_key_is_named(split_plan, path):
    document = plan_to_json(split_plan)
    target = document
    for key in path[:-1]:
        target = target[key]
    del target[path[-1]]
    with pytest.raises(SpecError, match=rf"has no {'.*'.join(str(key) for key in path)}; expected it"):
        plan_from_json(document)


def test_an_offer_has_the_keys_of_the_offers_list(offer):
    entry = offer_to_json(offer("o1", "A40", reliability=0.99, nvlink=True))
    assert (entry["gpu"], entry["gpu_memory_gib"], entry["nvlink"], entry["leasable"]) == ("A40", 44.9, True, True)
    assert json.loads(json.dumps(entry)) == entry


def test_measured_gpu_types_survive_the_document_by_their_names(split_plan):
    measured = GpuCalibration("A6000", 0.5, 1.0, 0.9, 2e-3, 1e-5, 1e-3, 0.0)
    plan = replace(split_plan, calibrations=(measured,))
    document = json.loads(json.dumps(plan_to_json(plan)))
    assert document["gpu_calibrations"]["A6000"]["step_s"] == 2e-3
    assert plan_from_json(document) == plan


def test_a_document_without_measured_gpu_types_has_none(split_plan):
    document = plan_to_json(split_plan)
    assert document.pop("gpu_calibrations") == {}
    assert plan_from_json(document).calibrations == ()


@pytest.mark.parametrize(
    ("calibrations", "said"),
    [
        ([], "not an object of objects"),
        ({"CPU": 3}, "not an object of objects"),
        ({"CPU": {}}, "no gpu_calibrations.CPU.gemm_share"),
        ({"CPU": {"gemm_share": "all"}}, "no gpu_calibrations.CPU"),
    ],
)
def test_measured_gpu_types_that_are_none_are_refused(split_plan, calibrations, said):
    with pytest.raises(SpecError, match=said):
        plan_from_json(plan_to_json(split_plan) | {"gpu_calibrations": calibrations})


def test_coefficients_of_the_wrong_kind_are_refused(split_plan):
    measured = GpuCalibration("A6000", 0.5, 1.0, 0.9, 2e-3, 1e-5, 1e-3, 0.0)
    document = plan_to_json(replace(split_plan, calibrations=(measured,)))
    document["gpu_calibrations"]["A6000"]["step_s"] = "slow"
    with pytest.raises(SpecError, match=r"gpu_calibrations\.A6000\.step_s is 'slow'; expected a number"):
        plan_from_json(document)


def test_an_offer_says_whether_its_gpu_is_calibrated(offer):
    assert offer_to_json(offer("a", "A40"))["calibrated"] is True
    assert offer_to_json(offer("b", "RTX4090"))["calibrated"] is False
