"""A command as a process that may be killed: in this one, and as thoroughly as `kill -9` would.

At its crash point a SystemExit ends the event loop at once, and from then on nothing that it still tries reaches the
journal, the provider or a host. What handlers do while they unwind thus makes no difference; `late` counts what they
tried.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

from planner.errors import ThunderError
from provisioners.base import LeaseRequest, Listing, Machine, Provisioner
from provisioners.leases.journal import Journal, LeaseRow, LeaseState
from provisioners.leases.transfers import TransferReading
from provisioners.transport import Completed, Transport

Answer = TypeVar("Answer")
Command = Callable[[Journal, Provisioner], Awaitable[object]]


class Killed(SystemExit):
    """The process died here."""


class Process:
    """One command's process: once dead, whatever it tries raises."""

    def __init__(self) -> None:
        self.dead = False
        self.late = 0

    def die(self) -> None:
        self.dead = True
        raise Killed

    def lives(self) -> None:
        if self.dead:
            self.late += 1
            raise Killed


class MortalJournal:
    """The journal as one process sees it."""

    def __init__(self, journal: Journal, process: Process) -> None:
        self._journal = journal
        self._process = process

    def leases(self, deployment: str | None = None) -> tuple[LeaseRow, ...]:
        self._process.lives()
        return self._journal.leases(deployment)

    def transfers(self, deployment: str | None = None) -> tuple[TransferReading, ...]:
        self._process.lives()
        return self._journal.transfers(deployment)

    def add_lease(self, row: LeaseRow) -> None:
        self._process.lives()
        self._journal.add_lease(row)

    def update_lease(self, row: LeaseRow, *, was: LeaseState) -> None:
        self._process.lives()
        self._journal.update_lease(row, was=was)


class MortalProvisioner:
    """The provider as one process reaches it."""

    def __init__(self, provisioner: Provisioner, process: Process) -> None:
        self._provisioner = provisioner
        self._process = process
        self.provider, self.consistent = provisioner.provider, provisioner.consistent

    async def offers(self):
        return await self._asked(self._provisioner.offers)

    async def quote(self, offer_id: str):
        return await self._asked(lambda: self._provisioner.quote(offer_id))

    async def lease(self, request: LeaseRequest) -> Machine:
        return await self._asked(lambda: self._provisioner.lease(request))

    async def observe(self) -> Listing:
        return await self._asked(self._provisioner.observe)

    async def release(self, provider_id: str) -> None:
        await self._asked(lambda: self._provisioner.release(provider_id))

    def transport(self, machine: Machine):
        raise NotImplementedError

    def folder(self, machine: Machine) -> str:
        raise NotImplementedError

    async def _asked(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        self._process.lives()
        answer = await question()
        self._process.lives()
        return answer


class MortalHost:
    """A host as one process reaches it."""

    def __init__(self, host: Transport, process: Process) -> None:
        self._host = host
        self._process = process

    async def run(self, command: str, *, timeout_s: float, stdin: bytes = b"") -> Completed:
        self._process.lives()
        return await self._host.run(command, timeout_s=timeout_s, stdin=stdin)

    async def put(self, path: str, data: bytes, mode: int) -> None:
        self._process.lives()
        await self._host.put(path, data, mode)

    async def send(self, source: Path, path: str) -> None:
        self._process.lives()
        await self._host.send(source, path)

    async def get(self, path: str) -> bytes:
        self._process.lives()
        return await self._host.get(path)


def run_mortal(
    command: Command, journal: Journal, provisioner: Provisioner, point: str = "", process: Process | None = None
) -> Process:
    """Run a command in a process of its own, killed at the point if it comes there; errors that users see may be."""
    process = process or Process()
    mortal = MortalJournal(journal, process), MortalProvisioner(provisioner, process)
    with (
        patch.dict(os.environ, {"THUNDER_CRASH_AT": point}),
        patch("provisioners.crash.die", process.die),
        suppress(ThunderError, Killed),
    ):
        asyncio.run(awaited(command(*mortal)))
    return process


async def awaited(command: Awaitable[object]) -> None:
    await command
