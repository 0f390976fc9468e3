"""What becomes of service and leases while the machines that router and controller are on sleep, or are off."""

from collections.abc import Iterable

from provisioners.leases.journal import LeaseRow
from provisioners.leases.ledger import usd_per_hour
from thunderctl.spec.places import HERE as BESIDE
from thunderctl.spec.places import host_called

HERE, OWN = "local", "ssh"


def while_asleep(rows: Iterable[LeaseRow], deadman_s: float, *, lives_on: str = "", place: str = BESIDE) -> str:
    """One or two sentences for people; empty where nothing runs elsewhere, which sleeps as well.

    `lives_on` is what the host of the controller is called, empty where that is the reader's own machine; `place` is
    the router's (`[serve] place`).
    """
    away = [row for row in rows if row.state.may_cost and row.provider != HERE]
    if not away and not lives_on:
        return ""
    machine = lives_on or "this machine"
    may = f"Your own machine may sleep or be off: the controller is on {lives_on}. " if lives_on else ""
    billed = [row for row in away if row.provider != OWN]
    return f"{may}{_service(machine, place)}{_leases(billed, deadman_s, waits=bool(away), place=place)}"


def _service(machine: str, place: str) -> str:
    if place == BESIDE:
        return f"While {machine} sleeps or is off, nobody is answered: router and controller are on it."
    router = host_called(place)
    return (
        f"While {machine} sleeps or is off, the router on {router} goes on answering by the routes in force, and "
        f"nobody replaces what is lost; while {router} is off, nobody is answered."
    )


def _leases(billed: list[LeaseRow], deadman_s: float, *, waits: bool, place: str) -> str:
    if not billed:
        return " The hosts stay leased, and wait." if waits else ""
    cost = float(usd_per_hour(billed))
    heard = "it has heard from nobody" if place == BESIDE else "it has heard from neither router nor controller"
    return (
        f" What bills (${cost:.3f} an hour) goes on billing, and ends itself when {heard} for "
        f"{deadman_s / 3600:g} h (`[leases] deadman_s`), or its lease is over."
    )
