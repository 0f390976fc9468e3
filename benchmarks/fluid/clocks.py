"""Clocks around the controller's own code: CPU time of the thread that runs it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import thunderctl.controller.act as acting
import thunderctl.controller.adapting.assess as assessing
import thunderctl.controller.loop as looping
import thunderctl.deploying.routing as routing
from benchmarks.fluid.lived import Lived
from planner.deployment import Plan
from planner.document import plan_id
from planner.errors import Infeasible
from planner.quick_rebalance import quick_rebalance
from planner.workload import Workload
from thunderctl.controller.observe import Observer

Work = Callable[..., Any]
Kept = dict[str, list[float]]


def timed(name: str, work: Work, kept: Kept) -> Work:
    """The same work, whose time is kept."""

    def measured_work(*given: Any, **known: Any) -> Any:
        started = time.thread_time()
        try:
            return work(*given, **known)
        finally:
            kept.setdefault(name, []).append(time.thread_time() - started)

    return measured_work


def beside(lived: Lived, name: str) -> Work:
    """Work in another thread, as the controller does it; whoever asks waits for it."""
    pool = ThreadPoolExecutor(1)

    async def in_thread(work: Work, *given: Any, **known: Any) -> Any:
        clocked = timed(f"{name}: {work.__name__}", work, lived.beside_s)
        return await asyncio.wrap_future(pool.submit(clocked, *given, **known))

    return in_thread


@contextmanager
def measured(observer: Observer, lived: Lived) -> Iterator[None]:
    """With clocks around the parts of a tick, and rebalances that nothing confirms."""
    places: list[tuple[Any, str, Work]] = [
        (looping, "decide", timed("decide", looping.decide, lived.part_s)),
        (looping, "alerts_of", timed("alerts", looping.alerts_of, lived.part_s)),
        (type(observer), "situation", timed("situation, with sizing", type(observer).situation, lived.part_s)),
        (routing, "told_of", timed("what the router is told", routing.told_of, lived.beside_s)),
        (acting, "plan_over", timed("routes over those left", acting.plan_over, lived.beside_s)),
        (assessing, "rebalance", quickly),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    for owner, name, work in places:
        setattr(owner, name, work)
    try:
        yield
    finally:
        for owner, name, work in before:
            setattr(owner, name, work)


def quickly(plan: Plan, workload: Workload, *, codec: Any, links: Any) -> SimpleNamespace:
    """A rebalance without the long runs that confirm it: minutes of a processor each time for a large fleet."""
    found = quick_rebalance(plan, workload, codec=codec, links=links)
    if found is None:
        raise Infeasible("no phases serve anything")
    return SimpleNamespace(plan=replace(found, plan_id=plan_id(found)))
