"""Keep trying for an instance: where its machine can't be had or is of no use, the next-best offer takes its place."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypeVar

from planner.catalog import Offer
from planner.deployment import Plan
from planner.errors import HostSilent, HostUnfit, Incomplete, NoCapacity, PriceMoved, SpecError, ThunderError
from planner.substitute import Tried, substituted, substitutes
from provisioners.leases.journal import LeaseState
from thunderctl.deploying.joined import Joined
from thunderctl.deploying.leaving import Leaving
from thunderctl.deploying.site import Site
from thunderctl.deploying.unfit import remember, unfit_machines
from thunderctl.hosts.hosts import check_hosts

MOST_REPLACED = 3
T = TypeVar("T")


class Replacing:
    """Substitutes come from a market that is looked at anew, once for all who need one at the time."""

    def __init__(self, site: Site, leaving: Leaving, market: Callable[[], Awaitable[tuple[Offer, ...]]]) -> None:
        self._site = site
        self._leaving = leaving
        self._market = Joined(market)

    async def until_it_stands(self, instance_id: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """`attempt`, made again on another offer each time it finds that the machine won't do.

        Raises its error, with what was done about it, when nothing else is to be had, and Incomplete for a machine that
        was ready and is silent.
        """
        while True:
            try:
                return await attempt()
            except (NoCapacity, HostUnfit, PriceMoved) as error:
                await self._site.turn.change(instance_id, partial(self._judge, instance_id, error))
                await self._replace(instance_id, error)

    async def _judge(self, instance_id: str, error: ThunderError) -> None:
        self._spare(instance_id, error)
        remember(self._site.world, self._site.plan.instance(instance_id), error)
        self._let_go(instance_id, error)

    def _spare(self, instance_id: str, error: ThunderError) -> None:
        """Keep a machine that was ready and is only silent: it may be serving, and the way to it closed."""
        row = self._site.leased(instance_id)
        if row is not None and self._site.turn.beside and self._serves(instance_id):  # an `up` was quicker
            raise Incomplete(f"{instance_id} ({row.provider} {row.provider_id}) serves by now: it is kept.") from error
        if row is None or row.state is LeaseState.CREATED or not isinstance(error, HostSilent):
            return
        raise Incomplete(
            f"{instance_id} ({row.provider} {row.provider_id}) was ready, and is silent: {error.message} It is kept.",
            hint="It may be serving: is the way to it open from this network? If it is lost, destroy it at "
            f"{row.provider} and run `thunderctl up` again, which then takes another.",
        ) from error

    def _serves(self, instance_id: str) -> bool:
        """Whether the router gives requests to a replica on it, of whatever plan its routes are."""
        router = self._site.world.router
        routes = router.routes() if router.may_run else None
        mine = {one.id for one in self._site.plan.replicas if instance_id in one.instances}
        return routes is not None and not mine.isdisjoint(one.id for one in routes.replicas)

    def _let_go(self, instance_id: str, error: ThunderError) -> None:
        """Release whatever machines the instance has; a create may have left one that is of no use."""
        self._site.forget(instance_id)
        offer_id = self._site.plan.instance(instance_id).offer_id
        for row in self._site.world.store.leases(self._site.world.name):
            ours = (row.instance, row.offer_id) == (instance_id, offer_id)
            if ours and (row.state.runs or row.state is LeaseState.DELETING):
                self._leaving.begin(row, error.first_line)

    async def _replace(self, instance_id: str, error: ThunderError) -> None:
        site, failed = self._site, self._site.plan.instance(instance_id)
        if not isinstance(error, PriceMoved):  # at its new price the same offer may still be the best
            site.tried.append(failed)
        if site.replaced[instance_id] == MOST_REPLACED:
            raise _given_up(error, f"{instance_id} was replaced {MOST_REPLACED} times, and is given up.")
        site.narrate(instance_id, "looks for another offer")
        offers = await self._market.next()
        await site.turn.change(instance_id, partial(self._take_another, instance_id, offers, error))

    async def _take_another(self, instance_id: str, offers: tuple[Offer, ...], error: ThunderError) -> None:
        site = self._site
        tried: tuple[Tried, ...] = (*site.tried, *unfit_machines(site.world))
        found = substitutes(site.plan, instance_id, offers, tried=tried, promised=self._promised(instance_id))
        refused: dict[str, str] = {}
        taken = self._first_that_works(instance_id, found, error, refused)
        if taken is None:
            others = "".join(f" What {provider} sells won't do: {why}" for provider, why in refused.items())
            none = f"Of {len(offers)} offers none can take the place of {instance_id} in the budget.{others}"
            raise _given_up(error, none)
        site.replaced[instance_id] += 1
        site.adopt(*taken)

    def _first_that_works(
        self, instance_id: str, found: Iterable[Offer], error: ThunderError, refused: dict[str, str]
    ) -> tuple[Plan, str] | None:
        """The plan with the best offer on whose host it can run, as far as that is known before it is leased, and why.

        Notes the other providers in `refused`.
        """
        site, failed = self._site, self._site.plan.instance(instance_id)
        for offer in found:
            if offer.provider in refused:
                continue
            why = f"{instance_id} is {offer.offer_id} of {offer.provider}, not {failed.offer_id}: {error.first_line}"
            amended = substituted(site.plan, instance_id, offer, why)
            try:
                check_hosts(amended, site.spec)
            except SpecError as problem:
                refused[offer.provider] = problem.first_line
                site.narrate(instance_id, f"takes no offer of {offer.provider}: {problem.first_line}")
            else:
                return amended, why
        return None

    def _promised(self, instance_id: str) -> Counter[str]:
        """Copies of offers that other instances are about to lease."""
        others = (one for one in self._site.plan.instances if one.id != instance_id)
        return Counter(one.offer_id for one in others if self._site.leased(one.id) is None)


def _given_up(error: ThunderError, because: str) -> ThunderError:
    """The same kind of error, which says as well what was done about it."""
    return type(error)(f"{error.message} {because}", hint=error.hint)
