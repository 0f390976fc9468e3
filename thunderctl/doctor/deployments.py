"""What is checked of the store, and of what it says that there is: cut off work, who looks after it, versions."""

from collections.abc import Iterable
from datetime import UTC, datetime

from thunderctl.controller.process import ControllerProcess
from thunderctl.doctor.check import Check
from thunderctl.home import thunder_home
from thunderctl.observing.observe import Observation
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState, Holder

HALFWAY = (DeploymentState.STARTING, DeploymentState.STOPPING)


def store_checks(store: Store) -> list[Check]:
    """Of every deployment that the store knows."""
    known = store.deployments()
    holders = {one.name: store.holder(one.name) for one in known}
    costing = {row.deployment for row in store.leases() if row.state.may_cost}
    return [
        Check("store", True, f"{store.server} answers: {len(known)} deployments"),
        _locks(holders.values()),
        _cut_off(known, holders),
        _controllers(costing),
    ]


def newest_event_at(store: Store) -> float:
    """When something was last written down; 0 where nothing was."""
    return max((event.at for event in store.events(limit=1)), default=0.0)


def agents_check(seen: Observation, code: str) -> Check:
    """Agents of the deployment: those that are silent, and whose `code` (a payload's digest) is not this version's."""
    heard = {view.lease.instance: view.health.version for view in seen.instances if view.health}
    others = [name for name, version in heard.items() if version != code]
    found = [f"{view.lease.instance} is silent: {view.problem}" for view in seen.instances if view.health is None]
    found += [f"{', '.join(others)} run another version's code"] if others else []
    detail = "; ".join(found) or (f"{len(heard)} answer, and run this version's code" if heard else "none")
    mend = "thunderctl up prepares them anew, one machine after the other; thunderctl logs says why one is silent."
    return Check("agents", not found, detail, mend)


def _locks(holders: Iterable[Holder | None]) -> Check:
    """A lock whose holder died is taken over by the next command, so it is nothing to mend."""
    held = [f"{one.deployment} by {one.user} since {_clock(one.taken_at)}: {one.message}" for one in holders if one]
    return Check("locks", True, "; ".join(held) or "none is held")


def _cut_off(known: Iterable[Deployment], holders: dict[str, Holder | None]) -> Check:
    """Brought up or taken down half-way, with nobody at it any more."""
    left = [one for one in known if one.state in HALFWAY and holders[one.name] is None]
    detail = ", ".join(f"{one.name} was left {one.state}" for one in left) or "none"
    again = "; ".join(
        f"thunderctl --deployment {one.name} {'up' if one.state is DeploymentState.STARTING else 'down'}"
        for one in left
    )
    return Check("cut off work", not left, detail, f"Go on with it: {again}" if left else "")


def _controllers(costing: Iterable[str]) -> Check:
    """Whatever may cost is to be looked after."""
    alone = [name for name in sorted(costing) if not _looked_after(name)]
    detail = f"nobody looks after {', '.join(alone)}, whose machines may cost" if alone else "none is missing"
    mend = "; ".join(f"thunderctl --deployment {name} up" for name in alone)
    return Check("controllers", not alone, detail, mend)


def _looked_after(name: str) -> bool:
    folder = thunder_home() / "deployments" / name / "controller"
    return ControllerProcess(folder, name).report() is not None


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
