"""Routes as the simulator takes them: lanes, and the wires on which their KV transfers meet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planner.catalog import Link
from planner.costmodel.transfer import kv_transfer_s, kv_wire_bytes
from planner.deployment import Instance, Route
from planner.llm import LlmSpec
from planner.members import Member
from planner.simulation.scenario import Lane, Server, Wire

BYTES_PER_GBIT = 1e9 / 8


@dataclass(frozen=True, slots=True)
class Path:
    """A route, the instances at its ends, and the link between them; no link where nothing is moved."""

    route: Route
    source: Instance
    target: Instance
    link: Link | None

    @property
    def is_inside(self) -> bool:
        """Within one instance: from GPU to GPU through host memory, not over its network."""
        return self.source.id == self.target.id


def server_of(member: Member) -> Server:
    """A replica as it runs. Only where engines share a machine does it matter which one that is."""
    place = member.instance
    host = f"{place.provider} {place.region} {place.machine}" if member.layout.pace.host_share else ""
    return Server(member.layout.pace, member.layout.kv_tokens, host=host)


def lanes_of(llm: LlmSpec, paths: Sequence[Path], places: Mapping[str, int]) -> tuple[Lane, ...]:
    """The lane of each path; `places` are the servers of replica ids."""
    ways = _ways(paths)
    return tuple(_lane(llm, path, places, ways) for path in paths)


def _lane(llm: LlmSpec, path: Path, places: Mapping[str, int], ways: Mapping[str, Wire]) -> Lane:
    ends = places[path.route.prefill], places[path.route.decode]
    if path.link is None:
        return Lane(*ends, path.route.share)
    codec = path.route.codec
    latency = float(kv_transfer_s(path.link, 0.0, llm, codec))
    alone = float(kv_transfer_s(path.link, 1.0, llm, codec)) - latency
    wire_bytes = float(kv_wire_bytes(llm, 1.0, codec))
    packing = alone - wire_bytes / (path.link.bandwidth_gbit_per_s * BYTES_PER_GBIT)
    return Lane(*ends, path.route.share, latency, max(0.0, packing / 2), wire_bytes, _wires(path, path.link, ways))


def _wires(path: Path, link: Link, ways: Mapping[str, Wire]) -> tuple[Wire, ...]:
    """Inside an instance the pair's own path; else the way out, the way in, and the link where it is the narrowest."""
    bytes_per_s = link.bandwidth_gbit_per_s * BYTES_PER_GBIT
    if path.is_inside:
        return (Wire(f"{path.route.prefill} to {path.route.decode}", bytes_per_s),)
    ends = ways[_out(path)], ways[_in(path)]
    if bytes_per_s >= min(wire.bytes_per_s for wire in ends):
        return ends
    return (*ends, Wire(f"{path.source.id} to {path.target.id}", bytes_per_s))


def _ways(paths: Sequence[Path]) -> dict[str, Wire]:
    """Each instance's way out and way in: at least as wide as its offer says, and as any link that uses it."""
    gbit: dict[str, float] = {}
    for path in paths:
        if path.link is None or path.is_inside:
            continue
        for name, stated in (
            (_out(path), path.source.inet_up_gbit_per_s),
            (_in(path), path.target.inet_down_gbit_per_s),
        ):
            gbit[name] = max(gbit.get(name, stated), path.link.bandwidth_gbit_per_s)
    return {name: Wire(name, width * BYTES_PER_GBIT) for name, width in gbit.items()}


def _out(path: Path) -> str:
    return f"{path.source.id} out"


def _in(path: Path) -> str:
    return f"{path.target.id} in"
