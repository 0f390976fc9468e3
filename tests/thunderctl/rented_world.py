"""A deployment on a fake Vast.ai whose machines take time: to boot, to let us in, to be prepared, to start engines.

The market keeps its limits and answers the SDK's own requests, the leases are in a real store; only what happens on a
machine is acted. All of it runs in virtual time.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from planner.catalog import Offer
from planner.deployment import Bound, Codec, DemandSummary, Phase, Plan, Predicted, Replica, Route, SearchReport, Stage
from planner.document import plan_id
from planner.memory import StageMemory, kv_capacity_tokens
from planner.models import llm_named
from planner.procurement.placing import instance_of
from planner.validate import validate
from planner.workload import Slo, Workload
from provisioners.pacer import Pacer
from provisioners.vast.client import CREATE_S, DESTROY_S, SEARCH_S, SEARCHES_AT_ONCE, Paces, VastClient
from provisioners.vast.terms import Terms
from runtime.messages import EngineSpec
from tests.provisioners.vast_market import OWNER_KEY, Contract, VastMarket, bundle
from tests.provisioners.vast_server import in_place
from tests.provisioners.vast_world import DEADMAN, ONSTART, rented_hosts
from tests.thunderctl.acted_machines import ActedVast, stubbed
from tests.virtual_time import VirtualLoop
from thunderctl.controller.process import REPLACING
from thunderctl.controller.reroute import plan_over
from thunderctl.deploying.apply import StepResult
from thunderctl.deploying.bring_up import BroughtUp, bring_up
from thunderctl.deploying.lifecycle import steps_to
from thunderctl.deploying.refill import refill
from thunderctl.fleet.resting import Resting
from thunderctl.spec.spec import Spec
from thunderctl.store.locks import BRIEF_S
from thunderctl.store.store import Store
from thunderctl.world import World

T = TypeVar("T")
NAME = "fleet"
EPOCH = 1_800_000_000.0


@dataclass(frozen=True)
class Durations:
    """Seconds from the create until a machine is listed with an address, then until it lets us in, and so on."""

    boot_s: float = 90.0
    sshd_s: float = 10.0
    prepare_s: float = 300.0
    engine_s: float = 120.0


@dataclass
class RentedWorld:
    """`unfit` and `engines_fail` are asks (Vast's numbers) whose machines can't be prepared, or start no engine.

    `slow` are asks whose machines take so many seconds longer to be prepared.
    `breaks` are done to machines when the connection breaks over which they are being prepared.
    `code` is the version of ours that machines are given.
    """

    runner: asyncio.Runner
    market: VastMarket
    url: str
    durations: Durations
    folder: Path
    store: Store
    api_key: str = OWNER_KEY
    unfit: set[int] = field(default_factory=set)
    engines_fail: set[int] = field(default_factory=set)
    slow: dict[int, float] = field(default_factory=dict)
    breaks: list[Callable[[Contract], None]] = field(default_factory=list)
    code: str = "v1"
    told: list[str] = field(default_factory=list)
    results: list[StepResult] = field(default_factory=list)
    routed: list[Plan] = field(default_factory=list)
    routed_s: list[float] = field(default_factory=list)
    most_usd_per_hour: float = 0.0
    _runs: dict[str, str] = field(default_factory=dict)
    _prepared: dict[str, float] = field(default_factory=dict)
    _engines: dict[str, dict[str, tuple[float, EngineSpec]]] = field(default_factory=dict)

    def now(self) -> float:
        return EPOCH + self.runner.get_loop().time()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def up(self, plan: Plan, resting: Resting | None = None) -> BroughtUp:
        """Bring it up as `thunderctl up` does, and remember what was said of it."""
        at_rest = resting.of(plan) if resting else ()
        world, given = self.world(), Spec()
        with stubbed(self):
            steps = await steps_to(world, plan, given, resting=at_rest, code=self.code)
            return await bring_up(
                world,
                plan,
                given,
                steps,
                max_hours=1.0,
                report=self.results.append,
                narrate=lambda subject, text: self.told.append(f"{subject}: {text}"),
                amended=lambda _, why: self.told.append(why),
                resting=resting,
            )

    async def refill(self, *instances: str, until: float | None = None) -> tuple[StepResult, ...]:
        """What `thunderctl up --replacing` does, once it has said that it is at it. The caller is within `stubbed`."""
        world = self.world()
        return await refill(
            world,
            instances,
            take=lambda: self.store.lock(NAME, REPLACING, lasts_s=BRIEF_S, waits=False),
            max_hours=1.0,
            report=self.results.append,
            narrate=lambda subject, text: self.told.append(f"{subject}: {text}"),
            until=until,
        )

    def world(self) -> World:
        made = World(NAME, self.store, self.folder / NAME)
        made._provisioners["vast"] = self.provisioner()
        return made

    def provisioner(self) -> ActedVast:
        loop = asyncio.get_running_loop()

        def pacer(interval_s: float, burst: int = 1) -> Pacer:
            return Pacer(interval_s, burst=burst, clock=loop.time)

        paces = Paces(pacer(SEARCH_S, SEARCHES_AT_ONCE), pacer(CREATE_S), pacer(DESTROY_S))
        terms = Terms(ONSTART, DEADMAN, rented_hosts(self.folder / "known_hosts"), url=self.url)
        client = VastClient(self.api_key, url=self.url, paces=paces)
        return ActedVast(client, terms, self)

    async def plan(self, machines: int, *, slack: float = 1.5) -> Plan:
        """One replica a machine, each on its own, on the first machines of the market."""
        return plan_on(await self.provisioner().offers(), machines, slack=slack)

    def billed(self) -> set[str]:
        """The labels of machines that the market bills for."""
        return set(self.market.labels())

    def costing(self) -> set[str]:
        """Those that the store knows of."""
        return {row.label for row in self.store.leases(NAME) if row.state.may_cost}

    def noting_the_bill(self, rent: Callable[..., Contract]) -> Callable[..., Contract]:
        """`rent`, and the most that all machines together ever cost by the hour."""

        def noted(*arguments: Any, **options: Any) -> Contract:
            made = rent(*arguments, **options)
            bill = sum(contract.dph_total for contract in self.market.contracts.values())
            self.most_usd_per_hour = max(self.most_usd_per_hour, bill)
            return made

        return noted

    def ask_of(self, provider_id: str) -> int:
        return int(self.market.contracts[int(provider_id)].ask["id"])


def plan_on(sold: Iterable[Offer], machines: int, *, slack: float = 1.5, model: str = "llama-3.1-8b") -> Plan:
    """One replica a machine, each on its own, on the first machines of the market."""
    llm = llm_named(model)
    offers = sorted(sold, key=lambda one: int(one.machine))
    on_demand = [one for one in offers if not one.interruptible][:machines]
    instances = tuple(instance_of(replace(one, leasable=True), f"i{n}", llm) for n, one in enumerate(on_demand))
    cost = sum(one.usd_per_hour for one in instances)
    room = kv_capacity_tokens(llm, 1, [StageMemory(llm.layers, instances[0].gpu_memory_gib)])
    drawn = Plan(
        plan_id="",
        created_at="2026-09-01T12:00:00Z",
        market_as_of="2026-09-01T12:00:00Z",
        market_source="live",
        goal="goodput",
        budget_usd_per_hour=cost * slack,
        cost_usd_per_hour=cost,
        llm=llm,
        max_model_len=min(8192, llm.max_positions),
        dtype=llm.dtype,
        workload=DemandSummary("conversation", 1.0, 1150.0, 211.0),
        slo=Slo(),
        instances=instances,
        replicas=tuple(
            Replica(f"r{n}", Phase.MIXED, (Stage(one.id, (0,), llm.layers),), 1.0, room)
            for n, one in enumerate(instances)
        ),
        routes=tuple(Route(f"r{n}", f"r{n}", 1 / machines, Codec.LOCAL) for n in range(machines)),
        predicted=Predicted(1.0, 0.9, 100.0, 0.5, 1.0, 0.05, 0.1, 1.0, 0.0, calibrated=False),
        bound=Bound(1.0, 0.0),
        search=SearchReport(1.0, 0.0, 0, 0),
    )
    made = replace(drawn, plan_id=plan_id(drawn))
    validate(made)
    return made


@cache
def _plan_over(plan: Plan, standing: frozenset[str], workload: Workload, codec: Codec | None) -> tuple[Plan, str]:
    """Many worlds lose the same machines of the same plan, and what is left of it is simulated for half a second."""
    return plan_over(plan, standing, workload, codec=codec)


def _known_plan_over(
    plan: Plan, replicas: Iterable[str], workload: Workload, *, codec: Codec | None = None
) -> tuple[Plan, str]:
    return _plan_over(plan, frozenset(replicas), workload, codec)


@contextmanager
def rented_world(
    folder: Path, bundles: Sequence[dict[str, Any]], durations: Durations = Durations()
) -> Iterator[RentedWorld]:
    """A market of these asks, and a home with a store in the folder."""
    with (
        patch.dict(os.environ, THUNDER_HOME=str(folder)),
        patch("thunderctl.deploying.routes.plan_over", _known_plan_over),
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
        Store(f"sqlite:///{folder}/store.db") as store,
    ):
        loop = runner.get_loop()
        market = VastMarket(lambda: EPOCH + loop.time(), list(bundles), boot_s=durations.boot_s)
        with in_place(market) as url:
            made = RentedWorld(runner, market, url, durations, folder, store)
            with patch.object(market, "rent", made.noting_the_bill(market.rent)):
                yield made


def cards(count: int, first: int = 1, **other: Any) -> list[dict[str, Any]]:
    """As many asks of one A6000, each on a machine of its own."""
    return [bundle(number, **other) for number in range(first, first + count)]
