"""The agent's pool: one anonymous shared memory that its engines' connectors map, cut into regions.

A `memfd` has no name, so nothing is left behind however its processes die, and it is not bound by the 64 MB that
containers give /dev/shm. Only the agent reserves and frees; engines write and read where they are told to.
"""

import bisect
import mmap
import os
from dataclasses import dataclass

ALIGNMENT = 4096


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes of the pool that belong to one ticket or one fetch. `length` is what was asked for."""

    offset: int
    length: int


class Allocator:
    """First fit over one run of bytes, in units of 4 KiB; neighbouring free spans always merge.

    A region is contiguous, so a request can be refused while enough bytes are free in pieces: regions live for
    seconds, and a refusal means that the decode engine computes the prompt itself.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: list[tuple[int, int]] = [(0, size)] if size else []
        self._taken: dict[int, int] = {}

    @property
    def used_bytes(self) -> int:
        return sum(self._taken.values())

    def fits(self, length: int) -> bool:
        """Whether a region of that length is to be had now."""
        return any(span >= length for _, span in self._free)

    def reserve(self, length: int) -> Region | None:
        """A region of at least 1 byte, or None when no free span holds it."""
        if length < 1:
            raise ValueError(f"A region of {length} bytes was asked for; expected 1 or more.")
        padded = -(-length // ALIGNMENT) * ALIGNMENT
        for index, (offset, span) in enumerate(self._free):
            if span >= padded:
                self._free[index : index + 1] = [(offset + padded, span - padded)] if span > padded else []
                self._taken[offset] = padded
                return Region(offset, length)
        return None

    def free(self, region: Region) -> None:
        """Give a region back. Raises KeyError when it is not reserved."""
        offset, span = region.offset, self._taken.pop(region.offset)
        at = bisect.bisect(self._free, (offset, span))
        if at < len(self._free) and offset + span == self._free[at][0]:
            span += self._free.pop(at)[1]
        if at and sum(self._free[at - 1]) == offset:
            at -= 1
            before, length = self._free.pop(at)
            offset, span = before, length + span
        self._free.insert(at, (offset, span))


class Pool:
    """The agent's end: makes the memory, hands out regions. `fd` is what a connector maps."""

    def __init__(self, size: int) -> None:
        self.size = -(-size // ALIGNMENT) * ALIGNMENT
        self.fd = os.memfd_create("thunder-kv", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, self.size)
        self._memory = PoolMemory(self.fd, self.size)
        self._allocator = Allocator(self.size)

    @property
    def used_bytes(self) -> int:
        return self._allocator.used_bytes

    def fits(self, length: int) -> bool:
        return self._allocator.fits(length)

    def reserve(self, length: int) -> Region | None:
        return self._allocator.reserve(length)

    def free(self, region: Region) -> None:
        self._allocator.free(region)

    def view(self, region: Region) -> memoryview:
        return self._memory.view(region.offset, region.length)

    def close(self) -> None:
        """Safe to repeat."""
        if self.fd >= 0:
            self._memory.close()
            os.close(self.fd)
            self.fd = -1


class PoolMemory:
    """A mapping of a pool, in the agent or in an engine's process."""

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._map = mmap.mmap(fd, size)
        self._view = memoryview(self._map)

    def view(self, offset: int, length: int) -> memoryview:
        """Bytes of one region. Raises ValueError when they are not all inside the pool."""
        if not 0 <= offset <= offset + length <= self.size:
            raise ValueError(f"Bytes {offset} to {offset + length} were asked of a pool of {self.size}.")
        return self._view[offset : offset + length]

    def close(self) -> None:
        """Unmap, unless something still looks at the bytes: then the mapping goes with the last look."""
        self._view.release()
        try:
            self._map.close()
        except BufferError:
            del self._map
