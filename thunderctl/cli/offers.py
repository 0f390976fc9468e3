"""`thunderctl offers`: what the markets sell."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, SpecOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.catalog import Offer

SHOWN = 40


def offers(
    gpu: Annotated[str | None, typer.Option(help="Only this GPU.")] = None,
    provider: Annotated[list[str] | None, typer.Option(help="Only these providers (repeat it).")] = None,
    max_usd_per_hour: Annotated[float | None, typer.Option(help="Only machines up to this price.", min=0)] = None,
    spec: SpecOption = None,
    as_json: JsonOption = False,
) -> None:
    """List machines that can be rented, cheapest per GPU first.

    Example: thunderctl offers --gpu A6000
    """
    from planner.document import offer_to_json
    from planner.gpus import gpu_named
    from thunderctl.cli.plan import with_flags
    from thunderctl.compose import read_market
    from thunderctl.spec import load_spec

    asked = with_flags(load_spec(spec), provider=provider)
    market = read_market(asked)
    wanted = gpu_named(gpu).name if gpu else None
    found = [
        offer
        for offer in market.offers
        if (wanted is None or offer.gpu.name == wanted)
        and (max_usd_per_hour is None or offer.usd_per_hour <= max_usd_per_hour)
    ]
    found.sort(key=lambda offer: (offer.usd_per_hour / offer.gpu_count, offer.offer_id))
    if as_json:
        sources = [_source(name, market.source, found) for name in asked.markets.providers]
        document = {"schema": "thunder.offers/v1", "as_of": market.as_of, "source": market.source, "sources": sources}
        output.print_json({**document, "offers": [offer_to_json(offer) for offer in found]})
        return
    rows = [_row(offer) for offer in found[:SHOWN]]
    columns = ("offer", "provider", "region", "GPUs", "GiB each", "kind", "$/h", "$/GPU/h")
    title = f"Offers: {len(found)}, {market.source} of {market.as_of[:10]}"
    output.show(output.table(title, columns, rows, right=("GiB each", "$/h", "$/GPU/h")))
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


def _source(provider: str, source: str, found: "Sequence[Offer]") -> dict[str, Any]:
    """How asking one provider went. Those that can't be asked live yet answer from the snapshot, or not at all."""
    count = sum(offer.provider == provider for offer in found)
    live = provider == "local"
    error = None if live or count else f"{provider} can't be asked yet, and the {source} has no offer of it"
    return {"provider": provider, "ok": error is None, "error": error, "count": count, "live": live}
