"""All places at once: the ends of their logs, and what is added while machines come and go. None holds up another."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from planner.errors import HostError, SpecError
from provisioners.leases.journal import LeaseRow
from thunderctl.logs.places import HERE, Wanted, instance_names, unknown
from thunderctl.logs.reader import Reader, Say, Show, Shown
from thunderctl.observing.leased_machines import costing, leased_machines
from thunderctl.world import World

REFRESH_S = 10.0
"""Between two looks at which machines there are."""
SETTLE_S = 0.2
Task: TypeAlias = "asyncio.Task[None]"


@dataclass(slots=True)
class Logs:
    """The wanted logs of a deployment: `lines` of each one's end, shown to `show`; `say` hears what is amiss."""

    world: World
    wanted: Wanted
    lines: int
    show: Show
    say: Say
    _said: set[str] = field(default_factory=set)
    _instances: set[str] = field(default_factory=set)

    async def read(self) -> None:
        """Show their ends, place after place.

        Raises SpecError for a name of nothing, HostError where no place could be asked.
        """
        readers = [*self._here(), *await self._machines(costing(self.world))]
        outcomes = await asyncio.gather(*(reader.look() for reader in readers), return_exceptions=True)
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for error in failed:
            if not isinstance(error, HostError) or len(failed) == len(readers):
                raise error
            self.say(error.message)
        self._check(readers)
        for reader, outcome in zip(readers, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                self._show([*outcome[0], *reader.rest()])

    async def follow(self) -> None:
        """Go on with what is added, until cancelled, or until nothing that was asked for is left."""
        readers: dict[str, Reader] = {reader.place.lease_id: reader for reader in self._here()}
        tasks: dict[str, Task] = {}
        try:
            await self._join(readers, tasks)
            while not all(reader.looked for reader in readers.values()):
                await _passed(tasks.values(), SETTLE_S)
            self._check(readers.values())
            while tasks or not self.wanted.given or self._may_come():
                await _passed(tasks.values(), REFRESH_S)
                await self._join(readers, tasks)
        finally:
            await _ended(tasks.values())

    async def _join(self, readers: dict[str, Reader], tasks: dict[str, Task]) -> None:
        """Follow machines that have come, and let go of those that have gone. The others go on."""
        rows = {row.lease_id: row for row in costing(self.world)}
        for key in [key for key in readers if key and key not in rows]:
            tasks.pop(key).cancel()
            gone = readers.pop(key)
            self._show(gone.rest())
            self.say(f"{gone.place.name} is gone: its lease has ended.")
        for reader in await self._machines([row for key, row in rows.items() if key not in readers]):
            readers[reader.place.lease_id] = reader
        self.lines = 0  # of machines that come later nothing is left out
        for key in readers.keys() - tasks.keys():
            tasks[key] = asyncio.create_task(readers[key].follow(self.show, self.say))

    def _here(self) -> list[Reader]:
        return [Reader(self.wanted.place_here(self.world), self.lines)] if self.wanted.here else []

    async def _machines(self, rows: Sequence[LeaseRow]) -> list[Reader]:
        """Those of which anything is wanted and that can be reached; of the others it is said once."""
        names = self._names()
        asked = [row for row in rows if self.wanted.on(row, names)]
        readers = []
        for found in await leased_machines(self.world, asked):
            try:
                readers.append(Reader(self.wanted.place(self.world, found, names), self.lines))
            except HostError as error:
                if found.lease.lease_id not in self._said:
                    self.say(error.message)
                self._said.add(found.lease.lease_id)
        return readers

    def _show(self, shown: Iterable[Shown]) -> None:
        for name, lines in shown:
            self.show(name, lines)

    def _may_come(self) -> bool:
        """Whether something is wanted of a machine that can't be reached yet."""
        names = self._names()
        return any(self.wanted.on(row, names) for row in costing(self.world))

    def _names(self) -> set[str]:
        """Of machines; one that is gone was one."""
        self._instances |= instance_names(self.world)
        return self._instances

    def _check(self, readers: Iterable[Reader]) -> None:
        """Raise SpecError for names of nothing; say which logs are not there yet."""
        found = {name for reader in readers for name in reader.found}
        ends = {name.rpartition("/")[2] for name in found}
        names = self._names()
        if not found and not self.wanted.given:
            self.say("There are no logs yet.")
        if strange := unknown(self.wanted, names, ends):
            known = sorted({*found, *self.wanted.hosts, *(row.instance for row in costing(self.world))} - set(HERE))
            raise SpecError(f"Nothing here is called {strange[0]!r}; expected one of {', '.join([*known, *HERE])}.")
        for name in self.wanted.given:
            if name not in ends and name not in names:
                self.say(f"{name} has no log yet.")


async def _passed(tasks: Iterable[Task], seconds: float) -> None:
    """So long; a follower's own failure is raised at once."""
    running = list(tasks)
    if not running:
        await asyncio.sleep(seconds)
        return
    done, _ = await asyncio.wait(running, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


async def _ended(tasks: Iterable[Task]) -> None:
    running = list(tasks)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
