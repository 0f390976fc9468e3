"""What a load asks: token ids drawn anew for every request, so that no prefix cache knows more than it is meant to."""

import random
import time
from collections.abc import Callable

from planner.simulation.scenario import Requests
from thunderctl.bench.load import VOCABULARY, Door, asked


def requests_ready(door: Door, model: str, requests: Requests, seed: int | None = None) -> Callable[[int], bytes]:
    """Makes a request by its number. Those whose prompts are partly cached begin with the same tokens as all of these.

    Without a seed no two runs ask the same: engines remember the prompts of earlier ones.
    """
    drawn = random.Random(time.time_ns() if seed is None else seed)
    longest = 0 if requests.cached is None else int(requests.cached.max(initial=0))
    shared = drawn.choices(VOCABULARY, k=longest)

    def ready(number: int) -> bytes:
        length, output = int(requests.prompt[number]), int(requests.output[number])
        known = 0 if requests.cached is None else int(requests.cached[number])
        prompt = [*shared[:known], *drawn.choices(VOCABULARY, k=length - known)]
        return door.request(asked(model, prompt, output))

    return ready
