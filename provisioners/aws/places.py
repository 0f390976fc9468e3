"""What machines need in a region before they are rented there: image, key, security group, placement group."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from provisioners.aws.access import Door, close_others, ensure_group, ensure_key, find_group, group_name, ranged
from provisioners.aws.client import AwsClients
from provisioners.aws.images import DEEP_LEARNING_IMAGE, Image, find_image
from provisioners.aws.order import Place
from provisioners.aws.own_address import own_address
from provisioners.aws.spot_feeds import Fetch, fetch
from provisioners.base import AGENT_PORT, Label

FindImage = Callable[[AwsClients, str, str], Awaitable[Image]]


@dataclass(slots=True)
class Places:
    """Makes what is missing, by names that tell what it is: made twice, it is there once.

    `open_to` are the addresses or ranges that may reach SSH and agents besides the fleet; empty: this host's own public
    address, which `fetch` asks for. `port` is the agents'.
    """

    clients: AwsClients
    public_key: str
    open_to: tuple[str, ...] = ()
    image: str = DEEP_LEARNING_IMAGE
    port: int = AGENT_PORT
    find_image: FindImage = find_image
    fetch: Fetch = fetch
    _images: dict[str, Image] = field(default_factory=dict)
    _own_address: str = ""

    def __post_init__(self) -> None:
        self.open_to = tuple(ranged(text) for text in self.open_to)

    async def place(self, label: Label, region: str, group: str) -> Place:
        """For a machine of the label's deployment; in a cluster placement group if `group` names one."""
        name = group_name(label.owner_id, label.deployment)
        door = Door(await self._operators(), self.port)
        image, key, security_group = await asyncio.gather(
            self._image(region),
            ensure_key(self.clients, region, self.public_key),
            ensure_group(self.clients, region, name, door),
        )
        return Place(image, key, security_group, await self._clustered(region, f"{name}-{group}") if group else "")

    async def let_in(self, region: str, owner_id: str, deployment: str, fleet: Collection[str]) -> None:
        """Let exactly these addresses reach the deployment's agents in the region, beside the operator's."""
        name = group_name(owner_id, deployment)
        if await find_group(self.clients, region, name) is None:
            return
        door = Door(await self._operators(), self.port, frozenset(fleet))
        await ensure_group(self.clients, region, name, door)
        await close_others(self.clients, region, name, door)

    async def let_operator_in(self, region: str, owner_id: str, deployment: str) -> None:
        """Open the deployment's group to who is named, or to the address that this host has now; close nothing."""
        name = group_name(owner_id, deployment)
        if await find_group(self.clients, region, name) is None:
            return
        self._own_address = ""
        await ensure_group(self.clients, region, name, Door(await self._operators(), self.port))

    async def _clustered(self, region: str, name: str) -> str:
        asked = {"GroupName": name, "Strategy": "cluster"}
        duplicate = ("InvalidPlacementGroup.Duplicate",)
        doing = f"Making the placement group {name}"
        await self.clients.call(doing, "ec2", region, "create_placement_group", asked, fine=duplicate)
        return name

    async def _image(self, region: str) -> Image:
        if region not in self._images:
            self._images[region] = await self.find_image(self.clients, region, self.image)
        return self._images[region]

    async def _operators(self) -> tuple[str, ...]:
        if not self.open_to and not self._own_address:
            self._own_address = await own_address(self.fetch)
        return self.open_to or (self._own_address,)
