"""Says once that what the spec says is coming cannot be read: routes and fleet sizes go by the plan's means then."""

from dataclasses import dataclass

from thunderctl.world import World

KIND = "controller.workload"


@dataclass(slots=True)
class MissingTrace:
    """Of one deployment, whoever of the controller has found it out; another reason is said again."""

    world: World
    _said: str = ""

    def note(self, unread: str) -> None:
        """`unread` is why it can't be read, as `stated_workload` says; empty where it can be."""
        if unread and unread != self._said:
            self.world.store.record(self.world.name, KIND, unread)
        self._said = unread or self._said
