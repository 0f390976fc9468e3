"""From a replica of a plan to the engine that serves it, and back."""

from typing import TYPE_CHECKING

from planner.batching import TOKENS_PER_PASS
from planner.deployment import Plan, Replica, Stage
from planner.members import members_of
from planner.memory import gpu_kv_bytes_per_token
from runtime.agent.config import MIB
from runtime.messages import EngineSpec

if TYPE_CHECKING:
    from thunderctl.spec.spec import Spec


RECOMPUTE_SHARE = 0.2
"""Of what a replica could prefill: so much of it may go to prompts whose KV should have come, and did not."""


POOL_PROMPTS = 8
"""Of full length in the pool at a time, on their way out or in. Usual prompts are several times shorter."""

LEAST_POOL_MIB = 256


def engine_spec(
    plan: Plan, replica: Replica, spec: "Spec", model: str, *, recompute_tokens_per_s: float | None = None
) -> EngineSpec:
    """What the agent of the replica's first instance is asked to run; `model` is a folder on that instance."""
    layers = tuple(stage.layers for stage in replica.stages)
    return EngineSpec(
        replica=replica.id,
        model=model,
        served_name=served_name(plan, spec),
        dtype=engine_dtype(plan),
        max_model_len=plan.max_model_len,
        kv_cache_bytes=kv_cache_bytes(plan, replica),
        device="cpu" if plan.instance(replica.stages[0].instance).gpu == "CPU" else "cuda",
        gpus=tuple(gpu for stage in replica.stages for gpu in stage.gpus),
        tp=replica.tp,
        pp=replica.pp,
        layer_partition=layers if len(set(layers)) > 1 else (),
        boundary_layers=spec.kv.boundary_layers,
        chat_template=spec.engine.chat_template,
        extra_args=(*_parser_flags(spec), *spec.engine.extra_args),
        transfers=plan.llm.kv_movable,
        recompute_tokens_per_s=recompute_tokens_per_s,
    )


def recompute_rates(plan: Plan) -> dict[str, float]:
    """Replica id → prompt tokens/s that it may recompute: a share of what it would prefill in full passes."""
    paces = {member.replica.id: member.layout.pace for member in members_of(plan, {})}
    return {
        replica: round(RECOMPUTE_SHARE * TOKENS_PER_PASS / float(pace.prefill_interval_s(TOKENS_PER_PASS)), 3)
        for replica, pace in paces.items()
    }


def engine_dtype(plan: Plan) -> str:
    """vLLM's `--dtype`: what it computes in. For a quantised checkpoint that is the checkpoint's own choice."""
    return "auto" if plan.llm.weight_only or plan.llm.fp8 else plan.dtype


def served_name(plan: Plan, spec: "Spec") -> str:
    """The model's name towards clients."""
    return spec.engine.served_name or plan.llm.name


def kv_cache_bytes(plan: Plan, replica: Replica) -> int:
    """Bytes of KV that each GPU of the replica keeps: the plan's token capacity, on the stage with the most layers."""
    most_layers = max(stage.layers for stage in replica.stages)
    return int(replica.kv_capacity_tokens * gpu_kv_bytes_per_token(plan.llm, replica.tp, most_layers))


def pool_bytes(plan: Plan, spec: "Spec") -> int:
    """What an instance's agent may hold of KV tiles: so many of the plan's longest prompts, unquantised, or as stated.

    The agent takes no more than its host's memory allows (`runtime/agent/memory.py`), and only as it is used.
    """
    if spec.kv.pool_mib is not None:
        return spec.kv.pool_mib * MIB
    return max(LEAST_POOL_MIB * MIB, int(POOL_PROMPTS * plan.max_model_len * plan.llm.kv_bytes_per_token))


def running_stages(
    found: EngineSpec, wanted: EngineSpec | None, instance: str, replica: Replica | None
) -> tuple[Stage, ...]:
    """The stages of a running engine: the plan's own where it runs just that, else its GPUs in one stage."""
    if found == wanted and replica is not None:
        return replica.stages
    return (Stage(instance, found.gpus, layers=0),)


def _parser_flags(spec: "Spec") -> list[str]:
    engine = spec.engine
    flags = ["--enable-auto-tool-choice", "--tool-call-parser", engine.tool_parser] if engine.tool_parser else []
    flags += ["--reasoning-parser", engine.reasoning_parser] if engine.reasoning_parser else []
    modules = [f"{name}={path}" for name, path in engine.lora.items()]
    return [*flags, "--enable-lora", "--lora-modules", *modules] if modules else flags
