"""A replica's pace with a few plain coefficients, for tests that need no real GPU."""

from planner.costmodel.layer import GEMMS, LayerCost
from planner.costmodel.pace import Pace, StagePace


def linear_pace(
    *, fixed_s: float = 0.0, token_s: float = 0.0, pair_s: float = 0.0, context_s: float = 0.0, pp: int = 1
) -> Pace:
    """A pass costs `fixed_s`, `token_s` a token, `pair_s` a pair, `context_s` a token of KV; a pp-th in each stage."""
    cost = LayerCost(
        dense_token_s=token_s / pp,
        dense_read_s=0.0,
        expert_token_s=0.0,
        expert_read_s=0.0,
        expert_share=1.0,
        pair_s=pair_s / pp,
        context_s=context_s / pp,
        elementwise_token_s=0.0,
        elementwise_row_s=0.0,
        exchange_s=0.0,
        exchange_fixed_s=0.0,
        kernel_s=fixed_s / pp / (GEMMS + 1),
        elementwise_kernel_s=0.0,
        overlap=1.0,
        tile_tokens=1e-9,
    )
    return Pace(((StagePace(cost, 1, host_overlap=1.0), pp),))
