"""What `benchmarks/results/paper.md` says in words: what was given, and how to read the tables."""

import os
import platform
from collections.abc import Mapping

import numpy as np

from benchmarks.paper_cells import BASE_GPU, BASE_TP, SEED
from benchmarks.paper_fleet import A100S, CARDS, UNLIKE, Basis, fleet, usd_per_hour
from planner.gpus import gpu_named
from planner.workload import Slo
from thunderctl.calibration.record import Machine

TITLE = "# The paper's table: ThunderServe's 32 GPUs, planned by us and by others"
MADE = """
Made by `.venv/bin/python -m benchmarks.paper` (seed {seed}) in {minutes:.0f} minutes on {cores} cores of {cpu},
Python {python}, numpy {numpy}. **All figures are simulated**, ours and theirs, by the same simulator. What the paper
(arXiv 2502.09334) says was measured by its authors; it stands in rows and columns of its own.
"""
GIVEN = """
- **Fleet.** 8 each of A40, A6000, A5000 and RTX 3090 Ti at Table 1 prices, 11.33 $/h; 8 x A100 80 GB, 14.02 $/h. One
  private network without a price by the byte. Which GPUs share a machine is not published: one machine of 8 x A40 and
  two of 4 of each other type is our reading, under which the published groups exist. Only A100s have NVLink.
- **Requests.** Lengths of the Azure traces 2023, Poisson arrivals. LLaMA-30B has 2,048 positions, and no engine admits
  more: its prompts are cut to that (38 % of coding, 14 % of conversation). Other models take prompts of up to 8,192.
- **Published plans.** GPUs, TP, PP and phase of each replica as published; the split of layers, the order of stages and
  the routes are the best of ours. As documents: `published_coding.plan.json`, `published_conversation.plan.json`.
- **Baselines.** `planner/baselines`, each the best of its own configurations, on the same GPUs, all of them paid for.
- **Two bases.** The paper's Table 1 rates A100 and A40 by their tensor cores and the others without them; ours rates
  all by tensor cores. What part of a rate is reached is our cost model's on both.
- **SLO.** Not published. Ours is a scale times the unloaded latencies of the mean request on {tp} x {gpu}, for
  TTFT and TPOT alike (LLaMA-30B: {bases}), at 90 % attainment.
  The scale is {scale:g} unless stated.
"""
DEADLINES = """
The least SLO scale at which {loaded:.0%} of the best baseline's goodput at scale {scale:g} is reached, TTFT and TPOT
together, everybody planned anew for each scale ({scales}) and interpolated between them; at the least of these where
that is enough, `-` where none is. The picture is of plans made for scale {scale:g}, at that rate.

![Attainment over SLO scale]({picture})
"""
READING = """
- **Why the published plans do less here.** They were made for an SLO and for machines that we don't know. In our
  cost model TP without NVLink pays for its all-reduces over PCIe (4 GB/s, as Vidur measured on pairs of A40s). On
  the paper's own basis the four prefill replicas of its coding plan that aren't on A40s serve less than a third of
  what a pair of A40s does within TTFT. And a published replica holds 6 to 14 thousand tokens of KV; ours
  may span several machines of the network, and hold many times that.
- **Why 8 x A100 are hard to beat here.** On the paper's basis the 32 GPUs have as many TFLOP/s for a dollar as A100s
  have, and twice the bandwidth (table above): coding is bound by compute, so 1.7 times can't come of it. On ours,
  with tensor cores for all, they have twice the compute for a dollar too. A100s have NVLink and need no pipelines:
  their latencies are those of a scale of 1 to 2, which no group of the others comes near, so tight deadlines are
  theirs.
- **What the two bases mean.** On the paper's, an A40 has 3.9 times the compute of an A6000, and A40s are what to
  prefill on. On ours they are equal, and which GPUs prefill follows from memory, links and what fills up a group.
  That A40s prefill in the paper's plans then follows from its table, not from the silicon.
- **What links do.** A mean prompt of conversation on LLaMA-30B is 0.4 GB of KV even in int4, a third of a second of
  10 Gbit/s: at 5 Gbit/s a split plan keeps only a part of what it gains at 40.
"""
CASE = """
Ratios of requests/s of one mix are those of its tokens/s. The published mix and SLO are not stated.
`together`: every replica does both phases, the better of vLLM with one shape a type and HexGen's groups. `apart`: ours
with every replica in one phase. `ours`: free to choose.
"""


def header(bases: Mapping[str, Slo], scale: float, seconds: float) -> list[str]:
    """Title, how it was made, what was given, and the two bases. `bases` are the base SLOs by workload."""
    made = MADE.format(
        seed=SEED,
        minutes=seconds / 60,
        cores=os.cpu_count(),
        cpu=Machine.here().cpu,
        python=platform.python_version(),
        numpy=np.__version__,
    )
    shown = "; ".join(f"{name} {base.ttft_s:.2f} s and {base.tpot_s * 1e3:.0f} ms" for name, base in bases.items())
    given = GIVEN.format(tp=BASE_TP, gpu=BASE_GPU, bases=shown, scale=scale)
    return [TITLE, *made.split("\n"), *given.strip().split("\n"), "", *bases_table(), "", *fleets_table()]


def fleets_table() -> list[str]:
    """What the fleets have in all, and by the dollar, on either basis."""
    lines = ["| fleet | $/h | basis | TFLOP/s | GB/s | GiB | TFLOP/s a $/h | GB/s a $/h |", f"| --- {'| --: ' * 7}|"]
    for name, machines in (("the 32 GPUs", UNLIKE), ("8 x A100", A100S)):
        for basis in Basis:
            market = fleet(machines, basis, 1.0)
            usd = usd_per_hour(market)
            held = [
                sum(offer.gpu_count * of(offer.gpu) for offer in market.offers)
                for of in (lambda gpu: gpu.fp16_tflops, lambda gpu: gpu.memory_gb_per_s, lambda gpu: gpu.memory_gib)
            ]
            shown = " | ".join(f"{value:,.0f}" for value in (*held, held[0] / usd, held[1] / usd))
            lines.append(f"| {name} | {usd:.2f} | {basis} | {shown} |")
    return lines


def bases_table() -> list[str]:
    """What GPUs are rated at on either basis."""
    lines = ["| GPU | $/h | paper: TFLOP/s | GB/s | ours: TFLOP/s | GB/s |", "| --- | --: | --: | --: | --: | --: |"]
    for card in CARDS.values():
        ours = gpu_named(card.gpu)
        figures = card.fp16_tflops, card.memory_gb_per_s, ours.fp16_tflops, ours.memory_gb_per_s
        shown = " | ".join(f"{value:g}" for value in figures)
        lines.append(f"| {card.gpu} | {card.usd_per_hour:.3f} | {shown} |")
    return lines
