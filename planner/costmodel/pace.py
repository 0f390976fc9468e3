"""`Pace`: how fast one replica works, from its layers' costs, its pipeline and what its engine adds.

A pass costs the GPU its layers and the output head, and the host its preparation; they overlap in part. In a pipeline
the stages work on different passes at the same time, so the slowest one sets the rate and their sum the latency.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
        device, prompts = self.layers * layer_s, tokens > 0
        if self.head_read_s:
            rows = batch + prompts
            device = device + with_overlap(self.head_token_s * rows, self.head_read_s, self.cost.overlap)
        host = self.host_s + self.host_sequence_s * batch + self.host_prompt_s * prompts
        return with_overlap(device, host, self.host_overlap)


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of a replica: its stages, and how many are alike, those whose layers cost the same side by side.

    All its hops together take `hops_s`, and `hops_token_s` a token; `wire_token_s` of those goes to the slowest network
    between two stages, which takes passes one after the other just as a stage does (0: all are on one machine).
    `host_share` is the part of a shared machine that it takes while it is busy (0: it has its own), and `stream_s` are
    the seconds of the whole machine that go to each token it sends beside that.
    """

    stages: tuple[tuple[StagePace, int], ...]
    hops_s: float = 0.0
    hops_token_s: float = 0.0
    wire_token_s: float = 0.0
    host_share: float = 0.0
    stream_s: float = 0.0
    pp: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pp", sum(count for _, count in self.stages))

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
        passes = shorter(longer(batch + self.pp * (tokens > 0), 1.0), self.pp)
        through, slowest = self._through_and_slowest_s(
            batch / passes, context / passes, tokens / passes, pairs / passes
        )
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
        rows = tokens + batch
        through, slowest = self.hops_s + self.hops_token_s * rows, self.wire_token_s * rows
        cost: LayerCost | None = None
        layer_s: Seconds = 0.0
        for stage, count in self.stages:
            if stage.cost is not cost:
                cost, layer_s = stage.cost, stage.layer_s(tokens, pairs, batch, context)
            took = stage.around_s(layer_s, tokens, batch)
            through, slowest = through + count * took, longer(slowest, took)
        return through, slowest


@dataclass(frozen=True, slots=True)
class StageCost:
    """One pipeline stage while its layers are open: what each costs, and the output head if it has it; its engine."""

    cost: LayerCost
    head_s: tuple[float, float]
    engine: EngineProfile

    def pace(self, layers: int) -> StagePace:
        engine = self.engine
        return StagePace(
            cost=self.cost,
            layers=layers,
            head_token_s=self.head_s[0],
            head_read_s=self.head_s[1],
            host_s=engine.step_s + engine.layer_s * layers,
            host_sequence_s=engine.sequence_s,
            host_prompt_s=engine.prompt_s,
            host_overlap=engine.host_overlap,
        )


@dataclass(frozen=True, slots=True)
class PipelineCost:
    """A pipeline while its layers are open: its stages in order, and what a token puts on each hop between them."""

    stages: tuple[StageCost, ...]
    hops: tuple[Interconnect, ...]
    hop_bytes: float

    def pace(self, layers: Sequence[int]) -> Pace:
        """With so many layers in each stage. Where stages share their machines' cores with others, the busiest stage
        speaks for all."""
        paces = Counter(stage.pace(held) for stage, held in zip(self.stages, layers, strict=True))
        networks = [hop for hop in self.hops if hop.network]
        return Pace(
            stages=tuple(paces.items()),
            hops_s=sum(hop.alpha_s for hop in self.hops),
            hops_token_s=sum(hop.hop_s(self.hop_bytes) for hop in self.hops),
            wire_token_s=max((hop.hop_s(self.hop_bytes) for hop in networks), default=0.0),
            host_share=max(stage.engine.host_share for stage in self.stages),
            stream_s=max(stage.engine.stream_s for stage in self.stages),
        )


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
    """The pace of a pipeline of equal GPUs with these `layers` by stage; `between` joins them (else what is inside)."""
    known = coefficients or fitted()
    hop = between or inside(gpu, tp * len(layers), known.constants, nvlink=nvlink)
    gpus, hops = [(gpu, nvlink)] * len(layers), [hop] * (len(layers) - 1)
    return pipeline_cost(llm, tp, gpus, hops, engine=engine, coefficients=known).pace(layers)


def pipeline_cost(
    llm: LlmSpec,
    tp: int,
    gpus: Sequence[tuple[GpuType, bool]],
    hops: Sequence[Interconnect],
    *,
    engine: str = GRAPHS,
    coefficients: Coefficients | None = None,
) -> PipelineCost:
    """A pipeline whose stages have `tp` GPUs of each of these types, with NVLink or not; `hops[i]` leads on from i."""
    known = coefficients or fitted()
    costs = {one: _stage_cost(llm, tp, *one, engine, known) for one in dict.fromkeys(gpus)}
    stages = [costs[one] for one in gpus]
    stages[-1] = replace(stages[-1], head_s=_head_s(llm, gpus[-1][0], tp, known))
    return PipelineCost(tuple(stages), tuple(hops), llm.hidden * 2.0)


def _stage_cost(llm: LlmSpec, tp: int, gpu: GpuType, nvlink: bool, engine: str, known: Coefficients) -> StageCost:
    profile = gpu.engine or known.engine(engine).on_hosts(gpu.efficiency.host_time)
    link = inside(gpu, tp, known.constants, nvlink=nvlink) if tp > 1 else None
    return StageCost(
        layer_cost(llm, gpu, tp, link=link, engine=profile, constants=known.constants), (0.0, 0.0), profile
    )


def _head_s(llm: LlmSpec, gpu: GpuType, tp: int, known: Coefficients) -> tuple[float, float]:
    """(seconds a row, seconds to read) of the output head, which stays in 16 bits."""
    rates, weights = gpu_rates(gpu, llm, known.constants), llm.vocabulary * llm.hidden
    return 2 * weights / tp / rates.flops, 2.0 * weights / tp / rates.read
