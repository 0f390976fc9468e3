"""Write `benchmarks/results/up.md`: how long `up` takes for one machine and for many, with trouble and without.

Run by `.venv/bin/python -m benchmarks.up`. The market is the fake Vast.ai that the tests use, on the wire and with its
limits on; the SDK, the lease protocol and the store are the real ones; what happens on machines is acted. Time is
virtual: it moves only when everybody waits, so the seconds are those that the waiting comes to, and no others.
"""

import platform
import random
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arguments import takes_none
from planner.deployment import Plan
from provisioners.vast.client import CREATE_S, DESTROY_S
from tests.thunderctl.rented_world import NAME, Durations, RentedWorld, cards, rented_world
from thunderctl.deploying.bring_up import BroughtUp

TARGET = Path(__file__).parent / "results" / "up.md"
ROOT = Path(__file__).parents[1]
FLEETS = (1, 5, 10, 20, 40)
LIMIT_S, FACTOR = 4.5, 1.5
"""Vast.ai takes one create in so many seconds; and times of one machine that many of them may take beside that."""
SEED, SPARE, WIDTH = 20260801, 20, 120
TROUBLES: Sequence[tuple[str, int]] = (
    ("taken", 4),
    ("success:false with id", 2),
    ("broken", 3),
    ("stuck", 1),
    ("dropped after", 2),
    ("dropped before", 1),
    ("429", 2),
)
"""What meets the first creates of the last fleet, in an order that is drawn, and how often."""
UNFIT = (7, 19, 42)
"""Asks whose machines turn out to have too old a driver."""


@dataclass(frozen=True, slots=True)
class Brought:
    """One fleet: virtual seconds until it serves and until what was of no use is proven gone, and what it took."""

    name: str
    machines: int
    served_s: float
    ended_s: float
    creates: int
    replaced: int
    most_share: float
    outcome: str


def main() -> None:
    fleets = [brought(f"{count}, all well", count, ()) for count in FLEETS]
    fleets.append(brought(f"{FLEETS[-1]}, with trouble", FLEETS[-1], schedule(), UNFIT))
    text = "\n".join(written(fleets)) + "\n"
    TARGET.write_text(text, encoding="utf-8")
    print(text)
    print(f"Wrote {TARGET.relative_to(ROOT)}", file=sys.stderr)
    sys.exit(0 if all(one.served_s <= limit_s(fleets[0], one) for one in fleets[:-1]) else 1)


def brought(name: str, count: int, faults: Sequence[str], unfit: Sequence[int] = ()) -> Brought:
    """Bring up as many machines on a market of more, and check that it bills for what the store knows."""
    with tempfile.TemporaryDirectory() as folder, rented_world(Path(folder), cards(count + SPARE)) as world:
        plan = world.run(world.plan(count))
        world.market.spoil("create", *faults)
        world.unfit = set(unfit)
        began = world.now()
        outcome = world.run(world.up(plan))
        if world.billed() != world.costing():
            raise SystemExit(f"{name}: the market bills for {world.billed() ^ world.costing()} beside the store.")
        ended_s = world.now() - began
        return measured(name, world, plan, outcome, ended_s)


def measured(name: str, world: RentedWorld, plan: Plan, outcome: BroughtUp, ended_s: float) -> Brought:
    states = Counter(row.state for row in world.store.leases(NAME))
    said = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return Brought(
        name=name,
        machines=len(plan.instances),
        served_s=world.routed_s[-1] - (world.now() - ended_s),
        ended_s=ended_s,
        creates=sum(method == "PUT" and "/asks/" in path for method, path, _ in world.market.asked),
        replaced=sum(a.offer_id != b.offer_id for a, b in zip(plan.instances, outcome.plan.instances, strict=True)),
        most_share=world.most_usd_per_hour / plan.budget_usd_per_hour,
        outcome=f"{said}{'; incomplete' if outcome.error else ''}",
    )


def schedule() -> list[str]:
    """The troubles, each as often as it comes, among creates that go well."""
    drawn = [fault for fault, times in TROUBLES for _ in range(times)]
    drawn += [""] * (FLEETS[-1] - len(drawn))
    random.Random(SEED).shuffle(drawn)
    return drawn


def limit_s(one: Brought, many: Brought) -> float:
    return FACTOR * one.served_s + many.machines * LIMIT_S


def written(fleets: Sequence[Brought]) -> list[str]:
    lasts = Durations()
    troubles = ", ".join(f"{times} x {fault}" for fault, times in TROUBLES)
    made = f"""Made by `.venv/bin/python -m benchmarks.up` (seed {SEED}), Python {platform.python_version()}. Seconds
        are virtual: nothing was rented, and what happens on a machine is acted. Each is listed with an address after
        {lasts.boot_s:.0f} s, lets us in {lasts.sshd_s:.0f} s later, is prepared in {lasts.prepare_s:.0f} s, and its
        engine starts in {lasts.engine_s:.0f} s. The fake Vast.ai refuses a second create within {LIMIT_S} s and a
        second destroy within 3 s, as the real one does; ours are {CREATE_S} s and {DESTROY_S} s apart."""
    meaning = f"""Allowed: {FACTOR} times the time of one machine, plus {LIMIT_S} s for each. It ends when what was of
        no use is proven gone. In each fleet the market then billed for what the store knows. The trouble of the last
        fleet, in creates: {troubles}; and {len(UNFIT)} machines whose driver is too old. It waits for the machine that
        is stuck until [leases] ready_deadline_s has passed, 1200 s here."""
    return [
        "# `up` of many machines",
        "",
        *paragraph(made),
        "",
        "| fleet | serves after s | allowed s | creates | replaced | most of budget | leases | ends after s |",
        "| --- | --: | --: | --: | --: | --: | --- | --: |",
        *(row(one, fleets[0]) for one in fleets),
        "",
        *paragraph(meaning),
    ]


def paragraph(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), WIDTH)


def row(one: Brought, first: Brought) -> str:
    cells = (
        one.name,
        f"{one.served_s:.0f}",
        f"{limit_s(first, one):.0f}",
        str(one.creates),
        str(one.replaced),
        f"{one.most_share:.0%}",
        one.outcome,
        f"{one.ended_s:.0f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    takes_none(__doc__)
    main()
