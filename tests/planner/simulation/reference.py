"""vLLM V1's scheduler for one replica without stages, written as plainly as can be: every pass and token by itself.

What the fast engine must agree with. Requests are local: nothing is transferred.
"""

from dataclasses import dataclass
from math import floor

import numpy as np

from planner.simulation.scenario import Requests, Server


@dataclass
class Sequence:
    prompt: int
    output: int
    cached: int
    came: int = 0
    computed: int = 0
    preemptions: int = 0
    decoding: bool = False
    first_s: float = np.inf
    last_s: float = np.inf

    @property
    def total(self) -> int:
        """Tokens known: those of the prompt, and those that came."""
        return self.prompt + self.came


def stepped(requests: Requests, server: Server) -> list[Sequence]:
    """Every request with its times, for requests that fit the server's KV."""
    cached = np.zeros_like(requests.prompt) if requests.cached is None else requests.cached
    everyone = [
        Sequence(int(prompt), int(output), min(int(known), int(prompt) - 1))
        for prompt, output, known in zip(requests.prompt, requests.output, cached, strict=True)
    ]
    coming = list(zip(requests.arrival_s.tolist(), everyone, strict=True))
    waiting: list[Sequence] = []
    running: list[Sequence] = []
    now = -1.0
    while coming or waiting or running:
        while coming and coming[0][0] <= now:
            waiting.append(coming.pop(0)[1])
        if not running and not waiting:  # idle: a pass begins with whoever comes first
            now = coming[0][0]
            waiting.append(coming.pop(0)[1])
        now += _pass_s(server, waiting, running, now)
    return everyone


def _pass_s(server: Server, waiting: list[Sequence], running: list[Sequence], now: float) -> float:
    """Schedule a pass, let it happen, and return how long it took."""
    budget, work, preempted = server.tokens_per_pass, [], False
    # Every sequence holds KV for what is computed; one whose prompt is not through has all of it reserved.
    while sum(sequence.total for sequence in running) > server.kv_tokens:
        victim = running.pop()
        victim.decoding, victim.preemptions, preempted = False, victim.preemptions + 1, True
        waiting.insert(0, victim)
    for sequence in running:
        piece = min(sequence.total - sequence.computed, budget)
        budget -= piece
        work.append((sequence, piece))
    while not preempted and waiting and budget > 0 and len(running) < server.max_sequences:
        if sum(sequence.total for sequence in [*running, waiting[0]]) > server.kv_tokens:
            break
        sequence = waiting.pop(0)
        running.append(sequence)
        sequence.computed = sequence.cached
        piece = min(sequence.total - sequence.computed, budget)
        budget -= piece
        work.append((sequence, piece))
    return _worked(server, work, running, now)


def _worked(server: Server, work: list[tuple[Sequence, int]], running: list[Sequence], now: float) -> float:
    decoding = [sequence for sequence, _ in work if sequence.decoding]
    pieces = [(sequence.computed, sequence.computed + n) for sequence, n in work if not sequence.decoding]
    took = server.pace.turn_s(
        float(len(decoding)),
        float(sum(sequence.total for sequence in decoding)),
        float(sum(end - start for start, end in pieces)),
        float(sum(end * end - start * start for start, end in pieces)),
    )
    for sequence, tokens in work:
        sequence.computed += tokens
        if sequence.computed < sequence.total:
            continue
        sequence.came, sequence.decoding = sequence.came + 1, True
        sequence.first_s = min(sequence.first_s, now + took)
        if sequence.came == sequence.output:
            sequence.last_s = now + took
            running.remove(sequence)
    return float(took) if work else 0.0


def fits(prompt: float, output: float, server: Server) -> bool:
    return prompt + output - 1 <= floor(server.kv_tokens)
