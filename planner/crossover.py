"""Which prompts a decode replica has computed before their KV could come from a prefill replica, and how many it bears.

A prompt computed where it is decoded shares a pass with the sequences that run there, and all of them wait for that
pass; one computed elsewhere takes a pass there, the hop, and a step. Waiting before either is left out: on a plan's own
load it is longer at the prefill replica.
"""

import numpy as np
import numpy.typing as npt

from planner.batching import TOKENS_PER_PASS
from planner.costmodel.pace import Pace
from planner.costmodel.transfer import GROUP, kv_transfer_s
from planner.demand import Floats
from planner.deployment import Plan, Route
from planner.members import Member, members_of
from planner.orchestration.strands import planned_hop

STEP_TOKENS = GROUP
"""Whole tiles: fewer tokens than one are not worth a rule."""
CPU = "CPU"
MOST_SHARE = 0.2
"""Of a decode replica's time, at most, and of its TPOT target as much as is to spare."""


def local_below_tokens(plan: Plan) -> list[int]:
    """Of each route: prompts of fewer tokens have their first token sooner where they are decoded (0: none has).

    They fit one pass, and that pass takes no longer than the target for TPOT: no stream beside them pauses for more.
    Engines that share the cores of one machine spare each other nothing.
    """
    members = {member.replica.id: member for member in members_of(plan, {})}
    found = []
    for route in plan.routes:
        source, target = members[route.prefill], members[route.decode]
        hop = planned_hop(route, source, target, {})
        if hop is None or _share_cores(source, target):
            found.append(0)
            continue
        batch, context = _running(plan, route)
        tokens = np.arange(STEP_TOKENS, TOKENS_PER_PASS + 1, STEP_TOKENS, dtype=np.float64)
        local_s = target.layout.pace.turn_s(batch, context, tokens, tokens**2)
        apart_s = source.layout.pace.prefill_s(tokens) + kv_transfer_s(hop.link, tokens, plan.llm, hop.codec)
        apart_s += target.layout.pace.decode_step_s(batch + 1, context + tokens)
        found.append(_until(tokens, np.asarray(local_s) <= np.minimum(apart_s, plan.slo.tpot_s)))
    return found


def local_rates(plan: Plan) -> dict[str, float]:
    """Replica id → prompt tokens/s that a decode replica may compute beside decoding; those that prefill are left out.

    A share s of the time that goes to prompts makes steps longer by 1 ÷ (1 − s), up to the target for TPOT.
    """
    spare = 1 - plan.predicted.tpot_p99_s / plan.slo.tpot_s
    share = min(max(spare, 0.0), MOST_SHARE)
    paces = {member.replica.id: member.layout.pace for member in members_of(plan, {}) if not member.phase.prefills}
    return {replica: round(share * _tokens_per_s(pace), 3) for replica, pace in paces.items()}


def _share_cores(one: Member, other: Member) -> bool:
    places = {(member.instance.provider, member.instance.region, member.instance.machine) for member in (one, other)}
    return len(places) == 1 and one.instance.gpu == other.instance.gpu == CPU


def _running(plan: Plan, route: Route) -> tuple[float, float]:
    """Sequences that the route's decode replica runs together on the plan's load (Little), and their tokens of KV."""
    demand, predicted = plan.workload, plan.predicted
    share = sum(other.share for other in plan.routes if other.decode == route.decode)
    batch = demand.rate_rps * share * demand.output_tokens_mean * predicted.tpot_p50_s
    return batch, batch * (demand.prompt_tokens_mean + demand.output_tokens_mean / 2)


def _until(tokens: Floats, holds: npt.NDArray[np.bool_]) -> int:
    """The number of tokens up to which it holds."""
    fails = np.flatnonzero(~holds)
    return int(tokens[fails[0]] - STEP_TOKENS if len(fails) else tokens[-1])


def _tokens_per_s(pace: Pace) -> float:
    return TOKENS_PER_PASS / float(pace.prefill_interval_s(TOKENS_PER_PASS))
