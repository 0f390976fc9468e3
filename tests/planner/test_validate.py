import json
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan

import pytest

from planner.deployment import Codec, Phase, Plan, Route, Stage
from planner.document import plan_from_json, plan_to_json
from planner.errors import SpecError
from planner.validate import validate, violations

Change = Callable[[Plan], Plan]


def replica(index: int, **fields: object) -> Change:
    def change(plan: Plan) -> Plan:
        replicas = list(plan.replicas)
        replicas[index] = replace(replicas[index], **fields)  # type: ignore[arg-type]
        return replace(plan, replicas=tuple(replicas))

    return change


def instance(index: int, **fields: object) -> Change:
    def change(plan: Plan) -> Plan:
        instances = list(plan.instances)
        instances[index] = replace(instances[index], **fields)  # type: ignore[arg-type]
        return replace(plan, instances=tuple(instances))

    return change


def routes(*pairs: Route) -> Change:
    return lambda plan: replace(plan, routes=pairs)


def test_a_legal_plan_breaks_no_rule(split_plan):
    assert violations(split_plan) == []
    validate(split_plan)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda plan: replace(plan, cost_usd_per_hour=3.0), "says it costs 3.0000 $/h; expected 3.2500"),
        (lambda plan: replace(plan, transfer_usd_per_hour=0.0), "expected 3.0000"),
        (lambda plan: replace(plan, budget_usd_per_hour=3.0), "costs 3.2500 $/h; expected at most 3.0000"),
        (replica(1, stages=(Stage("i0", (0,), 32),)), "GPU 0 of instance i0 is used 2 times"),
        (replica(1, stages=(Stage("i0", (2,), 32),)), "GPU 2 of instance i0 is used; expected one of its 2"),
        (replica(2, stages=(Stage("i1", (0,), 16), Stage("i2", (), 16))), "stages of 0, 1 GPUs"),
        (replica(2, stages=(Stage("i1", (0,), 16), Stage("i2", (0,), 15))), "has 31 layers; expected 32"),
        (replica(2, stages=(Stage("i1", (0,), 32), Stage("i2", (0,), 0))), "a stage without layers"),
        (replica(2, stages=()), "has no stages"),
        (replica(2, stages=(Stage("i0", (0, 1, 2), 32),)), "stages of 3 GPUs; expected a power of two that splits 32"),
        (replica(2, stages=tuple(Stage("i1", (i,), 4 - (i == 8) * 4) for i in range(9))), "has 9 stages; expected at"),
        (instance(0, gpu="V100-SXM2-32GB"), "i0 has V100-SXM2-32GB, which has no bfloat16"),
        (instance(0, inet_up_gbit_per_s=0.0), r"instances[0].inet_up_gbit_per_s is 0; expected a number above 0"),
        (instance(1, codec_gb_per_s=0.0), r"instances[1].codec_gb_per_s is 0; expected a number above 0"),
        (replica(2, id="r1"), "replica id r1 is used 2 times"),
        (replica(2, stages=(Stage("i9", (0,), 32),)), "uses instance i9, which the plan does not rent"),
        (instance(2, id="i1"), "instance id i1 is used 2 times"),
        (instance(2, network="other"), "spans networks vast lan, vast other; expected one private network"),
        (instance(2, provider="aws"), "spans networks aws lan, vast lan"),
        (instance(2, network=""), "spans networks none, vast lan"),
        (instance(0, gpu_memory_gib=16.0), "has room for 0 tokens of KV beside its weights; expected at least 8192"),
        (lambda plan: replace(plan, max_model_len=500_000), "expected at least 500000"),
        (lambda plan: replace(plan, max_model_len=1), "max_model_len is 1; expected 2 to 131072, the positions"),
        (lambda plan: replace(plan, max_model_len=131_073), "max_model_len is 131073; expected 2 to 131072"),
        (lambda plan: replace(plan, dtype="fp3"), "dtype is 'fp3'; expected 'bfloat16', as its model has"),
        (replica(1, kv_capacity_tokens=8191), "r1 states 8191 tokens of KV; expected 8192, the longest request"),
        (replica(2, kv_capacity_tokens=10**7), "r2 states 10000000 tokens of KV; expected 8192"),
        (routes(Route("r0", "r1", 0.75, Codec.RAW)), "shares sum to 0.7500000"),
        (routes(Route("r0", "r1", 1.5, Codec.RAW), Route("r2", "r2", -0.5, Codec.LOCAL)), "routes[1].share is -0.5"),
        (routes(Route("r0", "r1", 0.5, Codec.RAW), Route("r0", "r1", 0.5, Codec.INT4)), "listed 2 times"),
        (routes(Route("r0", "r9", 1.0, Codec.RAW)), "uses replica r9, which the plan does not have"),
        (routes(Route("r0", "r0", 1.0, Codec.LOCAL)), "ends at a prefill replica; expected decode or mixed"),
        (routes(Route("r1", "r2", 1.0, Codec.RAW)), "starts at a decode replica; expected prefill or mixed"),
        (routes(Route("r0", "r1", 1.0, Codec.LOCAL)), "codec local; expected raw, int8 or int4"),
        (routes(Route("r2", "r2", 1.0, Codec.INT4)), "codec int4; expected local"),
    ],
)
def test_each_broken_rule_is_named(split_plan, change, sentence):
    assert sentence in " ".join(violations(change(split_plan)))


NOT_FIGURES = (nan, inf, -inf, -1.0, 10**400)


@pytest.mark.parametrize("value", NOT_FIGURES)
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("budget_usd_per_hour", lambda value: lambda plan: replace(plan, budget_usd_per_hour=value)),
        ("cost_usd_per_hour", lambda value: lambda plan: replace(plan, cost_usd_per_hour=value)),
        ("transfer_usd_per_hour", lambda value: lambda plan: replace(plan, transfer_usd_per_hour=value)),
        ("startup_usd", lambda value: lambda plan: replace(plan, startup_usd=value)),
        (
            "workload.rate_rps",
            lambda value: lambda plan: replace(plan, workload=replace(plan.workload, rate_rps=value)),
        ),
        ("model.head_dim", lambda value: lambda plan: replace(plan, llm=replace(plan.llm, head_dim=value))),
        ("instances[1].usd_per_hour", lambda value: instance(1, usd_per_hour=value)),
        ("instances[0].gpu_memory_gib", lambda value: instance(0, gpu_memory_gib=value)),
        ("replicas[2].capacity_rps", lambda value: replica(2, capacity_rps=value)),
        ("replicas[0].kv_capacity_tokens", lambda value: replica(0, kv_capacity_tokens=value)),
        ("routes[0].share", lambda value: routes(Route("r0", "r1", value, Codec.RAW))),
    ],
)
def test_a_figure_is_finite_and_not_negative(split_plan, name, change, value):
    with pytest.raises(SpecError, match="expected a number from"):
        validate(change(value)(split_plan))
    assert f"The plan's {name} is " in " ".join(violations(change(value)(split_plan)))


def test_a_target_that_is_no_number_is_refused(split_plan):
    document = plan_to_json(split_plan)
    with pytest.raises(SpecError, match="plan's slo is wrong: SLO has TTFT nan s"):
        plan_from_json(document | {"slo": document["slo"] | {"ttft_s": nan}})


def test_a_model_with_windows_moves_no_kv(split_plan):
    windowed = replace(split_plan, llm=replace(split_plan.llm, window=1024, full_layers=5))
    assert violations(windowed) == [
        "Route r0 → r1 moves KV of llama-3.1-8b, which has windows; expected one replica at both ends."
    ]


def test_what_a_dense_model_lacks_may_be_zero_and_not_less(split_plan):
    assert split_plan.llm.experts == split_plan.llm.window == 0
    found = violations(replace(split_plan, llm=replace(split_plan.llm, positions=-1)))
    assert "model.positions is -1; expected a number from 0" in " ".join(found)


def test_a_size_of_the_model_is_not_zero(split_plan):
    llm = replace(split_plan.llm, head_dim=0)
    assert "model.head_dim is 0; expected a number from 1" in " ".join(violations(replace(split_plan, llm=llm)))


def test_a_budget_of_nan_in_a_file_does_not_open_the_gate(split_plan):
    text = json.dumps(plan_to_json(replace(split_plan, budget_usd_per_hour=nan)))
    with pytest.raises(SpecError, match="budget_usd_per_hour is nan"):
        validate(plan_from_json(json.loads(text)))


@pytest.mark.parametrize("name", ["", "../up", "a b", "a;rm", "é", "a\n", "x" * 65])
def test_an_id_is_a_safe_word(split_plan, name):
    changes = (("plan", lambda plan: replace(plan, plan_id=name)), ("instance", instance(1, id=name)))
    for kind, change in (*changes, ("replica", replica(1, id=name))):
        found = " ".join(violations(change(split_plan)))
        assert f"The {kind} id is {name!r:.10}"[:20] in found
        assert "expected 1 to 64 letters" in found


def test_a_replica_may_state_all_the_kv_that_its_memory_has_room_for(split_plan):
    found = violations(replica(0, kv_capacity_tokens=10**9)(split_plan))
    room = int(" ".join(found).partition("to ")[2].partition(",")[0])
    assert violations(replica(0, kv_capacity_tokens=room)(split_plan)) == []
    assert violations(replica(0, kv_capacity_tokens=room + 1)(split_plan)) != []


def test_a_replica_holds_equally_many_gpus_of_each_of_its_instances(split_plan):
    stages = (Stage("i0", (0,), 11), Stage("i0", (1,), 11), Stage("i1", (0,), 10))
    plan = replace(split_plan, replicas=(replace(split_plan.replicas[2], stages=stages),), routes=())
    assert "has 2 on i0, 1 on i1; expected equally many GPUs" in " ".join(violations(plan))


def test_a_plan_of_prefill_replicas_alone_serves_nobody(split_plan):
    prefill = replace(split_plan.replicas[0], phase=Phase.PREFILL)
    assert "Every replica is prefill" in " ".join(violations(replace(split_plan, replicas=(prefill,), routes=())))


def test_a_decode_replica_may_prefill_for_itself(split_plan):
    own = (Route("r0", "r1", 0.5, Codec.RAW), Route("r1", "r1", 0.25, Codec.LOCAL), split_plan.routes[1])
    assert violations(replace(split_plan, routes=own)) == []


def test_a_broken_plan_is_an_error_that_names_every_rule(split_plan):
    broken = replace(split_plan, cost_usd_per_hour=9.0)
    with pytest.raises(SpecError, match=r"Plan abc123 is not legal: .*9\.0000.*at most 5\.0000"):
        validate(broken)
