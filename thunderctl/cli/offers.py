"""`thunderctl offers`: what the markets sell."""

from dataclasses import asdict, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.errors import SpecError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, OffersOption, ProviderOption, SpecOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.catalog import Offer
    from planner.market import Market
    from thunderctl.spec.spec import Spec

SHOWN = 40
WIDER = (
    "Ask for less: without --gpu or --max-usd-per-hour, of another --provider, or with less in the spec's [markets]."
)


class PhaseWord(StrEnum):
    PREFILL = "prefill"
    DECODE = "decode"
    MIXED = "mixed"


def offers(
    gpu: Annotated[str | None, typer.Option(help="Only this GPU.")] = None,
    provider: ProviderOption = None,
    max_usd_per_hour: Annotated[float | None, typer.Option(help="Only machines up to this price.", min=0)] = None,
    offers: OffersOption = None,
    rank: Annotated[bool, typer.Option("--rank", help="What a million tokens cost on each, cheapest first.")] = False,
    by: Annotated[PhaseWord, typer.Option(help="The phase to rank by.")] = PhaseWord.PREFILL,
    model: Annotated[str | None, typer.Option(help="The model to rank for.")] = None,
    workload: Annotated[str | None, typer.Option(help="The workload to rank for, as `plan` takes it.")] = None,
    spec: SpecOption = None,
    as_json: JsonOption = False,
) -> None:
    """List machines that can be rented, cheapest per GPU first.

    --rank lists what a million tokens of the model cost on each: prompt tokens if the whole machine did nothing but
    prefill, output tokens if it did nothing but decode, both if it did both (mixed). That is the machine's price over
    the tokens of the rate at which enough requests still meet the SLO, in the best group size and TP x PP. Analytic.

    Providers that --provider or the spec names are asked for their live offers, all at once; Vast.ai needs no key for
    that. All others, and one that can't be asked, are shown as a dated snapshot has them.

    Example: thunderctl offers --gpu A6000

    What tokens cost where: thunderctl offers --rank --model llama-30b --by decode
    """
    from planner.gpus import gpu_named
    from thunderctl.cli.asking import asking_line
    from thunderctl.cli.flags import with_flags
    from thunderctl.markets.market import read_market
    from thunderctl.spec.inputs import read_llm, read_workload
    from thunderctl.spec.spec import load_spec

    asked = with_flags(load_spec(spec), provider=provider, model=model, workload=workload)
    if (model or workload) and not rank:
        raise SpecError("--model and --workload are what offers are ranked for; expected --rank with them.")
    wanted = gpu_named(gpu).name if gpu else None
    if rank:  # what is wrong with these is said before anybody is asked
        read_llm(asked.model.name, asked.model.dtype)
        read_workload(asked)
    with asking_line(asked, offers) as narrate:
        market = read_market(asked, offers, narrate=narrate)
    found = tuple(
        offer
        for offer in market.offers
        if (wanted is None or offer.gpu.name == wanted)
        and (max_usd_per_hour is None or offer.usd_per_hour <= max_usd_per_hour)
    )
    if rank:
        _ranked(asked, replace(market, offers=found), by, as_json=as_json)
    else:
        _listed(asked, replace(market, offers=found), as_json=as_json)


def _listed(asked: "Spec", market: "Market", *, as_json: bool) -> None:
    """As they are, the cheapest per GPU first."""
    from planner.document import offer_to_json

    found = sorted(market.offers, key=lambda offer: (offer.usd_per_hour / offer.gpu_count, offer.offer_id))
    if as_json:
        output.print_json({**_head(asked, market), "offers": [offer_to_json(offer) for offer in found]})
        return
    if not found:
        output.narrate(f"No offer is like that ({market.source} of {market.as_of[:10]}). {WIDER}")
        return
    rows = [_row(offer) for offer in found[:SHOWN]]
    columns = ("offer", "provider", "region", "GPUs", "GiB each", "kind", "$/h", "$/GPU/h")
    title = f"Offers: {len(found)}, {market.source} of {market.as_of[:10]}"
    output.show(output.table(title, columns, rows, right=("GiB each", "$/h", "$/GPU/h")))
    _footnotes(found)


def _ranked(asked: "Spec", market: "Market", by: PhaseWord, *, as_json: bool) -> None:
    """By what a token costs on them."""
    from planner.deployment import Phase
    from planner.requirements import fitness
    from thunderctl.cli.tables.rank import rank_json, rank_table
    from thunderctl.planning import plan_inputs, token_costs_of

    inputs = plan_inputs(asked, market=market)
    costs, llm, slo = token_costs_of(inputs, Phase(by.value)), inputs.llms[0], inputs.slo
    refused = fitness(llm, market.offers)
    if as_json:
        ranked_for = {"model": llm.name, "dtype": llm.dtype, "workload": inputs.workload.name, "slo": asdict(slo)}
        output.print_json({**_head(asked, market), **ranked_for, "offers": rank_json(costs, refused.refused)})
        return
    title = (
        f"$ per million tokens of {llm.name} ({llm.dtype}), {inputs.workload.name}, by {by}; TTFT {slo.ttft_s:g} s, "
        f"TPOT {slo.tpot_s:g} s, {slo.attainment:.0%}; {market.source} of {market.as_of[:10]}"
    )
    output.show(rank_table(title, costs[:SHOWN]))
    if refused.refused:
        output.narrate(f"The engine can't run on {len(refused.refused)} more: {refused.refused_in_words}.")
    _footnotes([cost.offer for cost in costs])


def _head(asked: "Spec", market: "Market") -> dict[str, Any]:
    sources = [_source(name, market) for name in asked.markets.providers]
    return {"schema": "thunder.offers/v1", "as_of": market.as_of, "source": market.source, "sources": sources}


def _footnotes(found: "Sequence[Offer]") -> None:
    if not all(offer.gpu.calibrated for offer in found[:SHOWN]):
        output.narrate("* uncalibrated: no measurements of this GPU are behind what plans predict of it.")
    if len(found) > SHOWN:
        output.narrate(
            f"... and {len(found) - SHOWN} dearer ones; --json lists all, --gpu and --max-usd-per-hour narrow."
        )


def _row(offer: "Offer") -> tuple[str, ...]:
    return (
        offer.offer_id,
        offer.provider,
        offer.region or "-",
        f"{offer.gpu_count} x {offer.gpu.name}{'' if offer.gpu.calibrated else ' *'}",
        f"{offer.memory_gib:.0f}",
        "interruptible" if offer.interruptible else "on-demand",
        f"{offer.usd_per_hour:.3f}",
        f"{offer.usd_per_hour / offer.gpu_count:.3f}",
    )


def _source(provider: str, market: "Market") -> dict[str, Any]:
    """How asking one provider went; one that nobody named is not asked, and answers from the snapshot or the file."""
    count = sum(offer.provider == provider for offer in market.offers)
    asked = next((source for source in market.sources if source.provider == provider), None)
    if asked is None:
        error = None if count else f"{provider} was not asked, and the {market.source} has no offer of it"
        return {"provider": provider, "ok": error is None, "error": error, "count": count, "live": False}
    return {"provider": provider, "ok": asked.live, "error": asked.problem or None, "count": count, "live": asked.live}
