"""A provider of spot machines at sampled prices: it takes machines back, with notice or without, and says so."""

from dataclasses import replace

from benchmarks.fluid.prices import Prices
from planner.catalog import Offer
from planner.deployment import Instance
from provisioners.base import Label, Listing, Machine
from tests.provisioners.fakes import FakeClock

NOTICE_S = 120.0


class SpotCloud:
    """Everything that the controller asks of a provider. What it has is at hand at any time, and at the samples' floor
    prices, whoever asks for how many: a real market has a few machines at these."""

    provider = "vast"
    consistent = True

    def __init__(self, clock: FakeClock, prices: Prices, began_at: float) -> None:
        self.clock, self.prices, self.began_at = clock, prices, began_at
        self.machines: dict[str, Machine] = {}
        self.ended: dict[str, float] = {}
        self.doomed: dict[str, float] = {}
        self.made = 0

    def price_of(self, instance: Instance) -> float:
        return self.prices.at(instance.gpu, self.clock.at - self.began_at)

    def make(self, label: Label, usd_per_hour: float) -> Machine:
        self.made += 1
        machine = Machine(f"m{self.made}", str(label), "running", usd_per_hour, "10.0.0.1", self.clock.at)
        self.machines[machine.provider_id] = machine
        return machine

    def take_back(self, provider_id: str, *, notice: bool) -> None:
        """Now, or in two minutes, of which the listing then speaks."""
        if notice:
            self.doomed[provider_id] = self.clock.at + NOTICE_S
            known = self.machines[provider_id]
            self.machines[provider_id] = replace(known, problem="its host takes it back in 2 minutes")
        else:
            self._end(provider_id)

    def passed(self) -> None:
        """What was to end by now ends."""
        for provider_id, at in list(self.doomed.items()):
            if at <= self.clock.at:
                self._end(provider_id)
        self.ended = {name: at for name, at in self.ended.items() if self.clock.at - at < 3600}

    async def offers(self) -> tuple[Offer, ...]:
        """Nobody is shown a cheaper machine: what was leased keeps its price here."""
        return ()

    async def account(self) -> str:
        return "A"

    async def observe(self) -> Listing:
        return Listing(True, tuple(self.machines.values()), ended=frozenset(self.ended))

    async def release(self, provider_id: str) -> None:
        self._end(provider_id)

    def _end(self, provider_id: str) -> None:
        self.doomed.pop(provider_id, None)
        if self.machines.pop(provider_id, None) is not None:
            self.ended[provider_id] = self.clock.at
