"""`thunderctl offers`: what the markets sell."""

from typing import Annotated

import typer

from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, SpecOption

SHOWN = 40


def offers(
    gpu: Annotated[str | None, typer.Option(help="Only this GPU.")] = None,
    provider: Annotated[list[str] | None, typer.Option(help="Only these providers (repeat it).")] = None,
    max_usd_per_hour: Annotated[float | None, typer.Option(help="Only machines up to this price.")] = None,
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

    market = read_market(with_flags(load_spec(spec), provider=provider))
    wanted = gpu_named(gpu).name if gpu else None
    found = [
        offer
        for offer in market.offers
        if (wanted is None or offer.gpu.name == wanted)
        and (max_usd_per_hour is None or offer.usd_per_hour <= max_usd_per_hour)
    ]
    found.sort(key=lambda offer: (offer.usd_per_hour / offer.gpu_count, offer.offer_id))
    if as_json:
        counts = {name: sum(offer.provider == name for offer in found) for name in sorted({o.provider for o in found})}
        sources = [{"provider": name, "ok": True, "error": None, "count": count} for name, count in counts.items()]
        document = {"schema": "thunder.offers/v1", "as_of": market.as_of, "source": market.source, "sources": sources}
        output.print_json({**document, "offers": [offer_to_json(offer) for offer in found]})
        return
    rows = [
        (
            offer.offer_id,
            offer.provider,
            offer.region or "-",
            f"{offer.gpu_count} x {offer.gpu.name}",
            f"{offer.memory_gib:.0f}",
            "interruptible" if offer.interruptible else "on-demand",
            f"{offer.usd_per_hour:.3f}",
            f"{offer.usd_per_hour / offer.gpu_count:.3f}",
        )
        for offer in found[:SHOWN]
    ]
    columns = ("offer", "provider", "region", "GPUs", "GiB each", "kind", "$/h", "$/GPU/h")
    title = f"Offers: {len(found)}, {market.source} of {market.as_of[:10]}"
    output.show(output.table(title, columns, rows, right=("GiB each", "$/h", "$/GPU/h")))
    if len(found) > SHOWN:
        output.narrate(
            f"... and {len(found) - SHOWN} dearer ones; --json lists all, --gpu and --max-usd-per-hour narrow."
        )
