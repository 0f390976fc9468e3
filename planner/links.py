"""What lies between two instances: stated links, else an estimate from their network figures and providers' prices."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from planner.catalog import Link, Offer
from planner.deployment import Instance
from planner.errors import SpecError
from planner.tables import rows_of

Links: TypeAlias = Mapping[tuple[str, str], Link]
"""(from, to) → link, by instance or offer id."""

INSIDE = Link(bandwidth_gbit_per_s=64.0, latency_ms=0.5)
"""Between two replicas of one instance: through host memory, a quarter of PCIe 4.0 x16. No link is taken as faster."""
USABLE = 0.8
"""Part of a bandwidth that plans fill: beyond it transfers queue behind each other."""
AWS_BETWEEN_ZONES_USD_PER_GB = 0.02
AWS_BETWEEN_REGIONS_USD_PER_GB = 0.02
SAME_NETWORK_MS, SAME_REGION_MS, SAME_PROVIDER_MS, INTERNET_MS = 0.5, 2.0, 60.0, 80.0
ROUTER = "router"
"""In a links file, the router's end of a way (`planner/router.py`)."""
COLUMNS = ("from", "to", "bandwidth_gbit_per_s", "latency_ms")


def link_between(a: Instance, b: Instance, stated: Links) -> Link:
    """From `a` to `b`. A stated link has no price of its own: the bytes cost what the instances' providers take."""
    if a.id == b.id:
        return INSIDE
    known = known_between(a, b, stated)
    usd_per_gb = transfer_usd_per_gb(a, b)
    codec = 2 / (1 / a.codec_gb_per_s + 1 / b.codec_gb_per_s)
    if known:
        latency_ms = known.latency_ms + b.handover_ms
        return Link(known.bandwidth_gbit_per_s, latency_ms, usd_per_gb, codec_gb_per_s=codec)
    bandwidth = min(a.inet_up_gbit_per_s, b.inet_down_gbit_per_s, INSIDE.bandwidth_gbit_per_s)
    return Link(bandwidth, _latency_ms(a, b) + b.handover_ms, usd_per_gb, estimated=True, codec_gb_per_s=codec)


def known_between(a: Instance, b: Instance, links: Links) -> Link | None:
    """The link from `a` to `b` by the instances' ids, else by their offers'."""
    return links.get((a.id, b.id)) or links.get((a.offer_id, b.offer_id))


def out_gbit_per_s(instance: Instance, stated: Links) -> float:
    """An instance's way out: its own figure, or the best that a stated link gives."""
    names = (instance.id, instance.offer_id)
    best = (link.bandwidth_gbit_per_s for (source, _), link in stated.items() if source in names)
    return max(instance.inet_up_gbit_per_s, *best, 0.0)


def into_gbit_per_s(instance: Instance, stated: Links) -> float:
    """Its way in, likewise."""
    names = (instance.id, instance.offer_id)
    best = (link.bandwidth_gbit_per_s for (_, target), link in stated.items() if target in names)
    return max(instance.inet_down_gbit_per_s, *best, 0.0)


def transfer_usd_per_gb(a: Instance, b: Instance) -> float:
    """List prices: free on one instance or private network; AWS among itself; else egress of one + ingress of other."""
    if a.id == b.id or _same_network(a, b):
        return 0.0
    if a.provider == b.provider == "aws":
        return AWS_BETWEEN_ZONES_USD_PER_GB if a.region == b.region else AWS_BETWEEN_REGIONS_USD_PER_GB
    return a.egress_usd_per_gb + b.ingress_usd_per_gb


def private_network(place: Offer | Instance) -> str:
    """The private network of a machine, empty for none. Two providers that name theirs alike have two."""
    return f"{place.provider} {place.network}" if place.network else ""


def links_from_csv(text: str, name: str) -> dict[tuple[str, str], Link]:
    """Measured links of a file: `from,to,bandwidth_gbit_per_s,latency_ms`; SpecError names the line of a bad row."""
    links: dict[tuple[str, str], Link] = {}
    for line, row in rows_of(text, f"Links {name}", lambda _: COLUMNS):
        bandwidth, latency = (_positive(row[column], column, name, line) for column in COLUMNS[2:])
        ends = row["from"].strip(), row["to"].strip()
        if ends in links:
            raise SpecError(f"Links {name}, line {line}: the link from {ends[0]} to {ends[1]} is there twice.")
        links[ends] = Link(bandwidth, latency)
    return links


def check_links(links: Links, known: Iterable[str]) -> None:
    """Raise SpecError for a link at an id that nothing has: it would change nothing, and nobody would notice."""
    unknown = sorted({end for pair in links for end in pair} - set(known) - {ROUTER})
    if unknown:
        raise SpecError(
            f"Links name {', '.join(map(repr, unknown))}; expected ids of offers that this plan may rent.",
            hint="`thunderctl offers` lists the ids.",
        )


def _positive(text: str, column: str, name: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or (value == 0 and column != "latency_ms"):
        raise SpecError(f"Links {name}, line {line}: {column} is {text!r}; expected a number above 0.")
    return value


def _same_network(a: Instance, b: Instance) -> bool:
    return private_network(a) != "" and private_network(a) == private_network(b)


def _latency_ms(a: Instance, b: Instance) -> float:
    """One way, roughly; measured links replace it once agents run."""
    if _same_network(a, b):
        return SAME_NETWORK_MS
    if a.provider != b.provider:
        return INTERNET_MS
    return SAME_REGION_MS if a.region and a.region == b.region else SAME_PROVIDER_MS
