"""What an agent is asked to run for a replica of a plan."""

from dataclasses import dataclass, replace

import pytest

from planner.batching import TOKENS_PER_PASS
from planner.deployment import Instance, Phase, Replica, Stage
from planner.llm import LlmSpec
from planner.members import members_of
from planner.models import llm_named
from tests.planner.plans import split_plan
from thunderctl.hosts.engines import (
    POOL_PROMPTS,
    RECOMPUTE_SHARE,
    engine_spec,
    pool_bytes,
    recompute_rates,
    running_stages,
)
from thunderctl.spec.sections import KvSection
from thunderctl.spec.spec import Spec

LLAMA = llm_named("llama-3.1-8b")


@dataclass(frozen=True)
class PlannedReplica:
    """As much of a plan as an engine needs: one replica, on one instance."""

    llm: LlmSpec
    replica: Replica
    max_model_len: int = 8192

    @property
    def dtype(self) -> str:
        return self.llm.dtype

    def instance(self, name: str) -> Instance:
        return Instance(name, "o", "vast", "Earth", "A6000", 16, 47.4, 2.0)


def engine(llm: LlmSpec, *stages: tuple[int, int], kv_tokens: int = 100_000):
    """Of stages of (GPUs, layers)."""
    made = tuple(Stage("i0", tuple(range(gpus)), layers) for gpus, layers in stages or ((1, llm.layers),))
    plan = PlannedReplica(llm, Replica("r0", Phase.MIXED, made, 1.0, kv_tokens))
    return engine_spec(plan, plan.replica, Spec(), "/models/m")


@pytest.mark.parametrize(
    ("name", "dtype", "computed"),
    [
        ("llama-3.1-8b", "", "bfloat16"),
        ("llama-3.1-8b", "float16", "float16"),
        ("llama-3.1-8b", "awq", "auto"),
        ("llama-3.1-8b", "fp8", "auto"),
        ("gpt-oss-20b", "", "auto"),
    ],
)
def test_the_engine_is_told_a_dtype_it_can_compute_in(name, dtype, computed):
    """vLLM's --dtype knows no way of storing weights; that it reads from the checkpoint."""
    assert engine(llm_named(name, dtype)).dtype == computed


def test_the_pool_holds_some_of_the_longest_prompts_unless_it_is_stated():
    """Of llama-3.1-8b a token is 128 KiB: 2 x 32 layers x 8 heads x 128 channels x 2 bytes."""
    plan = PlannedReplica(LLAMA, None)
    assert pool_bytes(plan, Spec()) == POOL_PROMPTS * 8192 * 128 * 1024
    assert pool_bytes(replace(plan, max_model_len=16), Spec()) == 256 << 20
    assert pool_bytes(plan, Spec(kv=KvSection(pool_mib=64))) == 64 << 20


def test_engines_transfer_kv_where_it_can_be_moved():
    assert engine(LLAMA).transfers
    assert not engine(llm_named("gpt-oss-20b")).transfers


@pytest.mark.parametrize(
    ("stages", "layers", "share"),
    [
        (((1, 32),), 32, 1),
        (((4, 32),), 32, 1 / 4),
        (((2, 20), (2, 12)), 20, 1 / 2),
        (((16, 32),), 32, 1 / 8),  # 8 KV heads: each is on two GPUs
    ],
)
def test_each_gpu_keeps_its_heads_of_the_longest_stage(stages, layers, share):
    kept = 100_000 * layers * LLAMA.kv_bytes_per_token_layer * share
    assert engine(LLAMA, *stages).kv_cache_bytes == kept


def test_a_fifth_of_what_a_replica_could_prefill_may_go_to_prompts_whose_kv_did_not_come():
    plan = split_plan()
    rates = recompute_rates(plan)
    assert set(rates) == {replica.id for replica in plan.replicas}
    for member in members_of(plan, {}):
        full_pass_s = member.layout.pace.prefill_interval_s(TOKENS_PER_PASS)
        assert rates[member.replica.id] * full_pass_s == pytest.approx(RECOMPUTE_SHARE * TOKENS_PER_PASS, rel=1e-3)


def test_an_engine_that_may_recompute_at_another_rate_is_not_started_anew():
    wanted = replace(engine(LLAMA), recompute_tokens_per_s=900.0)
    plan = split_plan()
    assert running_stages(engine(LLAMA), wanted, "i0", plan.replicas[0]) == plan.replicas[0].stages
