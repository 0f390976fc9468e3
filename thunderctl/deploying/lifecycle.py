"""The life of a deployment: brought up by a plan, and rebalanced. Each is safe to run again at any point."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from planner.deployment import Phase, Plan
from planner.document import plan_from_json, plan_to_json
from planner.errors import HostError, Incomplete, Refused, SpecError
from planner.reconcile import Step, StepKind, reconcile
from planner.refreshing import refresh
from provisioners.crash import crash_point
from provisioners.leases.budget import ROUNDING_USD
from runtime.engine import engine_command
from runtime.listening import bound_socket, parse_listen
from runtime.messages import EngineSpec, Routes
from runtime.router.access.exposure import ClientTls, check_exposure
from runtime.router.access.keys import KeyRing
from thunderctl.compose import check_leasable
from thunderctl.deploying.routing import push_plan
from thunderctl.deploying.settling import settle, unsaid
from thunderctl.fleet.resting import but_for
from thunderctl.hosts.engines import engine_spec, recompute_rates
from thunderctl.hosts.hosts import check_hosts
from thunderctl.money.spending import spending_of
from thunderctl.observing.observe import InstanceView, Observation, addresses_of, fleet_state, observe_once
from thunderctl.spec.engine_files import as_on_hosts
from thunderctl.spec.places import HERE
from thunderctl.spec.sections import ServeSection
from thunderctl.spec.spec import Spec
from thunderctl.weights.source import link_name, source_of
from thunderctl.world import World

REBALANCED = "rebalance"
"""The kind of the event that phases or routes were changed; its detail has `flips`: (replica, before, after) each."""


@dataclass(frozen=True, slots=True)
class Flip:
    """A replica whose phase changes; the engine does not notice."""

    replica: str
    before: Phase
    after: Phase


def plan_in_force(world: World) -> Plan | None:
    """The plan that the deployment was last given, in force or on the way."""
    plan_id = world.store.deployment(world.name).plan_id
    return plan_from_json(world.store.plan(plan_id, world.name).document) if plan_id else None


def lineage(world: World, plan: Plan) -> tuple[str, ...]:
    """The ids of a plan and of those that it took over from when machines had to be replaced, the newest first."""
    saved = {one.plan_id: one.document.get("amends", "") for one in world.store.plans(world.name)}
    found, before = [plan.plan_id], plan.amends
    while before and before not in found:
        found.append(before)
        before = saved.get(before, "")
    return tuple(found)


async def steps_to(
    world: World,
    plan: Plan,
    spec: Spec,
    narrate: Callable[[str], None] = unsaid,
    *,
    resting: Collection[str] = (),
    code: str = "",
    is_preview: bool = False,
) -> tuple[Step, ...]:
    """What is left to do until `plan` runs, but for the instances that rest, and runs `code` on its machines (a
    payload's digest; any where none is given).

    Looks first at what became of leases in doubt; `narrate` hears of waits, which are short for a preview.
    Raises Refused where the budget does not hold the machines that go beside those that come.
    """
    await settle(world, spec, plan, narrate, is_preview=is_preview)
    seen = await observe_once(world)
    running = fleet_state(seen, plan, engine_specs(plan, spec), plan_in_force(world), code)
    steps = (*but_for(reconcile(plan, running), plan, resting), *refresh(plan, running, resting))
    check_side_by_side(world, plan, spec, steps)
    return steps


def check_host(world: World, plan: Plan, spec: Spec) -> None:
    """Raise for what can be known to fail before anything is leased, as SpecError or ProvisioningError.

    That is: a provider that can't be rented from, a replica on several instances, no engine environment, no weights,
    engine arguments that contradict the plan, an address that can't be listened on.
    """
    for instance in plan.instances:
        check_leasable(instance.provider, live=instance.leasable)
    for replica in plan.replicas:
        if len(replica.instances) > 1:
            raise SpecError(
                f"Replica {replica.id} spans {', '.join(replica.instances)}; this version starts an engine on one "
                "instance only, and can plan and simulate such replicas, not run them.",
                hint="Plan with larger instances, or with offers that share no network.",
            )
    check_hosts(plan, spec)
    for engine in engine_specs(plan, spec).values():
        engine_command(engine, python="python")
    host, port = parse_listen(spec.serve.listen)
    if spec.serve.place != HERE:  # address and certificate are of another host, which says itself what is wrong there
        return
    check_exposure(host, has_keys=KeyRing(world.router.keys).required, client_tls=client_tls(spec.serve))
    if world.router.running() is None:
        bound_socket(host, port).close()


def client_tls(serving: ServeSection) -> ClientTls | None:
    """What clients are shown, where the spec names it. Raises SpecError for files that can't be served with."""
    if bool(serving.tls_cert) != bool(serving.tls_key):
        raise SpecError("[serve] has one of tls_cert and tls_key; expected both, or neither.")
    if not serving.tls_cert:
        return None
    shown = ClientTls(Path(serving.tls_cert), Path(serving.tls_key))
    shown.context()
    return shown


def check_money(world: World, plan: Plan, spec: Spec, *, at_rest_usd_per_hour: float = 0.0) -> None:
    """Raise Refused where the plan or what was spent so far passes a limit that the spec states.

    What rests of the plan does not count towards what an hour costs now.
    """
    spending = spending_of(world.store, world.name)
    if spec.budget.is_stated and plan.cost_usd_per_hour > spec.budget.usd_per_hour + ROUNDING_USD:
        raise Refused(
            f"The plan costs {plan.cost_usd_per_hour:.4g} $/h; the spec's budget is {spec.budget.usd_per_hour:.4g} $/h."
        )
    now_usd_per_hour = spec.budget.gate_usd_per_hour(plan.budget_usd_per_hour, spending.now)
    costs_usd_per_hour = plan.cost_usd_per_hour - at_rest_usd_per_hour
    to_lease = costs_usd_per_hour > float(spending.machines_usd_per_hour) + ROUNDING_USD
    if to_lease and costs_usd_per_hour > now_usd_per_hour + ROUNDING_USD:
        raise Refused(
            f"The plan costs {costs_usd_per_hour:.4g} $/h; the budget at this hour is {now_usd_per_hour:.4g} $/h.",
            hint="Bring it up when that window of [budget] is over, or plan within it: thunderctl plan --budget.",
        )
    spent = spending.life.spend.usd
    if spent >= spec.budget.max_total_usd:
        raise Refused(
            f"{spent:.2f} $ were spent since it was last down; [budget] max_total_usd is "
            f"{spec.budget.max_total_usd:.2f} $.",
            hint="Raise max_total_usd, or take the deployment down: then it counts from nothing again.",
        )


def check_side_by_side(world: World, plan: Plan, spec: Spec, steps: Sequence[Step]) -> None:
    """Raise Refused where machines are to be leased before others are released, and the budget does not hold both.

    Half-way the gate before each create would refuse, and then both would cost: nothing is released until all serves.
    """
    to_lease = [plan.instance(step.id).usd_per_hour for step in steps if step.what is StepKind.LEASE]
    if not to_lease or all(step.what is not StepKind.RELEASE for step in steps):
        return
    spending = spending_of(world.store, world.name)
    costs, comes = float(spending.machines_usd_per_hour + spending.transfer_usd_per_hour), sum(to_lease)
    budget_usd_per_hour = spec.budget.gate_usd_per_hour(plan.budget_usd_per_hour, spending.now)
    if not costs + comes <= budget_usd_per_hour + ROUNDING_USD:
        raise Refused(
            f"What runs costs {costs:.4g} $/h until {comes:.4g} $/h of new machines serve in its place; the budget is "
            f"{budget_usd_per_hour:.4g} $/h.",
            hint="Release what runs first: thunderctl down, then up again. Or plan with a budget for both for a while.",
        )


def engine_specs(plan: Plan, spec: Spec) -> dict[str, EngineSpec]:
    """Replica id → the engine that serves it."""
    there, model, rates = as_on_hosts(spec), link_name(source_of(plan, spec)), recompute_rates(plan)
    return {
        replica.id: engine_spec(plan, replica, there, model, recompute_tokens_per_s=rates[replica.id])
        for replica in plan.replicas
    }


async def flip(world: World, wanted: Plan, views: Iterable[InstanceView] = ()) -> int:
    """Put `wanted`, whose engines all run, in force; returns the epoch. No engine is touched.

    Replicas that are in no route now are reached where their agents are: `views` say that.
    """
    routes = world.router.routes()
    if routes is None or not world.router.may_run:
        raise Refused("The router is not running, so there is nothing to rebalance.", hint="Run `thunderctl up`.")
    addresses = addresses_of(wanted, views, routes)
    world.store.save_plan(wanted.plan_id, world.name, plan_to_json(wanted))
    try:
        epoch = await push_plan(world, wanted, addresses, routes.model, world.spec().serve)
    except HostError as error:
        raise Incomplete(
            f"Plan {wanted.plan_id} is wanted and not in force yet: {error.message}",
            hint="The controller tries again until it is; so does `thunderctl up`.",
        ) from error
    crash_point("K4")
    record_rebalance(world, epoch, flips_from(routes, wanted))
    return epoch


def record_rebalance(world: World, epoch: int, flips: Sequence[Flip]) -> None:
    """Write down which phases an epoch changed, with the figures that the controller paces its own changes by."""
    detail = [[one.replica, str(one.before), str(one.after)] for one in flips]
    world.store.record(world.name, REBALANCED, f"epoch {epoch}: {flips_said(flips)}", flips=detail)


def flips_said(flips: Sequence[Flip]) -> str:
    """`r1 prefill → decode`."""
    return ", ".join(f"{one.replica} {one.before} → {one.after}" for one in flips) or "routes only"


def refuse_unready(plan: Plan, seen: Observation) -> None:
    """Raise Refused unless every replica of the plan is ready: phases are not given to engines that are not there."""
    engines = {replica.id: seen.engine(replica.id) for replica in plan.replicas}
    missing = [name for name, engine in engines.items() if engine is None or engine.state != "ready"]
    if missing:
        raise Refused(f"Replicas {', '.join(missing)} are not ready.", hint="Mend that first: thunderctl up")


def flips_between(current: Plan, wanted: Plan) -> list[Flip]:
    """Which replicas change their phase; one that the current plan lacks only comes back."""
    return _flips({replica.id: replica.phase for replica in current.replicas}, wanted)


def flips_from(routes: Routes, wanted: Plan) -> list[Flip]:
    """Which replicas of an epoch change their phase."""
    return _flips({replica.id: replica.phase for replica in routes.replicas}, wanted)


def _flips(before: Mapping[str, Phase], wanted: Plan) -> list[Flip]:
    known = ((replica.id, before.get(replica.id, replica.phase), replica.phase) for replica in wanted.replicas)
    return [Flip(name, was, becomes) for name, was, becomes in known if was is not becomes]


def differ(current: Plan, wanted: Plan) -> bool:
    """Whether phases or routes change."""
    return bool(flips_between(current, wanted)) or set(wanted.routes) != set(current.routes)
