"""A few engines of this host, brought up to be measured just as `up` brings up a deployment, and taken down again.

They are a deployment of their own, so that what is left by a measurement that was killed is seen by `thunderctl leases`
and taken down by the next one.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psutil

from planner.deployment import (
    Bound,
    Codec,
    DemandSummary,
    Phase,
    Plan,
    Predicted,
    Replica,
    Route,
    SearchReport,
    Stage,
)
from planner.document import plan_id
from planner.errors import HostError, Refused
from planner.llm import LlmSpec
from planner.memory import StageMemory, kv_capacity_tokens
from planner.procurement.placing import instance_of
from planner.workload import Slo
from provisioners.base import Label
from runtime.tls import client_context
from thunderctl.bench.load import Answer, ask
from thunderctl.compose import provisioner
from thunderctl.deploying.apply import Narrate, Report
from thunderctl.deploying.bring_up import bring_up
from thunderctl.deploying.lifecycle import check_host, flip, steps_to
from thunderctl.deploying.taking_down import take_down
from thunderctl.home import thunder_home
from thunderctl.observing.observe import observe
from thunderctl.processes.agents import Agents
from thunderctl.spec.spec import Spec
from thunderctl.world import World, open_world

DEPLOYMENT = "calibration"
MAX_HOURS = 0.5
MAX_MODEL_LEN = 4096
CACHE_INFO = re.compile(r"^vllm:cache_config_info\{(.*)\} ", re.MULTILINE)

Pair = tuple[str, str, Codec]
"""A route's ends and its codec."""


@dataclass(slots=True)
class Fleet:
    """Engines that run, each of its own replica, and the router before them. `plan` is in force."""

    world: World
    plan: Plan
    model: str

    @property
    def replicas(self) -> tuple[str, ...]:
        return tuple(replica.id for replica in self.plan.replicas)

    async def route(self, *pairs: Pair) -> None:
        """Send the requests that come from now on over these routes, in turn."""
        wanted = routed(self.plan, pairs)
        await flip(self.world, wanted)
        self.plan = wanted

    async def ask(self, prompt: Sequence[int], tokens: int) -> Answer:
        return await ask(self.world.router.endpoint, self.model, prompt, tokens)

    def sending_cpu_s(self) -> float:
        """CPU seconds so far of all that sends tokens out: router, agents and engines' front ends.

        These are the processes that leave a record; an engine's core is a process below its front end, with none.
        """
        records = (thunder_home() / "local").glob("*/run/*.pid.json")
        pids = [json.loads(record.read_text())["pid"] for record in records]
        pids += [state["pid"]] if (state := self.world.router.running()) else []
        return sum(_cpu_s(pid) for pid in pids)

    async def kv_tokens(self, replica: str) -> int:
        """Tokens that an engine says its KV cache holds. Raises HostError."""
        async with Agents(client_context(self.world.operator_tls)) as agents:
            seen = await observe(self.world, agents)
            agent = next(view.agent for view in seen.instances if any(e.replica == replica for e in view.engines))
            assert agent is not None, "engines were seen through it"
            found = CACHE_INFO.search(await agent.engine_metrics(replica))
        said = dict(re.findall(r'(\w+)="([^"]*)"', found.group(1))) if found else {}
        try:
            return int(said["num_gpu_blocks"]) * int(said["block_size"])
        except (KeyError, ValueError) as error:
            raise HostError(f"The engine of {replica} does not say how large its KV cache is.") from error


def _cpu_s(pid: int) -> float:
    """Of a process without those below it; 0 where it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def routed(whole: Plan, pairs: Sequence[Pair]) -> Plan:
    """The plan with these routes, equally shared, and the phases that they ask for."""
    prefills = {prefill for prefill, decode, _ in pairs if prefill != decode}
    alone = {prefill for prefill, decode, _ in pairs if prefill == decode}
    phases = dict.fromkeys(prefills, Phase.PREFILL) | dict.fromkeys(alone, Phase.MIXED)
    changed = replace(
        whole,
        replicas=tuple(replica.flipped(phases.get(replica.id, Phase.DECODE)) for replica in whole.replicas),
        routes=tuple(Route(prefill, decode, 1 / len(pairs), codec) for prefill, decode, codec in pairs),
    )
    return replace(changed, plan_id=plan_id(changed))


@contextmanager
def fleet(llm: LlmSpec, engines: int, *, report: Report, narrate: Narrate) -> Iterator[Fleet]:
    """Up to `engines` engines of this host's free slots, up and routed to the first; gone when left, however that is.

    Raises Refused where a deployment is up on this host: each would disturb the other.
    """
    refuse_neighbours()
    spec = Spec.model_validate({"markets": {"providers": ["local"]}, "serve": {"listen": "127.0.0.1:0"}})
    with open_world(DEPLOYMENT) as world, world.store.lock(DEPLOYMENT, "calibrate"):
        whole = fleet_plan(llm, engines)
        first = whole.replicas[0].id
        wanted = routed(whole, [(first, first, Codec.LOCAL)])
        with serving(world, wanted, spec, report=report, narrate=narrate):
            yield Fleet(world, wanted, llm.name)


@contextmanager
def serving(world: World, plan: Plan, spec: Spec, *, report: Report, narrate: Narrate) -> Iterator[None]:
    """The plan up, and down when left. What is left of an earlier time goes first."""
    check_host(world, plan, spec)
    try:
        if any(row.state.may_cost for row in world.store.leases(world.name)):
            asyncio.run(take_down(world, report=report))
        steps = asyncio.run(steps_to(world, plan, spec))
        outcome = asyncio.run(bring_up(world, plan, spec, steps, max_hours=MAX_HOURS, report=report, narrate=narrate))
        if outcome.error is not None:
            raise outcome.error
        yield
    finally:
        asyncio.run(take_down(world, report=report))


def refuse_neighbours() -> None:
    """Raise Refused where a machine of this host is leased by anyone but an earlier calibration."""
    labels = (Label.parse(machine.label) for machine in asyncio.run(provisioner("local").observe()).machines)
    others = sorted({label.deployment for label in labels if label and label.deployment != DEPLOYMENT})
    if others:
        raise Refused(
            f"Deployment {', '.join(others)} is up on this host: it would disturb the measurement, and be disturbed.",
            hint=f"Take it down first: thunderctl --deployment {others[0]} down",
        )


def fleet_plan(llm: LlmSpec, engines: int) -> Plan:
    """As many free slots as wanted, one replica each. Nothing is chosen, so nothing is predicted."""
    offers = asyncio.run(provisioner("local").offers())
    if not offers:
        raise Refused("All slots of this host are taken.", hint="See: thunderctl leases")
    (offer,) = offers
    instances = tuple(instance_of(offer, f"i{i}", llm) for i in range(min(engines, offer.available)))
    room = kv_capacity_tokens(llm, 1, [StageMemory(llm.layers, offer.memory_gib)])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    cost = offer.usd_per_hour * len(instances)
    return Plan(
        plan_id="",
        created_at=now,
        market_as_of=now,
        market_source="live",
        goal="goodput",
        budget_usd_per_hour=cost,
        cost_usd_per_hour=cost,
        llm=llm,
        max_model_len=min(MAX_MODEL_LEN, llm.max_positions),
        dtype=llm.dtype,
        workload=DemandSummary("calibration", 0.0, 0.0, 0.0),
        slo=Slo(),
        instances=instances,
        replicas=tuple(
            Replica(f"r{i}", Phase.MIXED, (Stage(instance.id, (0,), llm.layers),), kv_capacity_tokens=room)
            for i, instance in enumerate(instances)
        ),
        routes=(),
        predicted=Predicted(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, calibrated=False),
        bound=Bound(0.0, 0.0),
        search=SearchReport(0.0, 0.0, 0, 0),
    )
