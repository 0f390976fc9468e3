"""Which (prefill, decode) pair a request takes. Pure: the shares of one epoch, who is up, and what was drawn before.

Pairs are drawn in a fixed rotation, not by chance (`planner/rotation.py`). Shares are renormalised over the pairs that
may be drawn at the moment.
"""

from collections.abc import Callable
from dataclasses import dataclass

from planner.deployment import Codec
from planner.rotation import Rotation
from runtime.messages import Routes


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a request goes; `prefill` is None when the decode replica prefills itself."""

    prefill: str | None
    decode: str
    codec: Codec


class RoutePolicy:
    """The choices of one epoch. `is_up` says whether a replica may be used now."""

    def __init__(self, routes: Routes) -> None:
        self._routes = [route for route in routes.routes if route.share > 0]
        self._rotation = Rotation([route.share for route in self._routes])

    def choose(
        self, is_up: Callable[[str], bool], *, local: bool = False, without: frozenset[str] = frozenset()
    ) -> Choice:
        """A pair of which both ends are up, or the next best.

        Without a prefill replica, a decode replica prefills itself, as `local` asks for. When no decode replica is up
        all are tried: a check that fails for everything is doubted first. `without` names replicas that failed this
        request; one of them decodes only where no other is up.
        """
        decoding = self._decoding(is_up)
        decoding = [i for i in decoding if self._routes[i].decode not in without] or decoding
        if not local and (paired := [i for i in decoding if self._prefill_is_up(i, is_up, without)]):
            route = self._routes[self._rotation.pick(paired)]
            return Choice(None if route.codec is Codec.LOCAL else route.prefill, route.decode, route.codec)
        route = self._routes[self._rotation.pick(decoding or range(len(self._routes)))]
        return Choice(None, route.decode, Codec.LOCAL)

    def other_decode(self, is_up: Callable[[str], bool], prefill: str | None, tried: frozenset[str]) -> str | None:
        """A decode replica for a request that failed on those `tried`, if one is up: paired with its prefill first."""
        left = [i for i in self._decoding(is_up) if self._routes[i].decode not in tried]
        paired = [i for i in left if self._routes[i].prefill == prefill]
        return self._routes[self._rotation.pick(paired or left)].decode if left else None

    def _decoding(self, is_up: Callable[[str], bool]) -> list[int]:
        return [index for index, route in enumerate(self._routes) if is_up(route.decode)]

    def _prefill_is_up(self, index: int, is_up: Callable[[str], bool], without: frozenset[str]) -> bool:
        route = self._routes[index]
        return route.codec is Codec.LOCAL or (route.prefill not in without and is_up(route.prefill))
