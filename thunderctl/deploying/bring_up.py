"""Bring a plan up: carry out what is left of it, and serve with what stands where not all of it is there."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from planner.deployment import Plan
from planner.document import plan_to_json
from planner.errors import AuthError, Incomplete, ThunderError
from planner.reconcile import Step, StepKind
from runtime.tls import client_context
from thunderctl.deploying.apply import Narrate, Report, StepResult, StepState, apply
from thunderctl.deploying.deploy import Deployer, pace_of
from thunderctl.deploying.doors import let_operator_in
from thunderctl.deploying.lifecycle import engine_specs
from thunderctl.deploying.partly import Meanwhile, routed_of, serve_over
from thunderctl.deploying.site import Amended, Site
from thunderctl.fleet.resting import Resting, replicas_at_rest
from thunderctl.hosts.hosts import list_weights
from thunderctl.processes.agents import Agents
from thunderctl.spec.spec import Spec
from thunderctl.store.values import DeploymentState
from thunderctl.world import World


@dataclass(frozen=True, slots=True)
class BroughtUp:
    """How it went: the plan as it was amended, every step's result, and the replicas that it serves without."""

    plan: Plan
    results: tuple[StepResult, ...]
    missing: tuple[str, ...] = ()

    @property
    def error(self) -> ThunderError | None:
        """The first step's error; Incomplete where it serves nevertheless. None where all went well."""
        first = next((result.error for result in self.results if result.error), None)
        if first is None or not self.missing:
            return first
        stand = len(self.plan.replicas) - len(self.missing)
        return Incomplete(
            f"It serves with {stand} of {len(self.plan.replicas)} replicas, without {', '.join(self.missing)}: "
            f"{first.message}",
            hint=first.hint,
        )


def unheard(_plan: Plan, _why: str) -> None:
    """Tell nobody that the plan was amended."""


async def bring_up(
    world: World,
    plan: Plan,
    spec: Spec,
    steps: Sequence[Step],
    *,
    max_hours: float,
    report: Report,
    narrate: Narrate,
    amended: Amended = unheard,
    resting: Resting | None = None,
) -> BroughtUp:
    """Carry out `steps`. The plan and the spec are committed first, so that `up` resumes them.

    A machine that can't be had is replaced within the budget; what then is still missing is left out of the routes, if
    none of another plan are in force, and is wanted all the same: the next `up` tries again. What is late is left out
    until it comes. What is `resting` is left out on purpose; `steps` have none for it.
    """
    _commit(world, plan, spec, resting or Resting())
    await list_weights(world, plan, spec)
    await let_operator_in(world, {row.provider for row in world.store.leases(world.name) if row.state.runs})
    async with Agents(client_context(world.operator_tls)) as agents:
        engines, pace = engine_specs(plan, spec), pace_of(spec)
        unwanted = frozenset(step.id for step in steps if step.what is StepKind.RELEASE)
        site = Site(world, plan, spec, engines, agents, pace, max_hours, narrate, amended, unwanted)
        at_rest = replicas_at_rest(plan, (resting or Resting()).of(plan))
        deployer, meanwhile = Deployer(site, report), Meanwhile(site, steps, report, at_rest)
        try:
            results = await _carry_out(_but_for_whole_routes(steps, at_rest), deployer, meanwhile, report)
            missing = (*_missing(site.plan, results), *sorted(at_rest))
            if missing and _may_serve_without(site, missing, results):
                event = "up.partly" if set(missing) == at_rest else "up.incomplete"
                routed = await _serve_without(site, missing, meanwhile, report, event=event)
                results = (*_but_for_routes(results), routed)
            results = (*results, *await deployer.leaving.all_gone())
        finally:
            await deployer.leaving.abandon()
    for result in results:
        if result.state is StepState.FAILED:
            world.store.record(world.name, "step.failed", f"{result.step.what} {result.step.id}: {result.error}")
    return BroughtUp(site.plan, results, missing if _routed(results) else ())


async def _carry_out(
    steps: Sequence[Step], deployer: Deployer, meanwhile: Meanwhile, report: Report
) -> tuple[StepResult, ...]:
    """Do every step. What stands serves meanwhile, up to the moment when the plan's own routes are put in force."""
    site = deployer.site

    def told(result: StepResult) -> None:
        meanwhile.heard(result)
        report(result)

    async def do(step: Step) -> None:
        if step.what is StepKind.ROUTE:
            await meanwhile.end()
        await deployer.do(step)

    subjects = {replica.id: replica.instances for replica in site.plan.replicas}
    async with meanwhile.serving():
        return await apply(steps, do, subjects=subjects, report=told, clock=site.clock)


def _commit(world: World, plan: Plan, spec: Spec, resting: Resting) -> None:
    store = world.store
    store.save_plan(plan.plan_id, world.name, plan_to_json(plan))
    before = store.deployment(world.name)
    state = before.state if before.state is DeploymentState.SERVING else DeploymentState.STARTING
    store.save_deployment(
        replace(
            before,
            plan_id=plan.plan_id,
            resting=resting.to_json(),
            state=state,
            budget_usd_per_hour=plan.budget_usd_per_hour,
            spec=spec.model_dump(mode="json", exclude_unset=True),
        )
    )


def _but_for_whole_routes(steps: Sequence[Step], at_rest: Collection[str]) -> tuple[Step, ...]:
    """Where some replicas rest, the plan's own routes are not what is wanted: those over the others follow."""
    return tuple(step for step in steps if not at_rest or step.what is not StepKind.ROUTE or step.without)


def _missing(plan: Plan, results: Sequence[StepResult]) -> tuple[str, ...]:
    """The replicas that were to be started and were not. One that was not even stopped, to run other code, goes on."""
    untouched = {
        result.step.id
        for result in results
        if result.step.what is StepKind.STOP and result.step.again and result.state is StepState.SKIPPED
    }
    started = {
        result.step.id: result.state
        for result in results
        if result.step.what is StepKind.START and not (result.step.again and result.step.id in untouched)
    }
    return tuple(one.id for one in plan.replicas if started.get(one.id, StepState.DONE) is not StepState.DONE)


def _may_serve_without(site: Site, missing: Collection[str], results: Sequence[StepResult]) -> bool:
    """Whether something stands, and no routes of another plan would have to give way to less than was wanted."""
    if len(missing) == len(site.plan.replicas) or any(isinstance(result.error, AuthError) for result in results):
        return False
    return routed_of(site) is not None


async def _serve_without(
    site: Site, missing: Collection[str], meanwhile: Meanwhile, report: Report, *, event: str
) -> StepResult:
    """How routes over the others were put in force: just now, or already while the missing ones were only late."""
    serving = {replica.id for replica in site.plan.replicas if replica.id not in missing}
    if meanwhile.result is not None and meanwhile.result.state is StepState.DONE and meanwhile.over == serving:
        return meanwhile.result
    return await serve_over(site, serving, "", report, event=event)


def _but_for_routes(results: Sequence[StepResult]) -> tuple[StepResult, ...]:
    """Without those that were not put in force, as others are."""
    return tuple(result for result in results if result.step.what is not StepKind.ROUTE)


def _routed(results: Sequence[StepResult]) -> bool:
    return any(one.step.what is StepKind.ROUTE and one.state is StepState.DONE for one in results)
