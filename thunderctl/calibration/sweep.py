"""What is measured of this host's engines, in which order. Every prompt is drawn anew, so no cache knows it."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from planner.costmodel.calibrate import Row
from planner.deployment import Codec
from planner.errors import HostError
from thunderctl.bench.load import VOCABULARY, Answer
from thunderctl.calibration.fleet import Pair

WARM_UP = ((64, 16), (1024, 2))
SHORT = 32
MOVED_CODECS = (Codec.RAW, Codec.INT8, Codec.INT4)


@dataclass(frozen=True, slots=True)
class Sweep:
    """`prompts`: lengths, each asked for alone `repeats` times. `moved`: lengths whose KV is then handed on; one more
    than whole blocks, so that the prefix cache leaves a single token. `steps`: (sequences, tokens of context) of decode
    steps, of which `answer_tokens` are taken. On several engines at once, `shared_batch` sequences of `shared_tokens`
    are decoded on each, and `shared_prompt` tokens computed by each.
    """

    prompts: Sequence[int] = (32, 128, 512, 1024, 2048, 3800)
    moved: Sequence[int] = (129, 513, 1025, 2049)
    steps: Sequence[tuple[int, int]] = (
        *((1, 64), (2, 64), (4, 64), (8, 64), (16, 64)),
        *((1, 1024), (4, 1024), (8, 1024), (1, 3000), (3, 3000)),
    )
    answer_tokens: int = 48
    repeats: int = 3
    shared_batch: int = 4
    shared_tokens: int = 160
    shared_prompt: int = 1024


class Engines(Protocol):
    """What is measured: a `Fleet`, or engines that somebody else started."""

    @property
    def replicas(self) -> Sequence[str]: ...

    async def route(self, *pairs: Pair) -> None:
        """Send the requests that come from now on over these routes, in turn."""

    async def ask(self, prompt: Sequence[int], tokens: int) -> Answer: ...

    def sending_cpu_s(self) -> float:
        """CPU seconds so far of all that sends tokens out."""


@dataclass(slots=True)
class Measurer:
    """Asks a fleet, and makes rows of the answers. `say` is told what is measured."""

    fleet: Engines
    sweep: Sweep
    say: Callable[[str], None]
    random: random.Random

    async def rows(self) -> list[Row]:
        self.say("warming up")
        await self._route_to(self.fleet.replicas)
        for prompt, tokens in WARM_UP:
            await self._answers(len(self.fleet.replicas), prompt, tokens)
        self.say("prompts alone")
        await self._route_to(self.fleet.replicas[:1])
        rows = [await self._prompt(tokens) for tokens in self.sweep.prompts]
        if len(self.fleet.replicas) > 1:
            self.say("KV transfers")
            rows += await self._transfers()
        self.say("decode steps")
        await self._route_to(self.fleet.replicas[:1])
        rows += [await self._step(*step) for step in self.sweep.steps]
        if len(self.fleet.replicas) > 1:
            for engines in range(1, len(self.fleet.replicas) + 1):
                self.say(f"{engines} engine{'s' * (engines > 1)} at once")
                rows += await self._shared(self.fleet.replicas[:engines])
        return rows

    async def _prompt(self, tokens: int) -> Row:
        found = [await self.fleet.ask(self._drawn(tokens), 1) for _ in range(self.sweep.repeats)]
        return Row(median(answer.ttft_s for answer in found), prompt_tokens=tokens)

    async def _transfers(self) -> list[Row]:
        """Of each codec: one transfer is not counted, by which agents have dialled and what is compiled is ready."""
        first, second = self.fleet.replicas[:2]
        rows = []
        for codec in MOVED_CODECS:
            prompts = [self._drawn(tokens) for _ in range(self.sweep.repeats) for tokens in self.sweep.moved]
            await self._route_to(self.fleet.replicas[:1])
            known_s = [await self._known_s(prompt) for prompt in prompts]
            await self.fleet.route((first, second, codec))
            await self.fleet.ask(self._drawn(max(self.sweep.moved)), 2)
            moved_s = [(await self.fleet.ask(prompt, 2)).ttft_s for prompt in prompts]
            rows += self._added(codec, prompts, known_s, moved_s)
        return rows

    async def _known_s(self, prompt: Sequence[int]) -> float:
        """The TTFT of a prompt that the engine has in its prefix cache: beside it, a hop is nearly all there is."""
        await self.fleet.ask(prompt, 1)
        return (await self.fleet.ask(prompt, 1)).ttft_s

    def _added(
        self, codec: Codec, prompts: Sequence[Sequence[int]], known_s: Sequence[float], moved_s: Sequence[float]
    ) -> list[Row]:
        """What a hop adds to the TTFT, by the length of the prompt."""
        added: dict[int, list[float]] = defaultdict(list)
        for prompt, known, moved in zip(prompts, known_s, moved_s, strict=True):
            added[len(prompt)].append(moved - known)
        typical = {tokens: median(seconds) for tokens, seconds in added.items()}
        return [Row(seconds, prompt_tokens=tokens, codec=codec) for tokens, seconds in typical.items() if seconds > 0]

    async def _step(self, batch: int, context: int) -> Row:
        seconds = [await self._step_s(batch, context, self.sweep.answer_tokens) for _ in range(self.sweep.repeats)]
        return Row(_step_s(seconds), batch=batch, context_tokens=context + self.sweep.answer_tokens // 2)

    async def _shared(self, replicas: Sequence[str]) -> list[Row]:
        """All engines at once. Of prompts the last one counts: by then all the work is done, however it was shared.

        Beside the steps it is counted what sends their tokens out.
        """
        await self._route_to(replicas)
        batch, tokens, prompt = self.sweep.shared_batch, self.sweep.shared_tokens, self.sweep.shared_prompt
        sent_s = -self.fleet.sending_cpu_s()
        steps = [await self._answers(len(replicas) * batch, SHORT, tokens) for _ in range(self.sweep.repeats)]
        sent_s += self.fleet.sending_cpu_s()
        first = [await self._answers(len(replicas), prompt, 1) for _ in range(self.sweep.repeats)]
        shared = len(replicas)
        return [
            Row(
                _step_s(one.tpot_s for some in steps for one in some),
                batch=batch,
                context_tokens=SHORT + tokens // 2,
                engines=shared,
                sending_cpu_s=max(0.0, sent_s) / (self.sweep.repeats * shared * batch * tokens),
            ),
            Row(median(max(one.ttft_s for one in some) for some in first), prompt_tokens=prompt, engines=shared),
        ]

    async def _step_s(self, batch: int, context: int, tokens: int) -> float:
        """Of `batch` sequences, begun at once: the TPOT of the one that starts last, since no prompt holds it up."""
        answers = await self._answers(batch, context, tokens)
        return max(answers, key=lambda answer: answer.first_s).tpot_s

    async def _answers(self, count: int, prompt: int, tokens: int) -> list[Answer]:
        """So many requests at once, over the routes in force in turn."""
        return await asyncio.gather(*(self.fleet.ask(self._drawn(prompt), tokens) for _ in range(count)))

    async def _route_to(self, replicas: Sequence[str]) -> None:
        await self.fleet.route(*((name, name, Codec.LOCAL) for name in replicas))

    def _drawn(self, tokens: int) -> list[int]:
        return self.random.choices(VOCABULARY, k=tokens)


def _step_s(seconds: Iterable[float]) -> float:
    """The usual time of a step. Raises HostError where it can't be told."""
    usual = median(seconds)
    if usual > 0:
        return usual
    raise HostError(
        "Most answers came in one piece, not token by token: the time of a step can't be told.",
        hint="Something else keeps this host's cores busy. End it, then run this again.",
    )
