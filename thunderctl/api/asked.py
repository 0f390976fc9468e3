"""What changes may be asked for, and the command that each is: what `thunderctl` would have been called with. Pure.

Nothing of a body becomes a path or an option: words are of lists, ids have a form, numbers are numbers.
"""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

ID_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
"""Of an instance, a replica or a plan."""


class Asked(BaseModel):
    """A body. Keys that it does not know are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)
    action: ClassVar[str]
    dry_run: bool = False

    def command(self) -> list[str]:
        """The words after `thunderctl --deployment NAME`. No question is left open, as nobody could answer it."""
        raise NotImplementedError

    @property
    def said(self) -> str:
        """The action and what it is of, for people."""
        return self.action


class Rebalance(Asked):
    """Phases and routes for a workload. `without` are replicas or instances that get no more requests."""

    action: ClassVar[str] = "rebalance"
    workload: Literal["observed", "coding", "conversation"] = "observed"
    rate_rps: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    without: Annotated[list[Id], Field(max_length=1000)] = []

    @property
    def said(self) -> str:
        return f"{self.action} without {', '.join(self.without)}" if self.without else self.action

    def command(self) -> list[str]:
        rate = [] if self.rate_rps is None else ["--rate", f"{self.rate_rps:g}"]
        lost = [f"--without={one}" for one in self.without]
        return ["rebalance", "--workload", self.workload, *rate, *lost, *_how(dry_run=self.dry_run), "--json"]


class Drain(Asked):
    """Take an instance, or a replica, out of phases and routes. Its machine stays, and costs, until an `up` or `down`.

    To go back: `undrain`, as long as its machine stays.
    """

    action: ClassVar[str] = "drain"
    instance: Id
    workload: Literal["observed", "coding", "conversation"] = "observed"

    @property
    def said(self) -> str:
        return f"{self.action} {self.instance}"

    def command(self) -> list[str]:
        rebalance = Rebalance(dry_run=self.dry_run, workload=self.workload, without=[self.instance])
        return rebalance.command()


class Undrain(Asked):
    """Take back an instance, or a replica, that was drained, into phases and routes: its machine has to be there."""

    action: ClassVar[str] = "undrain"
    instance: Id
    workload: Literal["observed", "coding", "conversation"] = "observed"

    @property
    def said(self) -> str:
        return f"{self.action} {self.instance}"

    def command(self) -> list[str]:
        return ["undrain", "--workload", self.workload, *_how(dry_run=self.dry_run), "--json", "--", self.instance]


class Up(Asked):
    """Make the deployment's plan so, or an earlier one of it. This spends money, within its budget."""

    action: ClassVar[str] = "up"
    plan_id: Id | None = None
    max_hours: Annotated[float, Field(ge=0.01, le=1e5, allow_inf_nan=False)] | None = None

    @property
    def said(self) -> str:
        return f"{self.action} {self.plan_id}" if self.plan_id else self.action

    def command(self) -> list[str]:
        hours = [] if self.max_hours is None else ["--max-hours", f"{self.max_hours:g}"]
        return ["up", *([self.plan_id] if self.plan_id else []), *hours, *_how(dry_run=self.dry_run), "--json"]


class Down(Asked):
    """Release everything, verified. There is no dry run of it."""

    action: ClassVar[str] = "down"
    dry_run: Literal[False] = False

    def command(self) -> list[str]:
        return ["down", "--yes", "--json"]


Change: TypeAlias = Rebalance | Drain | Undrain | Up | Down
CHANGES: tuple[type[Change], ...] = (Rebalance, Drain, Undrain, Up, Down)


def _how(*, dry_run: bool) -> list[str]:
    return ["--dry-run"] if dry_run else ["--yes"]
