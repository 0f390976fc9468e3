"""A Vast.ai to rent from: the fake market on the wire, and our provisioner on it, on one clock that jumps."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from planner.catalog import Offer
from provisioners.base import Label, LeaseRequest, Machine
from provisioners.pacer import Pacer
from provisioners.ssh.rented import RentedHosts
from provisioners.vast.client import CREATE_S, DESTROY_S, SEARCH_S, SEARCHES_AT_ONCE, Paces, VastClient
from provisioners.vast.provisioner import VastProvisioner
from provisioners.vast.terms import Terms
from tests.provisioners.fakes import OWNER, FakeClock
from tests.provisioners.vast_market import OWNER_KEY, Contract, VastMarket, bundle
from tests.provisioners.vast_server import serving

TEMPLATES = Path(__file__).parents[2] / "templates"
ONSTART = (TEMPLATES / "vast_onstart.sh.j2").read_text()
DEADMAN = (TEMPLATES / "deadman.sh.j2").read_text()


@dataclass(frozen=True)
class VastWorld:
    market: VastMarket
    clock: FakeClock
    url: str

    def paces(self) -> Paces:
        def pacer(interval_s: float, burst: int = 1) -> Pacer:
            return Pacer(interval_s, burst=burst, clock=self.clock, sleep=self.clock.sleep)

        return Paces(pacer(SEARCH_S, SEARCHES_AT_ONCE), pacer(CREATE_S), pacer(DESTROY_S), self.clock.sleep)

    def client(self, api_key: str | None = OWNER_KEY) -> VastClient:
        return VastClient(api_key, url=self.url, paces=self.paces())

    def provisioner(self, api_key: str | None = OWNER_KEY, **terms) -> VastProvisioner:
        usual = {"onstart": ONSTART, "deadman": DEADMAN, "hosts": rented_hosts(Path("known_hosts")), "url": self.url}
        return VastProvisioner(self.client(api_key), Terms(**usual | terms), clock=self.clock, now=self.clock)


def rented_hosts(known_hosts: Path, public_key: str = "") -> RentedHosts:
    return RentedHosts("vast", known_hosts, public_key=public_key)


@contextmanager
def vast_world(*bundles: dict, clock: FakeClock | None = None) -> Iterator[VastWorld]:
    """Two A6000s, one each on two machines, unless told otherwise."""
    clock = clock or FakeClock()
    market = VastMarket(clock, list(bundles) or [bundle(11), bundle(12, usd=0.5)])
    with serving(market) as url:
        yield VastWorld(market, clock, url)


def request(offer: Offer) -> LeaseRequest:
    """For one such machine, with a label of its own."""
    label = Label(OWNER, "d", str(uuid.uuid4()))
    return LeaseRequest(label, offer.offer_id, offer.usd_per_hour, offer.interruptible, offer.disk_gb)


async def rented(
    world: VastWorld, provisioner: VastProvisioner, *, interruptible: bool = False
) -> tuple[Machine, Contract]:
    """A machine, as made and as its contract."""
    offer = next(one for one in await provisioner.offers() if one.interruptible is interruptible)
    machine = await provisioner.lease(request(offer))
    return machine, world.market.contracts[int(machine.provider_id)]


async def seen(provisioner: VastProvisioner) -> Machine:
    """The only machine, as it is listed."""
    [machine] = (await provisioner.observe()).machines
    return machine
