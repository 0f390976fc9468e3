"""Blocks are filled beside the engine's own work on a GPU, and in order with it. On a CPU there is nothing to order.

A block that a load may write was another request's before: what the engine launched until then may still read it, or,
with asynchronous scheduling, write a token more. And what it launches next must find the block filled.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

Mark = Any
"""A moment in the engine's own work: an event of CUDA's, or nothing."""


class SideStream:
    """One worker's. `cuda` is torch's, or a test's stand-in for it."""

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device = device
        self._cuda = cuda
        self._stream = cuda.Stream(device) if device.type == "cuda" else None

    def mark(self) -> Mark:
        """In the engine's thread: all that it has launched so far."""
        return None if self._stream is None else self._cuda.current_stream(self._device).record_event()

    @contextmanager
    def after(self, mark: Mark) -> Iterator[None]:
        """What is launched within begins when what was marked is over, and has ended when this returns."""
        if self._stream is None:
            yield
            return
        try:
            with self._cuda.stream(self._stream):
                self._stream.wait_event(mark)
                yield
        finally:  # Blocks of a fill that broke are given to others at once.
            self._stream.synchronize()
