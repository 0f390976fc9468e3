"""A machine's own engines as the cost model describes them: a few coefficients, fitted to what was measured there.

The formulas stay those of `layer.py`, `pace.py` and `transfer.py`. Where several engines share a machine's cores, one
that computes takes `host_share` of them, and to each token that it sends go `stream_s` of the whole machine beside it:
n engines at once, whose passes take t alone and bring b tokens, each take max(1, n (host_share + b stream_s / t)) times
as long. Fitted by least squares of log(predicted / measured), so that an error of a tenth counts the same in 10 ms and
in 2 s (Levenberg-Marquardt); `host_share` by the mean over prompts, which send nothing. `stream_s` is not fitted but
counted, as CPU time: it is too little of a step to be told from the noise of steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf

import numpy as np

from planner.batching import TOKENS_PER_PASS
from planner.catalog import GpuCalibration, GpuType, Link
from planner.costmodel.pace import Pace, pipeline_pace
from planner.costmodel.transfer import kv_transfer_s
from planner.demand import Floats
from planner.deployment import Codec
from planner.errors import SpecError
from planner.llm import LlmSpec

ALONE = ("gemm_share", "attention_factor", "read_share", "step_s", "sequence_s", "prompt_s")
"""Coefficients of an engine that has the machine for itself."""
START = {"step_s": 3e-3, "sequence_s": 1e-4, "prompt_s": 3e-3}
HANDOVER_START, HANDOVER_PULL = (20.0, 1.0, 0.5), 0.05
"""Rows of a busy machine hardly tell bytes on the wire from bytes packed: a weak pull keeps both from running away."""
SLOWED = 1.1
FEWEST = {"prompt lengths": 3, "batches": 3, "contexts": 2}
ROUNDS, NUDGE, LONGEST_STEP, DAMPING = 60, 1e-4, 1.0, 1e-3


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured, in seconds, while `engines` engines did the same at once.

    With a `batch`: a decode step of so many sequences, each over `context_tokens` of KV. Else with a `codec` other than
    local: what a KV transfer adds to the TTFT of a prompt of `prompt_tokens`. Else: the TTFT of such a prompt.
    `sending_cpu_s` is the CPU time, in seconds of one core, that went into each token beside the engines' own
    processes; 0 where nobody counted.
    """

    seconds: float
    prompt_tokens: int = 0
    batch: int = 0
    context_tokens: int = 0
    codec: Codec = Codec.LOCAL
    engines: int = 1
    sending_cpu_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.seconds < inf:
            raise ValueError(f"A row has {self.seconds} seconds; expected a number above 0.")
        if self.engines < 1 or min(self.prompt_tokens, self.batch, self.context_tokens, self.sending_cpu_s) < 0:
            raise ValueError(f"A row has counts below what is possible: {self}.")
        if not self.batch and not self.prompt_tokens:
            raise ValueError("A row has neither a batch nor prompt_tokens; expected one of them.")

    @property
    def is_transfer(self) -> bool:
        return not self.batch and self.codec is not Codec.LOCAL


@dataclass(frozen=True, slots=True)
class Handover:
    """A KV transfer between two instances of one machine: what it takes beside its bytes, and the rates of these."""

    handover_ms: float
    bandwidth_gbit_per_s: float
    codec_gb_per_s: float

    def __post_init__(self) -> None:
        if not (self.bandwidth_gbit_per_s > 0 and self.codec_gb_per_s > 0):
            raise ValueError(f"A handover has rates of 0: {self}.")

    @property
    def link(self) -> Link:
        return Link(self.bandwidth_gbit_per_s, self.handover_ms, codec_gb_per_s=self.codec_gb_per_s)


@dataclass(frozen=True, slots=True)
class Fit:
    """What was fitted, and what it predicts for each row. `handover` is None where no transfer was measured."""

    gpu: GpuCalibration
    handover: Handover | None
    predicted_s: tuple[float, ...]


def fitted_to(rows: Sequence[Row], llm: LlmSpec, gpu: GpuType, *, cores: int) -> Fit:
    """The coefficients of `gpu` on a machine of `cores` cores that fit the rows best. SpecError where rows are too few.

    What the rows say nothing about stays as it is known of the type; a busy engine takes a core.
    """
    _check(rows)
    alone = [row for row in rows if row.engines == 1 and not row.is_transfer]
    shared = [row for row in rows if row.engines > 1 and not row.is_transfer]
    moved = [row for row in rows if row.is_transfer]
    found = _engine(alone, llm, gpu)
    own = _pace(llm, found.applied(gpu))
    share = _host_share(_filled(shared, alone, own, cores), cores)
    own = replace(own, host_share=share, stream_s=_stream_s(rows, cores))
    handover = _handover(moved, own, llm) if moved else None
    predicted = tuple(_predicted_s(row, own, handover, llm) for row in rows)
    return Fit(replace(found, host_share=share, stream_s=own.stream_s), handover, predicted)


def prompt_s(own: Pace, tokens: int) -> float:
    """A prompt alone, in as few passes as the token budget allows."""
    ends = [min(tokens, (i + 1) * TOKENS_PER_PASS) for i in range(ceil(tokens / TOKENS_PER_PASS))]
    starts = [0, *ends[:-1]]
    passes = (own.pass_s(0.0, 0.0, b - a, b * b - a * a) for a, b in zip(starts, ends, strict=True))
    return float(sum(passes))


def _pace(llm: LlmSpec, gpu: GpuType) -> Pace:
    return pipeline_pace(llm, gpu, 1, (llm.layers,), nvlink=False)


def _predicted_s(row: Row, own: Pace, handover: Handover | None, llm: LlmSpec) -> float:
    if row.is_transfer:
        return _moved_s(row, own, handover, llm) if handover else inf
    alone_s = _alone_s(row, own)
    return max(alone_s, row.engines * (own.host_share * alone_s + own.stream_s * row.batch))


def _alone_s(row: Row, own: Pace) -> float:
    if row.batch:
        return float(own.decode_step_s(row.batch, row.batch * row.context_tokens))
    return prompt_s(own, row.prompt_tokens)


def _moved_s(row: Row, own: Pace, handover: Handover, llm: LlmSpec) -> float:
    """The transfer, and the step that computes the prompt's last token anew."""
    step_s = float(own.decode_step_s(1, row.prompt_tokens))
    return step_s + float(kv_transfer_s(handover.link, row.prompt_tokens, llm, row.codec))


def _engine(rows: Sequence[Row], llm: LlmSpec, gpu: GpuType) -> GpuCalibration:
    """The engine's own coefficients, from the rows it was alone in."""
    start = [START.get(name) or getattr(gpu.efficiency, name) for name in ALONE]

    def predicted(values: Floats) -> Floats:
        own = _pace(llm, _calibration(gpu, values.tolist()).applied(gpu))
        return np.array([_alone_s(row, own) for row in rows])

    return _calibration(gpu, _least_squares(predicted, rows, start))


def _calibration(gpu: GpuType, values: Sequence[float]) -> GpuCalibration:
    return GpuCalibration(gpu.name, **dict(zip(ALONE, values, strict=True)))


def _filled(shared: Sequence[Row], alone: Sequence[Row], own: Pace, cores: int) -> list[tuple[Row, float]]:
    """Rows of engines that had all the cores busy, with the seconds that each took alone: as measured, else fitted."""
    measured = {(row.prompt_tokens, row.batch, row.context_tokens): row.seconds for row in alone}
    pairs = [
        (row, measured.get((row.prompt_tokens, row.batch, row.context_tokens)) or _alone_s(row, own)) for row in shared
    ]
    return [(row, alone_s) for row, alone_s in pairs if row.engines >= cores or row.seconds > SLOWED * alone_s]


def _host_share(filled: Sequence[tuple[Row, float]], cores: int) -> float:
    """Least squares of log(stretch / (n share)) over prompts, which send nothing; a core where no row tells."""
    logs = [np.log(max(1.0, row.seconds / alone_s) / row.engines) for row, alone_s in filled if not row.batch]
    return float(np.exp(np.mean(logs))) if logs else 1 / cores


def _stream_s(rows: Sequence[Row], cores: int) -> float:
    """Of the whole machine to each token, as counted while most engines were busy; 0 where nobody counted."""
    counted = [row for row in rows if row.sending_cpu_s]
    most = max((row.engines for row in counted), default=0)
    sent = [row.sending_cpu_s for row in counted if row.engines == most]
    return float(np.mean(sent)) / cores if sent else 0.0


def _handover(rows: Sequence[Row], own: Pace, llm: LlmSpec) -> Handover:
    def predicted(values: Floats) -> Floats:
        handover = Handover(*values.tolist())
        return np.array([_moved_s(row, own, handover, llm) for row in rows])

    return Handover(*_least_squares(predicted, rows, HANDOVER_START, HANDOVER_PULL))


def _least_squares(
    predicted: Callable[[Floats], Floats], rows: Sequence[Row], start: Sequence[float], pull_back: float = 0.0
) -> list[float]:
    """Positive values, sought by their logarithms. One that the rows say nothing about stays where it starts.

    With a `pull_back`, to be e times its start costs a value as much as a row that is off by that much.
    """
    measured = np.log([row.seconds for row in rows])
    origin = np.log(np.asarray(start, dtype=np.float64))

    def errors(logs: Floats) -> Floats:
        off = np.log(predicted(np.exp(logs))) - measured
        return np.concatenate([off, pull_back * (logs - origin)])

    at = origin
    off, damping = errors(at), DAMPING
    for _ in range(ROUNDS):
        slopes = np.array([(errors(at + nudge) - off) / NUDGE for nudge in NUDGE * np.eye(len(at))]).T
        pull = slopes.T @ slopes + damping * np.eye(len(at))
        step = np.clip(np.linalg.solve(pull, -slopes.T @ off), -LONGEST_STEP, LONGEST_STEP)
        tried = errors(at + step)
        if tried @ tried < off @ off:
            at, off, damping = at + step, tried, damping / 3
        else:
            damping *= 5
    return [float(value) for value in np.exp(at)]


def _check(rows: Sequence[Row]) -> None:
    """Enough that each coefficient shows: prompts of several lengths, steps of several batches and contexts."""
    alone = [row for row in rows if row.engines == 1 and not row.is_transfer]
    found = {
        "prompt lengths": {row.prompt_tokens for row in alone if not row.batch},
        "batches": {row.batch for row in alone if row.batch},
        "contexts": {row.context_tokens for row in alone if row.batch},
    }
    for what, fewest in FEWEST.items():
        if len(found[what]) < fewest:
            raise SpecError(
                f"A calibration has {len(found[what])} {what}; expected {fewest} or more.",
                hint="Run `thunderctl doctor --calibrate` to its end.",
            )
