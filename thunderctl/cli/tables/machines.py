"""A fleet that comes up as one row a machine: what each is, what it costs, how long it has taken, and what it does."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from planner.deployment import Instance, Plan
from planner.reconcile import StepKind
from thunderctl.deploying.apply import StepResult, StepState

BEGUN = {StepKind.LEASE: "renting", StepKind.PREPARE: "preparing", StepKind.START: "starting engine"}
COLUMNS = ("machine", "offer", "GPUs", "$/h", "s", "state")
RIGHT = ("$/h", "s")


@dataclass(slots=True)
class MachineRow:
    """One machine: `state` in words, `since` when on the clock its first step began, and when its last one `ended`."""

    instance: Instance
    state: str = "waiting"
    since: float | None = None
    ended: float | None = None

    def cells(self, now: float) -> tuple[str, ...]:
        one = self.instance
        seconds = "" if self.since is None else f"{(now if self.ended is None else self.ended) - self.since:.0f}"
        offer = f"{one.provider} {one.offer_id}{' (interruptible)' if one.interruptible else ''}"
        return one.id, offer, f"{one.gpu_count} x {one.gpu}", f"{one.usd_per_hour:.3f}", seconds, self.state


class MachineRows:
    """The rows of a plan's machines as steps begin and end; those at work first, and those that are ready last."""

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows = {instance.id: MachineRow(instance) for instance in plan.instances}
        self._on = {replica.id: replica.instances for replica in plan.replicas}
        self._starting: dict[str, set[str]] = {instance.id: set() for instance in plan.instances}

    def report(self, result: StepResult) -> bool:
        """Note how a step goes; whether it is one of a machine that has a row."""
        step, names = result.step, self._subjects(result.step.id) if result.step.what in BEGUN else ()
        for name in names:
            row, engines = self._rows[name], self._starting[name]
            if result.state is StepState.RUNNING:
                row.since = self._clock() if row.since is None else row.since
                row.state, row.ended = BEGUN[step.what], None
                engines |= {step.id} if step.what is StepKind.START else set()
            elif result.state is StepState.DONE:
                engines.discard(step.id)
                row.state, row.ended = self._done(step.what, name), self._clock()
            elif result.state is StepState.FAILED:
                row.state = f"failed: {result.error.first_line if result.error else ''}"
                row.ended = self._clock()
        return bool(names)

    def narrate(self, subject: str, text: str) -> None:
        """Note what is being done for an instance, or for a replica on its instances."""
        for name in self._subjects(subject):
            self._rows[name].state = text

    def amended(self, plan: Plan) -> None:
        """Machines were replaced: their rows show what they are now."""
        for instance in plan.instances:
            self._rows[instance.id].instance = instance

    def cells(self) -> list[tuple[str, ...]]:
        now = self._clock()
        order = sorted(self._rows.values(), key=lambda row: row.state == "ready")
        return [row.cells(now) for row in order]

    @property
    def summary(self) -> str:
        """`12 of 40 machines ready, $13.540 an hour`."""
        ready = sum(row.state == "ready" for row in self._rows.values())
        usd_per_hour = sum(row.instance.usd_per_hour for row in self._rows.values())
        return f"{ready} of {len(self._rows)} machines ready, ${usd_per_hour:.3f} an hour"

    def _subjects(self, subject: str) -> tuple[str, ...]:
        return (subject,) if subject in self._rows else self._on.get(subject, ())

    def _done(self, what: StepKind, name: str) -> str:
        if what is StepKind.START:
            return "starting engine" if self._starting[name] else "ready"
        return "rented" if what is StepKind.LEASE else "prepared"
