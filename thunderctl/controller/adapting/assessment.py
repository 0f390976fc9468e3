"""What one look at the workload says: how the routes in force would do under it, and what a rebalance promises."""

from dataclasses import dataclass

from planner.deployment import Codec, DemandSummary, Plan
from planner.links import Links
from planner.workload import Workload
from thunderctl.deploying.lifecycle import Flip


@dataclass(frozen=True, slots=True)
class MovedLink:
    """A way between two instances that is far wider or narrower than a route over it was planned with, Gbit/s."""

    source: str
    target: str
    planned: float
    measured: float


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be assessed: the routes in force as a plan, and what was observed (None: too little for a judgement).

    `epoch` numbers the routes. `past` are workloads of the last while, where it goes back and forth between them: then
    what is put in force has to suit all of them together. `known` is the last assessment.
    """

    at: float
    epoch: int
    plan: Plan
    workload: Workload | None
    past: tuple[Workload, ...] = ()
    links: Links | None = None
    moved: tuple[MovedLink, ...] = ()
    codec: Codec | None = None
    known: "Assessment | None" = None


@dataclass(frozen=True, slots=True)
class Assessment:
    """Predicted attainment of the routes in force, and of the best that are known: of `plan`, where these are others.

    `plan` suits the workload `suited`. Both figures are None where there was too little to judge by, and else of the
    workload `judged`, which was observed by now or, where nothing has changed since, before.
    """

    at: float
    epoch: int
    workload: Workload | None = None
    judged: Workload | None = None
    now: float | None = None
    best: float | None = None
    plan: Plan | None = None
    suited: Workload | None = None
    flips: tuple[Flip, ...] = ()
    moved: tuple[MovedLink, ...] = ()

    @property
    def gain(self) -> float:
        """Attainment that other routes would add."""
        return self.best - self.now if self.best is not None and self.now is not None else 0.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """Phases and routes to be put in force in the place of those of an epoch, confirmed, and why in words."""

    at: float
    epoch: int
    plan: Plan
    flips: tuple[Flip, ...]
    reason: str


def reason_of(found: Assessment, planned: DemandSummary) -> str:
    """Why a rebalance pays: what it promises, and what is no longer as planned."""
    assert found.workload is not None
    assert found.now is not None
    assert found.best is not None
    parts = [f"{found.best:.0%} of the requests are expected within the targets, {found.now:.0%} as it is"]
    parts += [_drift(found.workload, planned)]
    parts += [
        f"{one.source} to {one.target} has {one.measured:.3g} Gbit/s, {one.planned:.3g} were planned with"
        for one in found.moved
    ]
    return "; ".join(parts)


def _drift(seen: Workload, planned: DemandSummary) -> str:
    assert seen.rate_rps is not None
    now = _stream(seen.rate_rps, seen.prompt_tokens_mean, seen.output_tokens_mean)
    before = _stream(planned.rate_rps, planned.prompt_tokens_mean, planned.output_tokens_mean)
    return f"{now} come, {before} were planned for"


def _stream(rate_rps: float, prompt: float, output: float) -> str:
    return f"{rate_rps:.3g} requests/s of {prompt:,.0f} + {output:,.0f} tokens"
