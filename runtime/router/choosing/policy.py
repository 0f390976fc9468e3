"""Which (prefill, decode) pair a request takes. Pure: the shares of one epoch, who is up, and what was sent before.

Pairs are drawn in a fixed rotation, not by chance (`planner/rotation.py`). Shares are renormalised over the pairs that
may be drawn at the moment. A pair may be taken a few requests ahead of its share where that is cheaper: where fewer
prompts wait, fewer requests are under way, or more of the prompt's KV is at hand.
"""

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from planner.deployment import Codec
from planner.rotation import Rotation
from runtime.messages import Routes, RouteShare
from runtime.router.choosing.affinity import CHARACTERS_PER_TOKEN, Blocks, PrefixTable, Prompt
from runtime.router.choosing.bypass import Budget, Bypass, TokensPerByte
from runtime.router.choosing.load import Load

NO_PROMPT = Prompt()


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a request goes; `prefill` is None when the decode replica prefills itself.

    `bereft`: though its routes have prefill replicas, of which none is left. `bypass`: though one could have done it.
    """

    prefill: str | None
    decode: str
    codec: Codec
    bereft: bool = False
    bypass: Bypass | None = None

    @property
    def computing(self) -> str:
        """Who computes the prompt."""
        return self.prefill or self.decode

    @property
    def awaits_kv(self) -> bool:
        """Whether the KV of its prompt is to come from elsewhere."""
        return self.prefill is not None or self.bereft

    @property
    def replicas(self) -> tuple[str, ...]:
        return (self.decode,) if self.prefill is None else (self.prefill, self.decode)


@dataclass(frozen=True, slots=True)
class Ends:
    """The replicas of a route, and 1 ÷ the share of the traffic that each has in this phase."""

    computing: str
    per_computed: float
    decoding: str
    per_decoded: float


class RoutePolicy:
    """The choices of one epoch. `is_up` says whether a replica may be used now."""

    def __init__(
        self,
        routes: Routes,
        load: Load | None = None,
        tokens: TokensPerByte | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._routes = [route for route in routes.routes if route.share > 0]
        self._rotation = Rotation([route.share for route in self._routes])
        self._paired, self._alone = _ends(self._routes)
        self._load = load or Load()
        self._tokens = tokens or TokensPerByte()
        self._budgets = {replica.id: Budget(replica.local_tokens_per_s, now) for replica in routes.replicas}
        replicas = [replica.id for replica in routes.replicas]
        self._sent, self._computed = PrefixTable(replicas), PrefixTable(replicas)
        self._may_bypass = any(route.local_below_tokens for route in self._routes)
        self._remembers = len(self._routes) > 1 or self._may_bypass

    def choose(
        self,
        is_up: Callable[[str], bool],
        prompt: Prompt = NO_PROMPT,
        *,
        local: bool = False,
        without: Collection[str] = (),
    ) -> Choice:
        """A pair of which both ends are up, or the next best.

        Without a prefill replica, a decode replica prefills itself, as `local` asks for. When no decode replica is up
        all are tried: a check that fails for everything is doubted first. `without` names replicas that failed this
        request; one of them decodes only where no other is up.
        """
        blocks = prompt.blocks() if self._remembers else ()
        held = self._sent.held(blocks)
        decoding = self._decoding(is_up)
        decoding = [i for i in decoding if self._routes[i].decode not in without] or decoding
        if not local and (paired := [i for i in decoding if self._prefill_is_up(i, is_up, without)]):
            route = self._routes[self._cheapest(paired, self._paired, held)]
            bypass = self._bypass(route, prompt, blocks)
            if bypass or route.codec is Codec.LOCAL:
                choice = Choice(None, route.decode, Codec.LOCAL, bypass=bypass)
            else:
                choice = Choice(route.prefill, route.decode, route.codec)
        else:
            route = self._routes[self._cheapest(decoding or range(len(self._routes)), self._alone, held)]
            bereft = not local and route.codec is not Codec.LOCAL
            choice = Choice(None, route.decode, Codec.LOCAL, bereft)
        self._sent.note(blocks, choice.replicas)
        return choice

    def computed(self, prompt: Prompt, replicas: Sequence[str]) -> None:
        """These have the KV of a prompt: what it begins is a rest to them. Before, all of it would be computed."""
        if self._may_bypass:
            self._computed.note(prompt.blocks(), replicas)

    def inherit(self, before: "RoutePolicy") -> None:
        """Know what the epoch before knew of the replicas that stay, and what they have spent."""
        self._sent.inherit(before._sent)
        self._computed.inherit(before._computed)
        for replica, budget in self._budgets.items():
            if replica in before._budgets:
                budget.inherit(before._budgets[replica])

    def other_decode(self, is_up: Callable[[str], bool], prefill: str | None, tried: frozenset[str]) -> str | None:
        """A decode replica for a request that failed on those `tried`, if one is up: paired with its prefill first."""
        left = [i for i in self._decoding(is_up) if self._routes[i].decode not in tried]
        paired = [i for i in left if self._routes[i].prefill == prefill]
        return self._routes[self._cheapest(paired or left, self._alone, {})].decode if left else None

    def reader(self, is_up: Callable[[str], bool], without: Collection[str]) -> str | None:
        """A decode replica, not one of `without`, for what is no request: it counts for nobody's share."""
        decoding = self._decoding(is_up) or range(len(self._routes))
        left = [self._routes[i].decode for i in decoding if self._routes[i].decode not in without]
        return min(left, key=lambda decode: self._load.requests.get(decode, 0), default=None)

    def decodes(self, is_up: Callable[[str], bool], without: Collection[str]) -> bool:
        """Whether a decode replica is up that is not one of `without`."""
        return any(self._routes[i].decode not in without for i in self._decoding(is_up))

    def learn(self, prompt: Prompt, prompt_tokens: int) -> None:
        """A prompt turned out to have so many tokens."""
        if prompt.ids is None:
            self._tokens.saw(prompt.size_bytes, prompt_tokens)

    def expected_tokens(self, prompt: Prompt) -> int:
        """How many tokens a prompt should have, by those before it."""
        return math.ceil(self._tokens_left(prompt, 0))

    def _decoding(self, is_up: Callable[[str], bool]) -> list[int]:
        return [index for index, route in enumerate(self._routes) if is_up(route.decode)]

    def _prefill_is_up(self, index: int, is_up: Callable[[str], bool], without: Collection[str]) -> bool:
        route = self._routes[index]
        return route.codec is Codec.LOCAL or (route.prefill not in without and is_up(route.prefill))

    def _cheapest(self, allowed: Sequence[int], ends: Sequence[Ends], held: dict[str, int]) -> int:
        """What waits before a request on a route, less what of its own prompt is there, in typical requests.

        Each end's part is divided by its share of the traffic: one that takes twice as much is as busy with twice as
        much. The request itself is left out, or the quickest replica would be taken whenever nothing waits. Requests
        that others sent count as one each: as a typical prompt where their replica prefills for another.
        """
        waiting, requests, typical = self._load.prompt_bytes, self._load.requests, self._load.typical_bytes or 1.0
        beyond = self._load.beyond

        def cost(index: int) -> float:
            end = ends[index]
            computing, decoding = end.computing, end.decoding
            ahead = (waiting.get(computing, 0) - held.get(computing, 0)) / typical
            beside = requests.get(decoding, 0) - held.get(decoding, 0) / typical
            if beyond:
                beside += beyond.get(decoding, 0)
                ahead += beyond.get(computing, 0) if computing != decoding else 0
            return ahead * end.per_computed + beside * end.per_decoded

        return self._rotation.cheapest(allowed, cost)

    def _bypass(self, route: RouteShare, prompt: Prompt, blocks: Blocks) -> Bypass | None:
        """Whether so little of a prompt is left that its decode replica has it computed before KV could come."""
        if route.codec is Codec.LOCAL or not route.local_below_tokens or not prompt.size_bytes:
            return None
        left = self._tokens_left(prompt, self._computed.held(blocks).get(route.decode, 0))
        if left >= route.local_below_tokens or not self._budgets[route.decode].take(left):
            return None
        return Bypass.LENGTH if self._tokens_left(prompt, 0) < route.local_below_tokens else Bypass.PREFIX

    def _tokens_left(self, prompt: Prompt, held: int) -> float:
        """Of the prompt, beyond so many characters."""
        if prompt.ids is not None:
            return max(len(prompt.ids) - held / CHARACTERS_PER_TOKEN, 0.0)
        return max(self._tokens.of(prompt.size_bytes) - self._tokens.of(held), 0.0)


def _ends(routes: Sequence[RouteShare]) -> tuple[list[Ends], list[Ends]]:
    """Of each route: as a pair, and as its decode replica alone."""
    computed: dict[str, float] = {}
    decoded: dict[str, float] = {}
    for route in routes:
        computing = _computing(route)
        computed[computing] = computed.get(computing, 0.0) + route.share
        decoded[route.decode] = decoded.get(route.decode, 0.0) + route.share
    paired = [
        Ends(_computing(route), 1 / computed[_computing(route)], route.decode, 1 / decoded[route.decode])
        for route in routes
    ]
    alone = [Ends(route.decode, 1 / decoded[route.decode], route.decode, 1 / decoded[route.decode]) for route in routes]
    return paired, alone


def _computing(route: RouteShare) -> str:
    return route.decode if route.codec is Codec.LOCAL else route.prefill
