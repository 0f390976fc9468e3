"""What the router's choices gain over dealing requests out in rotation; writes `benchmarks/results/router_policy.md`.

.venv/bin/python -m benchmarks.router_policy

Simulated: the router's own policy chooses the lanes of the planner's simulator, which says when prompts are computed
and answers end. Prompts arrive as token ids, so that the policy finds what they share as it does in a router.
"""

import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks.arguments import takes_none
from benchmarks.router_policy_worlds import World, bounded_worlds, worlds
from planner.deployment import Codec
from planner.evaluate import Measures, measure, outcomes
from planner.rotation import AHEAD, Rotation
from planner.simulation.job import HAND_ON, Job
from planner.simulation.run import _Run
from planner.simulation.scenario import Epoch, Lane
from runtime.messages import Routes
from runtime.router.choosing.affinity import CHARACTERS_PER_TOKEN, Prompt
from runtime.router.choosing.load import Booking, Load
from runtime.router.choosing.policy import RoutePolicy

TARGET = Path(__file__).parent / "results" / "router_policy.md"
COMMAND = ".venv/bin/python -m benchmarks.router_policy"
SEEDS = (5, 6, 7)


class Dealt(RoutePolicy):
    """Requests in rotation, whatever waits where."""

    def _cheapest(self, allowed: Sequence[int], ends: object, held: object) -> int:
        return self._rotation.pick(allowed)


@dataclass(frozen=True, slots=True)
class Variant:
    """A policy: what it is told of the load and of prompts, and whether routes let short prompts pass."""

    name: str
    knows_load: bool = True
    knows_prompts: bool = True
    bypasses: bool = False
    dealt: bool = False
    ahead: float = AHEAD


VARIANTS = (
    Variant("rotation", knows_load=False, knows_prompts=False, dealt=True),
    Variant("load", knows_prompts=False),
    Variant("prefixes", knows_load=False),
    Variant("load, prefixes"),
    Variant("load, prefixes, bypass", bypasses=True),
)
BOUNDS = tuple(Variant(f"{ahead:.0f} ahead", ahead=ahead) for ahead in (1.0, 2.0, 4.0, AHEAD, 16.0, 32.0))


class Routed(_Run):
    """The simulator, with a router's policy in the place of its rotation.

    Engines forget nothing: a replica has the KV of all turns that it computed, was sent or wrote.
    """

    def __init__(self, world: World, variant: Variant, seed: int) -> None:
        self.clock_s = 0.0
        self.load, self.variant, self.world = Load(), variant, world
        routes = world.routes if variant.bypasses else without_bypass(world.routes)
        kind = Dealt if variant.dealt else RoutePolicy
        self.policy = kind(routes, self.load, now=lambda: self.clock_s)
        shares = [route.share for route in routes.routes if route.share > 0]
        self.policy._rotation = Rotation(shares, ahead=variant.ahead)
        self.bookings: dict[int, Booking] = {}
        self.known: dict[tuple[int, int], float] = {}
        self.names = {replica.id: place for place, replica in enumerate(routes.replicas)}
        self.hits = self.local = 0.0
        epoch = Epoch(0.0, world.lanes)
        super().__init__(world.requests, world.servers, [epoch], [], seed, lambda _: None)

    def _route(self, now: float, request: int) -> None:
        self.clock_s = now
        self._tell_of_computed()
        choice = self.policy.choose(lambda _: True, self._prompt(request))
        ends = self.names[choice.computing], self.names[choice.decode]
        if self.variant.knows_load:
            self.bookings[request] = Booking(self.load, self._size(request))
            self.bookings[request].at(choice.computing, choice.decode)
        self.lane = self._lane(*ends, local=choice.codec is Codec.LOCAL)
        session = self.world.sessions[request]
        self.cached[request] = min(self.known.get((ends[0], session), 0.0), self.prompt[request] - 1)
        self.hits += self.cached[request]
        self.local += ends[0] == ends[1]
        self.known[ends[0], session] = self.prompt[request]
        self.known[ends[1], session] = self.prompt[request] + self.output[request]
        super()._route(now, request)

    def _next_lane(self) -> Lane | None:
        return self.lane

    def _lane(self, computing: int, decoding: int, *, local: bool) -> Lane:
        found = (lane for lane in self.lanes if (lane.prefill, lane.decode) == (computing, decoding))
        return Lane(decoding, decoding, 1.0) if local else next(found)

    def _finished(self, job: Job, now: float) -> None:
        super()._finished(job, now)
        if booking := self.bookings.pop(job.request, None):
            booking.end()

    def _tell_of_computed(self) -> None:
        for request, booking in self.bookings.items():
            job = self.under_way.get(request)
            if job is None or (self.first_s[request] <= self.clock_s if job.lane.is_local else job.stage != HAND_ON):
                booking.computed()

    def _size(self, request: int) -> int:
        return int(self.prompt[request]) * CHARACTERS_PER_TOKEN

    def _prompt(self, request: int) -> Prompt:
        if not self.variant.knows_prompts:
            return Prompt({}, self._size(request))
        ids = [self.world.sessions[request] + 1] * int(self.prompt[request])
        return Prompt({"prompt": ids}, self._size(request))


@dataclass(frozen=True, slots=True)
class Row:
    """A world under a policy, the mean over seeds."""

    world: str
    variant: str
    found: Measures
    hit_share: float
    local_share: float


def main() -> None:
    rows = [row for make in worlds() for row in _rows(make, VARIANTS)]
    bounds = [row for make in bounded_worlds() for row in _rows(make, BOUNDS)]
    text = "\n".join(_written(rows, bounds)) + "\n"
    TARGET.write_text(text, encoding="utf-8")
    print(text)


def without_bypass(routes: Routes) -> Routes:
    return replace(routes, routes=tuple(replace(route, local_below_tokens=0) for route in routes.routes))


def _rows(make: Callable[[int], World], variants: Sequence[Variant]) -> list[Row]:
    made = [make(seed) for seed in SEEDS]
    print(made[0].name, file=sys.stderr)
    return [_row([_played(world, variant) for world in made], made[0].name, variant) for variant in variants]


def _played(world: World, variant: Variant) -> tuple[Measures, float, float]:
    run = Routed(world, variant, SEEDS[0])
    run.agenda.play()
    timings = run.timings()
    found = measure(outcomes(world.requests, timings), world.slo, timings.end_s)
    return found, run.hits / float(world.requests.prompt.sum()), run.local / len(world.sessions)


def _row(runs: Sequence[tuple[Measures, float, float]], world: str, variant: Variant) -> Row:
    names = Measures.__dataclass_fields__
    means = {name: float(np.mean([getattr(found, name) for found, _, _ in runs])) for name in names}
    hits, local = (float(np.mean([run[place] for run in runs])) for place in (1, 2))
    return Row(world, variant.name, cast("Measures", Measures(**means)), hits, local)  # type: ignore[arg-type]


def _written(rows: Sequence[Row], bounds: Sequence[Row]) -> list[str]:
    return [
        "# What the router's choices gain over rotation",
        "",
        f"Written by `{COMMAND}` on {platform.machine()}, Python {platform.python_version()}; simulated, means over",
        f"{len(SEEDS)} seeds. Fleets at 80 % of what they prefill, or of a published plan's goodput; engines forget no",
        "KV. `cached`: prompt tokens found where the prompt was computed. `local`: requests whose prompt was computed",
        "where they were decoded, as the routes of the plan allow.",
        "",
        *_table(rows),
        "",
        "How far a route may run ahead of its share, told of load and prefixes:",
        "",
        *_table(bounds),
    ]


def _table(rows: Sequence[Row]) -> list[str]:
    head = "| fleet and load | policy | SLO attainment | TTFT p50 s | p99 s | TPOT p50 ms | p99 ms | cached | local |"
    lines = [head, "|---|---|--:|--:|--:|--:|--:|--:|--:|"]
    for row in rows:
        found = row.found
        times = f"{found.ttft_p50_s:.2f} | {found.ttft_p99_s:.2f} | {found.tpot_p50_s * 1e3:.1f} "
        times += f"| {found.tpot_p99_s * 1e3:.1f}"
        shares = f"{row.hit_share:.0%} | {row.local_share:.0%}"
        lines.append(f"| {row.world} | {row.variant} | {found.slo_attainment:.1%} | {times} | {shares} |")
    return lines


if __name__ == "__main__":
    takes_none(__doc__)
    main()
