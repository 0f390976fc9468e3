"""The life of a deployment: brought up by a plan, rebalanced, taken down. Each is safe to run again at any point."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from planner.deployment import Phase, Plan
from planner.document import plan_from_json, plan_to_json
from planner.errors import Refused, SpecError
from planner.reconcile import Step, StepKind, reconcile
from provisioners.leases.budget import ROUNDING_USD
from provisioners.leases.ledger import spent_usd
from provisioners.leases.release import release, resume
from runtime.engine import engine_command
from runtime.listening import bound_socket, parse_listen
from runtime.messages import EngineSpec
from runtime.router.exposure import ClientTls, check_exposure
from runtime.router.keys import KeyRing
from runtime.tls import client_context
from thunderctl.agents import Agents
from thunderctl.apply import Report, StepResult, StepState, apply
from thunderctl.compose import check_leasable, engine_python, model_folder
from thunderctl.deploy import Deployer, Narrate, pace_of
from thunderctl.engines import engine_spec, recompute_rates
from thunderctl.home import owner_id
from thunderctl.observe import Observation, fleet_state, observe_once
from thunderctl.payload import build_payload
from thunderctl.routing import push_plan
from thunderctl.spec import ServeSection, Spec
from thunderctl.store.values import Deployment, DeploymentState
from thunderctl.world import World


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


async def steps_to(world: World, plan: Plan, spec: Spec) -> tuple[Step, ...]:
    """What is left to do until `plan` runs. Looks first at what became of leases in doubt."""
    await settle(world, spec)
    seen = await observe_once(world)
    return reconcile(plan, fleet_state(seen, plan, engine_specs(plan, spec), plan_in_force(world)))


def check_host(world: World, plan: Plan, spec: Spec) -> None:
    """Raise for what can be known to fail before anything is leased, as SpecError or ProvisioningError.

    That is: a provider that can't be rented from, a replica on several instances, no engine environment, no weights,
    engine arguments that contradict the plan, an address that can't be listened on.
    """
    for instance in plan.instances:
        check_leasable(instance.provider)
    for replica in plan.replicas:
        if len(replica.instances) > 1:
            raise SpecError(
                f"Replica {replica.id} spans {', '.join(replica.instances)}; this version starts an engine on one "
                "instance only, and can plan and simulate such replicas, not run them.",
                hint="Plan with larger instances, or with offers that share no network.",
            )
    if spec.engine.chat_template and not Path(spec.engine.chat_template).is_file():
        raise SpecError(f"[engine] chat_template is {spec.engine.chat_template!r}; expected a file that is there.")
    for engine in engine_specs(plan, spec).values():
        engine_command(engine, python=engine_python())
    host, port = parse_listen(spec.serve.listen)
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


def check_money(world: World, plan: Plan, spec: Spec) -> None:
    """Raise Refused where the plan or what was spent so far passes a limit that the spec states."""
    stated = "usd_per_hour" in spec.budget.model_fields_set
    if stated and plan.cost_usd_per_hour > spec.budget.usd_per_hour + ROUNDING_USD:
        raise Refused(
            f"The plan costs {plan.cost_usd_per_hour:.4g} $/h; the spec's budget is {spec.budget.usd_per_hour:.4g} $/h."
        )
    spent = spent_usd(world.store.leases(world.name), time.time())
    if spent >= spec.budget.max_total_usd:
        raise Refused(
            f"{spent:.2f} $ were spent; [budget] max_total_usd is {spec.budget.max_total_usd:.2f} $.",
            hint="Raise max_total_usd, or take the deployment down.",
        )


async def settle(world: World, spec: Spec) -> None:
    """Finish releases that were cut off and resolve leases in doubt. Raises Incomplete while one is not known."""
    for provider in sorted({row.provider for row in world.store.leases(world.name)}):
        await resume(
            world.store,
            world.provisioner(provider),
            owner_id=owner_id(),
            deployment=world.name,
            pace=pace_of(spec),
        )


async def bring_up(
    world: World, plan: Plan, spec: Spec, steps: Sequence[Step], *, max_hours: float, report: Report, narrate: Narrate
) -> tuple[StepResult, ...]:
    """Carry out `steps`. The plan and the spec are committed first, so that `up` resumes them."""
    store = world.store
    store.save_plan(plan.plan_id, world.name, plan_to_json(plan))
    before = store.deployment(world.name)
    state = before.state if before.state is DeploymentState.SERVING else DeploymentState.STARTING
    store.save_deployment(
        replace(
            before,
            plan_id=plan.plan_id,
            state=state,
            budget_usd_per_hour=plan.budget_usd_per_hour,
            spec=spec.model_dump(mode="json", exclude_unset=True),
        )
    )
    async with Agents(client_context(world.operator_tls)) as agents:
        deployer = Deployer(
            world=world,
            plan=plan,
            spec=spec,
            engines=engine_specs(plan, spec),
            engine_python=engine_python(),
            payload=build_payload(),
            agents=agents,
            narrate=narrate,
            max_hours=max_hours,
        )
        subjects = {replica.id: replica.instances for replica in plan.replicas}
        results = await apply(steps, deployer.do, subjects=subjects, report=report)
    for result in results:
        if result.state is StepState.FAILED:
            store.record(world.name, "step.failed", f"{result.step.what} {result.step.id}: {result.error}")
    return results


def engine_specs(plan: Plan, spec: Spec) -> dict[str, EngineSpec]:
    """Replica id → the engine that serves it."""
    model, rates = str(model_folder(plan)), recompute_rates(plan)
    return {
        replica.id: engine_spec(plan, replica, spec, model, recompute_tokens_per_s=rates[replica.id])
        for replica in plan.replicas
    }


async def flip(world: World, current: Plan, wanted: Plan) -> int:
    """Put `wanted`, which has the same replicas as `current`, in force; returns the epoch. No engine is touched."""
    routes = world.router.routes()
    if routes is None or world.router.running() is None:
        raise Refused("The router is not running, so there is nothing to rebalance.", hint="Run `thunderctl up`.")
    addresses = {entry.id: entry for entry in routes.replicas}
    world.store.save_plan(wanted.plan_id, world.name, plan_to_json(wanted))
    epoch = await push_plan(world, wanted, addresses, routes.model, world.spec().serve)
    flips = [f"{f.replica} {f.before} → {f.after}" for f in flips_between(current, wanted)]
    world.store.record(world.name, "rebalance", f"epoch {epoch}: {', '.join(flips) or 'routes only'}")
    return epoch


def refuse_unready(plan: Plan, seen: Observation) -> None:
    """Raise Refused unless every replica of the plan is ready: phases are not given to engines that are not there."""
    engines = {replica.id: seen.engine(replica.id) for replica in plan.replicas}
    missing = [name for name, engine in engines.items() if engine is None or engine.state != "ready"]
    if missing:
        raise Refused(f"Replicas {', '.join(missing)} are not ready.", hint="Mend that first: thunderctl up")


def flips_between(current: Plan, wanted: Plan) -> list[Flip]:
    """Which replicas change their phase."""
    before = {replica.id: replica.phase for replica in current.replicas}
    return [Flip(r.id, before[r.id], r.phase) for r in wanted.replicas if before[r.id] is not r.phase]


def differ(current: Plan, wanted: Plan) -> bool:
    """Whether phases or routes change."""
    return bool(flips_between(current, wanted)) or set(wanted.routes) != set(current.routes)


async def take_down(world: World, *, report: Report) -> tuple[StepResult, ...]:
    """Stop the router, release every lease and prove it gone. Raises Incomplete, naming what still costs."""
    store, spec = world.store, world.spec()
    deployment = store.deployment(world.name)
    store.save_deployment(replace(deployment, state=DeploymentState.STOPPING))
    await world.router.stop()
    rows = [row for row in store.leases(world.name) if row.state.may_cost]
    steps = [Step(StepKind.RELEASE, provider) for provider in sorted({row.provider for row in rows})]

    async def release_all(step: Step) -> None:
        await release(
            store,
            world.provisioner(step.id),
            owner_id=owner_id(),
            deployment=world.name,
            reason="down",
            pace=pace_of(spec),
        )

    results = await apply(steps, release_all, subjects={}, report=report)
    if all(result.state is StepState.DONE for result in results):
        world.forget()
        store.save_deployment(Deployment(world.name, epoch=deployment.epoch))
        store.record(world.name, "down", "everything is released and proven gone")
    return results
