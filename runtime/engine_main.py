"""Starts vLLM's API server: `python -P -m runtime.engine_main` takes vLLM's own arguments.

vLLM's engine core is a spawned process, which imports its parent's main module again. With this one in that place it
need not import the API server, and both import with a garbage collector that looks less often at the millions of
objects that stay: 12.4 s of CPU until ready in place of 15.4 (tiny Llama, 2 cores).
"""

import gc
import runpy

API_SERVER = "vllm.entrypoints.openai.api_server"
ALLOCATIONS_BEFORE_COLLECTING = (100_000, 50, 100)

gc.set_threshold(*ALLOCATIONS_BEFORE_COLLECTING)

if __name__ == "__main__":
    runpy.run_module(API_SERVER, run_name="__main__")
