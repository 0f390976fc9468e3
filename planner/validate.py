"""Solver-free checks that a plan is legal: the rules of the plan schema, one function each."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from reprlib import repr as brief
from typing import Any

from planner.deployment import Codec, Phase, Plan, Replica
from planner.errors import SpecError
from planner.gpus import gpu_of
from planner.links import private_network
from planner.llm import LlmSpec
from planner.memory import StageMemory, kv_capacity_tokens
from planner.parallel.degrees import MOST_STAGES, heads_split, runs_on
from planner.workload import LEAST_MODEL_LEN

MONEY_TOLERANCE = 1e-6
SHARE_TOLERANCE = 1e-6
SIZES = frozenset(f"model.{field.name}" for field in fields(LlmSpec) if field.default is MISSING)
"""Figures of a model that are 1 or more; what its family may lack can be 0."""
RATES = frozenset({"inet_up_gbit_per_s", "inet_down_gbit_per_s", "codec_gb_per_s"})
"""Figures of instances that times are divided by: above 0."""
MOST = 1e15
"""No figure of a plan is larger; whole numbers up to here are exact as floats."""
SAFE_WORD = re.compile("[A-Za-z0-9_-]{1,64}")
"""Ids become labels, file names and arguments on machines."""


def validate(plan: Plan) -> None:
    """Raise SpecError with every rule the plan breaks."""
    broken = violations(plan)
    if broken:
        raise SpecError(f"Plan {plan.plan_id} is not legal: {' '.join(broken)}", hint="Make a new plan.")


def violations(plan: Plan) -> list[str]:
    """One clear sentence for each broken rule; empty for a legal plan."""
    broken = [*_figures(plan), *_names(plan)]
    if broken:
        return broken
    rules = (_model, _cost, _gpus_used_once, _dtypes, _stages, _spans, _memory, _shares, _routes)
    return [sentence for rule in rules for sentence in rule(plan)]


def _figures(plan: Plan) -> Iterator[str]:
    """Every figure is finite and not negative: the other rules compare, and NaN would pass a comparison."""
    for name, value in _numbers(plan, ""):
        least = 1 if name in SIZES else 0
        if not least <= value <= MOST:
            yield f"The plan's {name} is {brief(value)}; expected a number from {least} to {MOST:g}."
        elif value == 0 and name.rpartition(".")[2] in RATES:
            yield f"The plan's {name} is 0; expected a number above 0."


def _numbers(part: Any, where: str) -> Iterator[tuple[str, float]]:
    """Every number below a part of the plan, by its key in the document. A seed may be any number."""
    for field in fields(part):
        value = getattr(part, field.name)
        name = f"{where}.{field.name}".lstrip(".") if field.name != "llm" else "model"
        if is_dataclass(value):
            yield from _numbers(value, name)
        elif isinstance(value, tuple):
            for i, entry in enumerate(value):
                yield from _numbers(entry, f"{name}[{i}]") if is_dataclass(entry) else ()
        elif isinstance(value, int | float) and not isinstance(value, bool) and field.name != "seed":
            yield name, value


def _names(plan: Plan) -> Iterator[str]:
    named = (
        ("plan", [plan.plan_id]),
        ("instance", [instance.id for instance in plan.instances]),
        ("replica", [replica.id for replica in plan.replicas]),
    )
    for kind, ids in named:
        yield from (
            f"The {kind} id is {brief(name)}; expected 1 to 64 letters, digits, - and _."
            for name in ids
            if not SAFE_WORD.fullmatch(name)
        )
        yield from (
            f"The {kind} id {name} is used {n} times; expected once." for name, n in Counter(ids).items() if n > 1
        )
    if not plan.replicas:
        yield "The plan has no replicas; expected 1 or more."
    instances = {instance.id for instance in plan.instances}
    replicas = {replica.id for replica in plan.replicas}
    for replica in plan.replicas:
        if not replica.stages:
            yield f"Replica {replica.id} has no stages; expected 1 or more."
        yield from (
            f"Replica {replica.id} uses instance {stage.instance}, which the plan does not rent."
            for stage in replica.stages
            if stage.instance not in instances
        )
    for route in plan.routes:
        yield from (
            f"A route uses replica {name}, which the plan does not have."
            for name in (route.prefill, route.decode)
            if name not in replicas
        )


def _model(plan: Plan) -> Iterator[str]:
    if plan.dtype != plan.llm.dtype:
        yield f"The plan's dtype is {plan.dtype!r}; expected {plan.llm.dtype!r}, as its model has."
    if not LEAST_MODEL_LEN <= plan.max_model_len <= plan.llm.max_positions:
        yield (
            f"The plan's max_model_len is {plan.max_model_len}; expected {LEAST_MODEL_LEN} to "
            f"{plan.llm.max_positions}, the positions of its model."
        )


def _cost(plan: Plan) -> Iterator[str]:
    prices = sum(instance.usd_per_hour for instance in plan.instances)
    expected = prices + plan.transfer_usd_per_hour
    if abs(plan.cost_usd_per_hour - expected) > MONEY_TOLERANCE * max(1.0, expected):
        yield (
            f"The plan says it costs {plan.cost_usd_per_hour:.4f} $/h; expected {expected:.4f}: instances "
            f"{prices:.4f} and transfer {plan.transfer_usd_per_hour:.4f}."
        )
    if not plan.cost_usd_per_hour <= plan.budget_usd_per_hour * (1 + MONEY_TOLERANCE):
        yield f"The plan costs {plan.cost_usd_per_hour:.4f} $/h; expected at most {plan.budget_usd_per_hour:.4f}."


def _gpus_used_once(plan: Plan) -> Iterator[str]:
    used = Counter((stage.instance, gpu) for replica in plan.replicas for stage in replica.stages for gpu in stage.gpus)
    for (name, gpu), times in sorted(used.items()):
        count = plan.instance(name).gpu_count
        if not 0 <= gpu < count:
            yield f"GPU {gpu} of instance {name} is used; expected one of its {count}, counted from 0."
        if times > 1:
            yield f"GPU {gpu} of instance {name} is used {times} times; expected once."


def _stages(plan: Plan) -> Iterator[str]:
    for replica in plan.replicas:
        degrees = {len(stage.gpus) for stage in replica.stages}
        if len(degrees) > 1 or 0 in degrees:
            found = ", ".join(map(str, sorted(degrees)))
            yield f"Replica {replica.id} has stages of {found} GPUs; expected the same number, 1 or more."
        elif not heads_split(plan.llm, replica.tp):
            yield (
                f"Replica {replica.id} has stages of {replica.tp} GPUs; expected a power of two that splits "
                f"{plan.llm.heads} heads and {plan.llm.kv_heads} KV heads evenly, or copies the latter evenly."
            )
        if replica.pp > MOST_STAGES:
            yield f"Replica {replica.id} has {replica.pp} stages; expected at most {MOST_STAGES}."
        if any(stage.layers < 1 for stage in replica.stages):
            yield f"Replica {replica.id} has a stage without layers; expected 1 or more."
        layers = sum(stage.layers for stage in replica.stages)
        if layers != plan.llm.layers:
            yield f"Replica {replica.id} has {layers} layers; expected {plan.llm.layers}, as the model has."


def _dtypes(plan: Plan) -> Iterator[str]:
    for instance in plan.instances:
        if not runs_on(plan.llm, gpu_of(instance.gpu, plan.calibrations)):
            yield f"Instance {instance.id} has {instance.gpu}, which has no {plan.dtype}; expected a GPU that does."


def _spans(plan: Plan) -> Iterator[str]:
    for replica in plan.replicas:
        names = replica.instances
        if len(names) < 2:
            continue
        networks = {private_network(plan.instance(name)) for name in names}
        if len(networks) > 1 or "" in networks:
            found = ", ".join(sorted(network or "none" for network in networks))
            yield f"Replica {replica.id} spans networks {found}; expected one private network."
        gpus = Counter(stage.instance for stage in replica.stages for _ in stage.gpus)
        if len(set(gpus.values())) > 1:
            found = ", ".join(f"{count} on {name}" for name, count in gpus.items())
            yield f"Replica {replica.id} has {found}; expected equally many GPUs on each instance."


def _memory(plan: Plan) -> Iterator[str]:
    for replica in plan.replicas:
        if replica.tp < 1 or any(stage.layers < 1 for stage in replica.stages):
            continue
        room = kv_capacity_tokens(plan.llm, replica.tp, _stage_memory(plan, replica))
        if room < plan.max_model_len:
            yield (
                f"Replica {replica.id} has room for {room} tokens of KV beside its weights; expected at least "
                f"{plan.max_model_len}, the longest request."
            )
        elif not plan.max_model_len <= replica.kv_capacity_tokens <= room:
            yield (
                f"Replica {replica.id} states {replica.kv_capacity_tokens} tokens of KV; expected "
                f"{plan.max_model_len}, the longest request, to {room}, what its memory has room for."
            )


def _stage_memory(plan: Plan, replica: Replica) -> list[StageMemory]:
    return [StageMemory(stage.layers, plan.instance(stage.instance).gpu_memory_gib) for stage in replica.stages]


def _shares(plan: Plan) -> Iterator[str]:
    total = sum(route.share for route in plan.routes)
    if abs(total - 1) > SHARE_TOLERANCE:
        yield f"Route shares sum to {total:.7f}; expected 1."
    pairs = Counter((route.prefill, route.decode) for route in plan.routes)
    yield from (f"Route {p} → {d} is listed {n} times; expected once." for (p, d), n in pairs.items() if n > 1)


def _routes(plan: Plan) -> Iterator[str]:
    phases = {replica.id: replica.phase for replica in plan.replicas}
    for route in plan.routes:
        name = f"Route {route.prefill} → {route.decode}"
        same = route.prefill == route.decode
        if not phases[route.decode].decodes:
            yield f"{name} ends at a {phases[route.decode]} replica; expected decode or mixed."
        if not same and not phases[route.prefill].prefills:
            yield f"{name} starts at a {phases[route.prefill]} replica; expected prefill or mixed."
        if same != (route.codec is Codec.LOCAL):
            expected = "local, as both ends are one replica" if same else "raw, int8 or int4, as KV crosses"
            yield f"{name} has codec {route.codec}; expected {expected}."
        if not same and not plan.llm.kv_movable:
            yield f"{name} moves KV of {plan.llm.name}, which has windows; expected one replica at both ends."
    if all(phase is Phase.PREFILL for phase in phases.values()):
        yield "Every replica is prefill; expected one that decodes."
