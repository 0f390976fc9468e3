"""Starts vLLM's API server: `python -P -m runtime.engine_main` takes vLLM's own arguments.

vLLM's engine core, and each worker of a parallel engine, is a process of its own. Where vLLM spawns it, it imports its
parent's main module again: with this one in that place not the API server, but torch and vLLM. On CPUs vLLM always
spawns; where FORKS is set it forks, as it does by itself on GPUs: a third less CPU until ready, two thirds where there
are four ranks, and half the memory. All processes import with a garbage collector that looks less often at the millions
of objects that stay.
"""

import gc
import multiprocessing
import os
import runpy
from multiprocessing.context import BaseContext

from runtime.engine import FORKS

API_SERVER = "vllm.entrypoints.openai.api_server"
ALLOCATIONS_BEFORE_COLLECTING = (100_000, 50, 100)


def fork_instead_of_spawning() -> None:
    """Safe before any thread of Python's or OpenMP's has begun, which vLLM's start keeps to."""
    context_of = multiprocessing.get_context

    def forking(method: str | None = None) -> BaseContext:
        return context_of("fork" if method == "spawn" else method)

    multiprocessing.get_context = forking  # type: ignore[assignment]


gc.set_threshold(*ALLOCATIONS_BEFORE_COLLECTING)

if __name__ == "__main__":
    if os.environ.get(FORKS):
        fork_instead_of_spawning()
    runpy.run_module(API_SERVER, run_name="__main__")
