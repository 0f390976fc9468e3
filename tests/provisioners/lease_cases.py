"""The cases of the crash matrix: each a short story that goes wrong somewhere, and must end well."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import product

from tests.provisioners.lease_life import (
    BOOT_POINTS,
    CREATE_POINTS,
    DELETE_POINTS,
    DOUBT_S,
    LASTING,
    PATIENCE_S,
    LeaseLife,
)
from tests.provisioners.lease_worlds import LeaseWorld

DUPLICATE = "duplicate label"
FILES_WRITTEN = BOOT_POINTS[1]
"""Of the points of a bootstrap the one that meets kills while listing and releasing as well."""


@dataclass(frozen=True, slots=True)
class Case:
    """What goes wrong: faults of the three kinds of request, where the process is killed, what befalls a machine."""

    offers: int = 0
    create: str = ""
    create_at: str = ""
    boot_at: str = ""
    happening: str = ""
    listing: str = ""
    listing_at: str = ""
    delete: str = ""
    delete_at: str = ""

    @property
    def points(self) -> tuple[str, ...]:
        return tuple(one for one in (self.create_at, self.boot_at, self.listing_at, self.delete_at) if one)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.parts if value) or "nothing"

    @property
    def parts(self) -> "tuple[tuple[str, object], ...]":
        return tuple((one.name, getattr(self, one.name)) for one in fields(self))


def cases(world: LeaseWorld) -> Iterator[Case]:
    """Every fault of the world with every point at which it can meet a kill."""
    listings = ("", *world.lists)
    ways = range(len(world.offers))
    created = ("", *world.creates[1:])
    for way, create, create_at, delete in product(ways, created, CREATE_POINTS, ("", *world.deletes[:1])):
        yield Case(way, create, create_at, delete=delete)
    lost = next((one for one in world.creates if "after" in one), "")
    for listing, listing_at, create in product(listings, world.list_points, ("", lost)):
        yield Case(create=create, listing=listing, listing_at=listing_at)
    for delete, delete_at, listing in product(("", *world.deletes), DELETE_POINTS, listings):
        yield Case(delete=delete, delete_at=delete_at, listing=listing)
    for happening, boot_at, listing_at, delete_at in product(
        world.happenings, ("", FILES_WRITTEN), world.list_points, DELETE_POINTS
    ):
        yield Case(happening=happening, boot_at=boot_at, listing_at=listing_at, delete_at=delete_at)
    for happening, boot_at in product(("", *world.happenings), BOOT_POINTS):
        if not happening or boot_at != FILES_WRITTEN:
            yield Case(happening=happening, boot_at=boot_at)


def crossed(world: LeaseWorld) -> Iterator[Case]:
    """Every fault of a create with every fault of a listing and of a release, killed at every pair of points."""
    for create, create_at, listing, delete, delete_at in product(
        ("", *world.creates[1:]), CREATE_POINTS, ("", *world.lists), ("", *world.deletes), DELETE_POINTS
    ):
        yield Case(0, create, create_at, listing=listing, delete=delete, delete_at=delete_at)


def sample(found: Iterable[Case]) -> Iterator[Case]:
    """As few as have every fault, every point and every happening at least once."""
    seen: set[tuple[str, object]] = set()
    for case in found:
        if not seen.issuperset(case.parts):
            seen.update(case.parts)
            yield case


def play(world: LeaseWorld, case: Case) -> LeaseLife:
    """Two machines, and all that goes wrong with them; raises AssertionError where an invariant breaks."""
    life, offers = LeaseLife(world), world.offers[case.offers]
    life.lease("i0", offers[0])
    world.spoil("create", case.create)
    life.lease("i1", offers[1], case.create_at)
    life.check_always()
    world.spoil("create")
    if case.happening:
        world.happen(case.happening)
        life.resume()
    life.boot(case.boot_at)
    known = life.costing()
    world.spoil("list", *[case.listing] * (LASTING if case.listing else 0))
    life.resume(case.listing_at, patience_s=DOUBT_S)
    if case.listing or case.listing_at:
        assert life.costing() == known, "an untrusted listing ended a lease"
    if case.boot_at and not case.delete_at:  # the next `up` goes on; else `down` finds machines half prepared
        life.boot()
        life.check_booted()
    life.check_always()
    world.spoil("delete", case.delete, case.delete)
    if case.delete or case.delete_at:
        life.down(case.delete_at, patience_s=DOUBT_S if case.listing else PATIENCE_S)
        life.check_always()
    world.spoil("delete")
    world.spoil("list")
    if case.happening == DUPLICATE:  # a second machine of one attempt has no row: that is what gc is for
        life.gc()
    life.check_to_the_end()
    return life
