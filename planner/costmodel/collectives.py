"""What joins the GPUs of a replica: the latency and rate of an all-reduce, and of a hop between pipeline stages."""

from dataclasses import dataclass

from planner.catalog import GpuType
from planner.costmodel.coefficients import Constants


@dataclass(frozen=True, slots=True)
class Interconnect:
    """`alpha_s` until the first byte, then `bytes_per_s`: of the ring's bus in an all-reduce, of the link in a hop."""

    alpha_s: float
    bytes_per_s: float
    nvlink: bool = False
    network: bool = False

    def token_s(self, activation_bytes: float, tp: int) -> float:
        """What a token of `activation_bytes` adds to an all-reduce of `tp` GPUs: 2 (t - 1) / t x / beta."""
        return 2 * (tp - 1) / tp * activation_bytes / self.bytes_per_s

    def hop_s(self, activation_bytes: float) -> float:
        """What a token adds to a hop."""
        return activation_bytes / self.bytes_per_s


def inside(gpu: GpuType, gpus: int, constants: Constants, *, nvlink: bool) -> Interconnect:
    """Between `gpus` cards of one machine. A bridge joins two cards only.

    Cards that reach each other's memory over PCIe get most of its rate. All others are staged through the host, far
    below PCIe whatever its generation: about 4 GB/s on the hosts of T4, L4 and A40 that were measured.
    """
    if nvlink and gpu.nvlink_gb_per_s > 0 and gpus <= gpu.nvlink_cards:
        rate = gpu.nvlink_gb_per_s * 1e9 * gpu.efficiency.nvlink_share
        return Interconnect(constants.nvlink_alpha_s, rate, nvlink=True)
    if gpu.pcie_direct:
        return Interconnect(constants.pcie_alpha_s, gpu.pcie_gb_per_s * 1e9 * constants.pcie_direct_share)
    return Interconnect(constants.pcie_alpha_s, min(constants.pcie_gb_per_s, gpu.pcie_gb_per_s) * 1e9)


def across(latency_s: float, gbit_per_s: float) -> Interconnect:
    """A network between two machines."""
    return Interconnect(latency_s, gbit_per_s * 1e9 / 8, network=True)


def vm_network(constants: Constants) -> Interconnect:
    """Between virtual machines of a cloud, about 10 Gbit/s."""
    return Interconnect(constants.vm_network_alpha_s, constants.vm_network_gb_per_s * 1e9, network=True)
