"""What a token costs where: $ per million tokens of each phase on an offer, at the SLO (the paper's figure 1).

An offer is rated as if all its GPUs served one phase, in groups of the size and TP x PP that serve most: requests/s of
which enough meet the targets, times the tokens of a mean request (prompt tokens for prefill, output tokens for decode,
both for mixed), against the whole machine's price. KV stays inside the machine.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from planner.catalog import Offer
from planner.deployment import Phase
from planner.parallel.layouts import Capacities, Share
from planner.procurement.groups import SIZES, kind_of


@dataclass(frozen=True, slots=True)
class TokenCost:
    """An offer's requests/s in each phase were it to do nothing else, and the tokens of a mean request."""

    offer: Offer
    prefill_rps: float
    decode_rps: float
    mixed_rps: float
    prompt_tokens: float
    output_tokens: float

    def rps(self, phase: Phase) -> float:
        return {Phase.PREFILL: self.prefill_rps, Phase.DECODE: self.decode_rps, Phase.MIXED: self.mixed_rps}[phase]

    def usd_per_million(self, phase: Phase) -> float | None:
        """$ per million tokens of a phase; None where the offer serves none of them within the SLO."""
        tokens = {Phase.PREFILL: self.prompt_tokens, Phase.DECODE: self.output_tokens}
        each = tokens.get(phase, self.prompt_tokens + self.output_tokens)
        per_hour = self.rps(phase) * each * 3600
        return self.offer.usd_per_hour / per_hour * 1e6 if per_hour else None

    def usd_per_hour_per_rps(self, phase: Phase) -> float | None:
        """$/h for each request/s that it takes through a phase."""
        return self.offer.usd_per_hour / self.rps(phase) if self.rps(phase) else None


def token_cost_to_json(cost: TokenCost) -> dict[str, float | None]:
    """What `offers --rank --json` adds to an offer."""
    return {f"usd_per_million_{phase}_tokens": cost.usd_per_million(phase) for phase in Phase}


def token_costs(capacities: Capacities, offers: Iterable[Offer]) -> tuple[TokenCost, ...]:
    """Of every offer, in the order given."""
    return tuple(_cost(capacities, offer) for offer in offers)


def ranked(costs: Iterable[TokenCost], phase: Phase) -> tuple[TokenCost, ...]:
    """The cheapest per token of a phase first; those that serve none come last."""
    return tuple(sorted(costs, key=lambda one: (_or_last(one.usd_per_million(phase)), one.offer.offer_id)))


def _or_last(usd: float | None) -> float:
    return float("inf") if usd is None else usd


def _cost(capacities: Capacities, offer: Offer) -> TokenCost:
    demand = capacities.task.demand
    prefill, decode, mixed = (_whole_rps(capacities, offer, phase) for phase in Phase)
    return TokenCost(offer, prefill, decode, mixed, demand.prompt_mean, demand.output_mean)


def _whole_rps(capacities: Capacities, offer: Offer, phase: Phase) -> float:
    """Of the offer cut into as many groups of one size as it holds, the size that serves most."""
    kind = kind_of(offer)
    sizes = [size for size in SIZES if size <= offer.gpu_count]
    best = [(size, capacities.best((Share(kind, size),), phase)) for size in sizes]
    return max((offer.gpu_count // size * found[1] for size, found in best if found), default=0.0)
