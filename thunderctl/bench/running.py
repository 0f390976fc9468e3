"""A load made ready and sent: what of it the plan admits, who answers, and what agents moved meanwhile."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np

from planner.deployment import Plan
from planner.errors import Refused, SpecError, ThunderError
from planner.simulation.scenario import Requests
from runtime.open_files import raise_file_limit
from thunderctl.bench.entry import enter
from thunderctl.bench.load import Answer, Door, answer
from thunderctl.bench.open_loop import play
from thunderctl.bench.prompts import requests_ready
from thunderctl.bench.report import Bench
from thunderctl.bench.tally import Tally
from thunderctl.deploying.lifecycle import plan_in_force
from thunderctl.observing.observe import Observation, observe_once
from thunderctl.secrets import Secret
from thunderctl.world import World

RECEIVED = "received_bytes_"
"""What agents' counters of KV that came over the network begin with."""
Watched = Callable[[Tally, Awaitable[None]], bool]
"""Awaits the work while it shows the tally; False where somebody broke it off."""


def serving_plan(world: World) -> Plan:
    """The plan in force. Raises Refused where nothing serves."""
    plan = plan_in_force(world)
    if plan is None or not world.router.endpoint:
        raise Refused(f"Deployment {world.name} is not serving: there is no endpoint.", hint="Run `thunderctl up`.")
    return plan


def run_load(world: World, plan: Plan, asked: Requests, api_key: Secret, *, seed: int, watched: Watched) -> Bench:
    """Send what is asked for to the deployment's endpoint. Raises SpecError, HostError."""
    raise_file_limit()
    requests, too_long = admitted(plan, asked)
    endpoint = world.router.endpoint
    door, model = asyncio.run(enter(endpoint, api_key, world.router.trust))
    before, tally, started = asyncio.run(observe_once(world)), Tally.of(requests, plan.slo), time.monotonic()
    whole = watched(tally, play(tally, requests_ready(door, model, requests), sender(door, requests)))
    wall_s, after = time.monotonic() - started, _looked_again(world)
    seen = after or before
    return Bench(
        plan=plan,
        epoch=seen.routes.epoch if seen.routes else 0,
        endpoint=endpoint,
        tally=tally,
        too_long=too_long,
        seed=seed,
        wall_s=wall_s,
        interrupted=not whole,
        kv_bytes=kv_received(before, after) if after else None,
    )


def _looked_again(world: World) -> Observation | None:
    """None where it can't be looked at any more, such as a store that is locked: what was measured is reported."""
    try:
        return asyncio.run(observe_once(world))
    except ThunderError:
        return None


def sender(door: Door, requests: Requests) -> Callable[[int, bytes, float], Awaitable[Answer]]:
    """Sends a request that is ready, and times what it gets from when it was due."""

    def send(number: int, request: bytes, due_at: float) -> Awaitable[Answer]:
        return answer(door, request, int(requests.output[number]), due_at=due_at)

    return send


def admitted(plan: Plan, asked: Requests) -> tuple[Requests, int]:
    """Those that the plan's engines admit, the first of them at once; and how many are too long. Raises SpecError."""
    output = np.maximum(asked.output, 1)
    fits = asked.prompt + output <= plan.max_model_len
    if not fits.any():
        raise SpecError(f"No request of the load fits the plan's {plan.max_model_len} tokens.")
    arrival_s = asked.arrival_s[fits]
    cached = None if asked.cached is None else asked.cached[fits]
    requests = Requests(arrival_s - arrival_s[0], asked.prompt[fits], output[fits], cached)
    return requests, int((~fits).sum())


def kv_received(before: Observation, after: Observation) -> float | None:
    """KV bytes that agents received between two looks; None where not all of them were heard both times."""
    first, then = _received(before), _received(after)
    if not first or not then or first.keys() != then.keys():
        return None
    return sum(max(then[lease] - first[lease], 0.0) for lease in then)


def _received(seen: Observation) -> dict[str, float] | None:
    if any(view.health is None for view in seen.instances):
        return None
    return {
        view.lease.lease_id: sum(value for name, value in view.health.kv.items() if name.startswith(RECEIVED))
        for view in seen.instances
        if view.health is not None
    }
