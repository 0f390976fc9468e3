"""Where router and controller are, as far as a spec and this process's environment say."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thunderctl.spec.spec import Spec

HERE, OVER_SSH = "local", "ssh:"
LIVES_ON = "THUNDER_LIVES_ON"
"""Set on a host that a deployment was moved to: what people call it."""


def router_is_away(spec: "Spec", environment: Mapping[str, str]) -> bool:
    """Whether the router runs, or will, on another machine than the one that its clients and their owner sit at."""
    return spec.serve.place != HERE or spec.controller.where != HERE or bool(environment.get(LIVES_ON))


def host_called(place: str) -> str:
    """What people call the host of a place."""
    return place.removeprefix(OVER_SSH)
