"""What a token costs where, as a table people can read and as JSON."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from planner.advice.token_cost import TokenCost, token_cost_to_json
from planner.deployment import Phase
from planner.document import offer_to_json
from planner.requirements import Refusal
from thunderctl.cli.output import table

if TYPE_CHECKING:
    from rich.console import RenderableType


def rank_table(title: str, costs: Sequence[TokenCost]) -> "RenderableType":
    """One row an offer; `-` where it serves a phase not at all, or not within the SLO."""
    columns = ("offer", "provider", "GPUs", "kind", "$/h", "prefill $/M", "decode $/M", "mixed $/M")
    return table(title, columns, [_row(cost) for cost in costs], right=columns[4:])


def rank_json(costs: Sequence[TokenCost], refused: Sequence[Refusal]) -> list[dict[str, Any]]:
    """Entries of `thunder.offers/v1` with $ per million tokens; of an offer that is of no use, why."""
    rated = [offer_to_json(cost.offer) | token_cost_to_json(cost) for cost in costs]
    return rated + [offer_to_json(refusal.offer) | {"refused": refusal.reason} for refusal in refused]


def _row(cost: TokenCost) -> tuple[str, ...]:
    offer = cost.offer
    return (
        offer.offer_id,
        offer.provider,
        f"{offer.gpu_count} x {offer.gpu.name}{'' if offer.gpu.calibrated else ' *'}",
        "interruptible" if offer.interruptible else "on-demand",
        f"{offer.usd_per_hour:.3f}",
        *(_usd(cost.usd_per_million(phase)) for phase in Phase),
    )


def _usd(usd: float | None) -> str:
    return "-" if usd is None else f"{usd:.3f}"
