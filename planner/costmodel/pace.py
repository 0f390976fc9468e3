"""`Pace`: how fast one replica works, from its layers' costs, its pipeline and what its engine adds.

A pass costs the GPU its layers and the output head, and the host its preparation; they overlap in part. In a pipeline
the stages work on different passes at the same time, so the slowest one sets the rate and their sum the latency.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from planner.catalog import GpuType
from planner.costmodel.coefficients import GRAPHS, Coefficients, EngineProfile, fitted
from planner.costmodel.collectives import Interconnect, inside
from planner.costmodel.layer import Amount, LayerCost, Seconds, gpu_rates, layer_cost, longer, shorter, with_overlap
from planner.llm import LlmSpec


@dataclass(frozen=True, slots=True)
class StagePace:
    """One pipeline stage: `layers` layers, the output head where it is the last, and its host."""

    cost: LayerCost
    layers: int
    head_token_s: float = 0.0
    head_read_s: float = 0.0
    host_s: float = 0.0
    host_sequence_s: float = 0.0
    host_prompt_s: float = 0.0
    host_overlap: float = 4.0

    def pass_s(self, tokens: Amount, pairs: Amount, batch: Amount, context: Amount) -> Seconds:
        """One pass over `tokens` prompt tokens and `batch` decoding sequences that hold `context` tokens of KV."""
        return self.around_s(self.layer_s(tokens, pairs, batch, context), tokens, batch)

    def layer_s(self, tokens: Amount, pairs: Amount, batch: Amount, context: Amount) -> Seconds:
        """What a pass takes in the mean layer."""
        if self.cost.window:
            pairs, context = self.cost.seen(tokens, pairs, batch, context)
        return self.cost.total_s(tokens + batch, pairs, context)

    def around_s(self, layer_s: Seconds, tokens: Amount, batch: Amount) -> Seconds:
        """A pass of layers that take `layer_s` each."""
        device = self.layers * layer_s
        if self.head_read_s:
            rows = batch + (tokens > 0)
            device = device + with_overlap(self.head_token_s * rows, self.head_read_s, self.cost.overlap)
        host = self.host_s + self.host_sequence_s * batch + self.host_prompt_s * (tokens > 0)
        return with_overlap(device, host, self.host_overlap)


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of a replica: its stages, and how many are alike. A hop costs `hop_s`, and `hop_token_s` a token.

    `host_share` is the part of a shared machine that it takes while it is busy (0: it has its own).
    """

    stages: tuple[tuple[StagePace, int], ...]
    hop_s: float = 0.0
    hop_token_s: float = 0.0
    host_share: float = 0.0
    pp: int = field(init=False)
    alike: bool = field(init=False)
    """Whether a layer takes as long in every stage."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pp", sum(count for _, count in self.stages))
        object.__setattr__(self, "alike", len({stage.cost for stage, _ in self.stages}) == 1)

    def pass_s(self, batch: Amount, context: Amount, tokens: Amount = 0.0, pairs: Amount = 0.0) -> Seconds:
        """From the start of one pass to its result, through all stages."""
        return self._through_and_slowest_s(batch, context, tokens, pairs)[0]

    def slowest_s(self, batch: Amount, context: Amount, tokens: Amount = 0.0, pairs: Amount = 0.0) -> Seconds:
        """From one pass to the next, as the slowest stage allows."""
        return self._through_and_slowest_s(batch, context, tokens, pairs)[1]

    def turn_s(self, batch: Amount, context: Amount, tokens: Amount = 0.0, pairs: Amount = 0.0) -> Seconds:
        """One turn of the pipeline: a token for each of `batch` sequences that hold `context` tokens of KV together,
        and `tokens` prompt tokens beside them, spread over the turn's passes.

        `pairs` is the sum of end² - start² over the pieces of prompts, n² for a whole prompt of n tokens. In a
        pipeline each stage works on its part of all this, so a turn is as many passes as there are stages, or
        sequences if those are fewer, or the way of one pass through all stages where that is longer.
        """
        if self.pp == 1:
            return self.stages[0][0].pass_s(tokens, pairs, batch, context)
        passes = shorter(longer(batch + self.pp * (tokens > 0), 1.0), float(self.pp))
        part = (batch / passes, context / passes, tokens / passes, pairs / passes)
        through, slowest = self._through_and_slowest_s(*part)
        return longer(passes * slowest, through)

    def decode_step_s(self, batch: Amount, context: Amount) -> Seconds:
        """A turn without prompts."""
        return self.turn_s(batch, context)

    def prefill_s(self, tokens: Amount, squares: Amount | None = None) -> Seconds:
        """One pass over prompts of `tokens` together; `squares` is the sum of their squared lengths."""
        return self.pass_s(0.0, 0.0, tokens, tokens * tokens if squares is None else squares)

    def prefill_interval_s(self, tokens: Amount, squares: Amount | None = None) -> Seconds:
        """Time from one prefill pass to the next: a pipeline starts the next once its slowest stage is free."""
        return self.slowest_s(0.0, 0.0, tokens, tokens * tokens if squares is None else squares)

    def _through_and_slowest_s(
        self, batch: Amount, context: Amount, tokens: Amount, pairs: Amount
    ) -> tuple[Seconds, Seconds]:
        """One pass: through all stages, and in the slowest of them."""
        through: Seconds = (self.pp - 1) * (self.hop_s + self.hop_token_s * (tokens + batch))
        slowest: Seconds = 0.0
        layer_s = self.stages[0][0].layer_s(tokens, pairs, batch, context)
        for stage, count in self.stages:
            own_s = layer_s if self.alike else stage.layer_s(tokens, pairs, batch, context)
            took = stage.around_s(own_s, tokens, batch)
            through, slowest = through + count * took, longer(slowest, took)
        return through, slowest


@cache
def pace(llm: LlmSpec, gpu: GpuType, tp: int, pp: int, *, nvlink: bool) -> Pace:
    """The pace of a replica of `tp` x `pp` equal GPUs of one instance, its layers split as evenly as can be."""
    each, odd = divmod(llm.layers, pp)
    return pipeline_pace(llm, gpu, tp, tuple(each + (i < odd) for i in range(pp)), nvlink=nvlink)


def pipeline_pace(
    llm: LlmSpec,
    gpu: GpuType,
    tp: int,
    layers: Sequence[int],
    *,
    nvlink: bool,
    engine: str = GRAPHS,
    between: Interconnect | None = None,
    coefficients: Coefficients | None = None,
) -> Pace:
    """The pace of a pipeline whose stages have these `layers`; `between` joins the stages (else what is inside)."""
    known = coefficients or fitted()
    profile = gpu.engine or known.engine(engine).on_hosts(gpu.efficiency.host_time)
    link = inside(gpu, tp, known.constants, nvlink=nvlink) if tp > 1 else None
    hop = between or inside(gpu, tp * len(layers), known.constants, nvlink=nvlink)
    cost = layer_cost(llm, gpu, tp, link=link, engine=profile, constants=known.constants)
    heads_s = [(0.0, 0.0)] * (len(layers) - 1) + [_head_s(llm, gpu, tp, known)]
    stages = Counter(_stage(cost, *stage, profile) for stage in zip(layers, heads_s, strict=True))
    return Pace(
        stages=tuple(stages.items()),
        hop_s=hop.alpha_s,
        hop_token_s=hop.hop_s(llm.hidden * 2.0),
        host_share=profile.host_share,
    )


def _stage(cost: LayerCost, layers: int, head_s: tuple[float, float], engine: EngineProfile) -> StagePace:
    return StagePace(
        cost=cost,
        layers=layers,
        head_token_s=head_s[0],
        head_read_s=head_s[1],
        host_s=engine.step_s + engine.layer_s * layers,
        host_sequence_s=engine.sequence_s,
        host_prompt_s=engine.prompt_s,
        host_overlap=engine.host_overlap,
    )


def _head_s(llm: LlmSpec, gpu: GpuType, tp: int, known: Coefficients) -> tuple[float, float]:
    """(seconds a row, seconds to read) of the output head, which stays in 16 bits."""
    rates, weights = gpu_rates(gpu, llm, known.constants), llm.vocabulary * llm.hidden
    return 2 * weights / tp / rates.flops, 2.0 * weights / tp / rates.read
