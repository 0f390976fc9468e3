from collections.abc import Callable
from dataclasses import replace

import pytest

from planner.deployment import Codec, Phase, Plan, Route, Stage
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
        (replica(2, id="r1"), "replica id r1 is used 2 times"),
        (replica(2, stages=(Stage("i9", (0,), 32),)), "uses instance i9, which the plan does not rent"),
        (instance(2, id="i1"), "instance id i1 is used 2 times"),
        (instance(2, network="other"), "spans networks lan, other; expected one private network"),
        (instance(2, network=""), "spans networks lan, none"),
        (instance(0, gpu_memory_gib=16.0), "has room for 0 tokens of KV beside its weights; expected at least 8192"),
        (lambda plan: replace(plan, max_model_len=500_000), "expected at least 500000"),
        (routes(Route("r0", "r1", 0.75, Codec.RAW)), "shares sum to 0.7500000"),
        (routes(Route("r0", "r1", 1.5, Codec.RAW), Route("r2", "r2", -0.5, Codec.LOCAL)), "negative share"),
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
    with pytest.raises(SpecError, match=r"Plan abc is not legal: .*9\.0000.*at most 5\.0000"):
        validate(broken)
