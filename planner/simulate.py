"""Request-level simulation of a plan: requests in, time stamps of first and last tokens out. Seeded, deterministic.

An event is a time and a call; the call handles it and returns the events it causes; ties go by order of creation.
Prefill replicas take prompts in order, several in a pass while they fit its tokens. Serving replicas decode their whole
batch together and admit what their KV has room for, prompt and output reserved; own prompts go along in chunks.
Between two events a batch steps at one pace, so a request costs a few events, not one a token.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TypeAlias

import numpy as np

from planner.capacity import MAX_SEQUENCES
from planner.demand import Floats
from planner.perfmodel import CHUNK_TOKENS, Pace

Event: TypeAlias = tuple[float, Callable[[float], list["Event"]]]


@dataclass(frozen=True, slots=True)
class Requests:
    """What arrives: seconds, prompt tokens and output tokens, in order of arrival."""

    arrival_s: Floats
    prompt: Floats
    output: Floats


@dataclass(frozen=True, slots=True)
class Server:
    """A replica as the simulator sees it."""

    pace: Pace
    kv_tokens: int


@dataclass(frozen=True, slots=True)
class Lane:
    """A route: its share, the servers at its ends (the same one: local), and its hop, seconds + seconds per token."""

    prefill: int
    decode: int
    share: float
    hop_s: float = 0.0
    hop_s_per_token: float = 0.0


@dataclass(frozen=True, slots=True)
class Timings:
    """When each request's first and last token came (infinite: not by the end), and how busy each server was."""

    first_s: Floats
    last_s: Floats
    busy_share: tuple[float, ...]
    events: int


def simulate(requests: Requests, servers: Sequence[Server], lanes: Sequence[Lane], *, seed: int) -> Timings:
    """Play the requests through the lanes, each taken with the probability of its share."""
    run = _Run(requests, servers, lanes, seed)
    order = count()
    heap = [(time, next(order), handle) for time, handle in run.start()]
    now = 0.0
    while heap:
        now, _, handle = heapq.heappop(heap)
        for time, cause in handle(now):
            heapq.heappush(heap, (time, next(order), cause))
    busy = (p.busy_s + s.busy_s for p, s in zip(run.prefilling, run.serving, strict=True))
    return Timings(run.first_s, run.last_s, tuple(b / now if now else 0.0 for b in busy), next(order))


class _Run:
    """The requests as plain numbers, the servers they meet, and where their time stamps are written."""

    def __init__(self, requests: Requests, servers: Sequence[Server], lanes: Sequence[Lane], seed: int) -> None:
        size = len(requests.arrival_s)
        self.arrival_s: list[float] = requests.arrival_s.tolist()
        self.prompt: list[float] = requests.prompt.tolist()
        self.output: list[float] = requests.output.tolist()
        self.first_s, self.last_s = np.full(size, np.inf), np.full(size, np.inf)
        self.serving = [_Serving(server, self) for server in servers]
        self.prefilling = [_Prefilling(server, self) for server in servers]
        self.lanes = lanes
        shares = np.array([lane.share for lane in lanes])
        self.taken = np.random.default_rng(seed).choice(len(lanes), size, p=shares / shares.sum()).tolist()
        self.next = 0

    def start(self) -> list[Event]:
        return [(self.arrival_s[0], self.arrive)] if self.arrival_s else []

    def arrive(self, now: float) -> list[Event]:
        """The next request goes where its lane begins; it causes the arrival of the one after it."""
        request, self.next = self.next, self.next + 1
        lane = self.lanes[self.taken[request]]
        if lane.prefill == lane.decode:
            caused = self.serving[lane.decode].arrive(request, False, now)
        else:
            hop = lane.hop_s + lane.hop_s_per_token * self.prompt[request]
            caused = self.prefilling[lane.prefill].arrive(request, hop, self.serving[lane.decode], now)
        more = self.next < len(self.arrival_s)
        return [*caused, (self.arrival_s[self.next], self.arrive)] if more else caused


class _Prefilling:
    """A queue of prompts and the pass under way."""

    def __init__(self, server: Server, run: _Run) -> None:
        self.pace, self.run = server.pace, run
        self.queue: deque[tuple[int, float, _Serving]] = deque()
        self.idle = True
        self.busy_s = 0.0

    def arrive(self, request: int, hop_s: float, target: "_Serving", now: float) -> list[Event]:
        self.queue.append((request, hop_s, target))
        return self._next_pass(now) if self.idle else []

    def _next_pass(self, now: float) -> list[Event]:
        """Take prompts in order while the pass has room for them; the first one always goes."""
        self.idle = not self.queue
        tokens = squares = 0.0
        taken: list[tuple[int, float, _Serving]] = []
        while self.queue and (not taken or tokens + self.run.prompt[self.queue[0][0]] <= CHUNK_TOKENS):
            taken.append(self.queue.popleft())
            length = self.run.prompt[taken[-1][0]]
            tokens, squares = tokens + length, squares + length * length
        if not taken:
            return []
        done, free = float(self.pace.prefill_s(tokens, squares)), float(self.pace.prefill_interval_s(tokens, squares))
        self.busy_s += free
        arrivals = [(now + done + hop_s, partial(target.arrive, request, True)) for request, hop_s, target in taken]
        return [*arrivals, (now + free, self._next_pass)]


class _Serving:
    """A batch of decoding requests, those that wait for room, and the prompts it prefills itself.

    `steps` counts the tokens that a request in the batch from the start would have by now; `batch` is ordered by the
    count at which each request ends. `context` is the tokens they attend to together, `step_s` the pace at present.
    """

    def __init__(self, server: Server, run: _Run) -> None:
        self.pace, self.run = server.pace, run
        self.room = float(server.kv_tokens)
        self.waiting: deque[tuple[int, bool]] = deque()
        self.prompts: deque[tuple[int, float]] = deque()
        self.batch: list[tuple[float, int]] = []
        self.left_s = 0.0
        self.context = self.steps = self.at = self.busy_s = 0.0
        self.step_s = np.inf
        self.version = 0

    def arrive(self, request: int, prefilled: bool, now: float) -> list[Event]:
        """A request whose KV has arrived, or one that it serves from the start."""
        self._advance(now)
        self.waiting.append((request, prefilled))
        return self._go_on(now)

    def _wake(self, version: int, now: float) -> list[Event]:
        """Something was to happen now, unless something else happened since."""
        if version != self.version:
            return []
        self._advance(now)
        while self.batch and self.batch[0][0] <= self.steps + 1e-6:
            self._leave(now, heapq.heappop(self.batch)[1])
        if not self.prompts or self.left_s > 1e-9:
            return self._go_on(now)
        request, work_s = self.prompts.popleft()
        self.left_s = self.prompts[0][1] if self.prompts else 0.0
        rest_s = work_s * (self.pace.pp - 1) * self.step_s / self.pace.chunk_s
        return [(now + rest_s, partial(self._begin, request)), *self._go_on(now)]

    def _advance(self, now: float) -> None:
        """Play on to now at the pace of the last event."""
        passed, self.at = now - self.at, now
        if passed <= 0 or not (self.batch or self.prompts):
            return
        turns = passed / self.step_s
        self.busy_s += passed
        self.steps += turns
        self.context += len(self.batch) * turns
        if self.prompts:
            self.left_s -= turns * self.pace.chunk_s

    def _go_on(self, now: float) -> list[Event]:
        """Admit who fits, set the pace, and wake up when the next request ends or the prompt at hand is through."""
        admitted = self._admitted()
        self.version += 1
        if not (self.batch or self.prompts):
            return []
        pace = self.pace.chunked_step_s if self.prompts else self.pace.decode_step_s
        self.step_s = float(pace(float(len(self.batch)), self.context))
        for request in admitted:
            self.run.first_s[request] = now + self.step_s
        ends = (self.batch[0][0] - self.steps) * self.step_s if self.batch else np.inf
        through = self.left_s * self.step_s / self.pace.chunk_s if self.prompts else np.inf
        return [(now + max(0.0, min(ends, through)), partial(self._wake, self.version))]

    def _admitted(self) -> list[int]:
        """In order: who is at the front waits until there is room, and the others behind it."""
        joined: list[int] = []
        while self.waiting and len(self.batch) + len(self.prompts) < MAX_SEQUENCES:
            request, prefilled = self.waiting[0]
            prompt, output = self.run.prompt[request], self.run.output[request]
            if prompt + output > self.room:
                break
            self.waiting.popleft()
            self.room -= prompt + output
            if prefilled:
                heapq.heappush(self.batch, (self.steps + output, request))
                self.context += prompt
                joined.append(request)
            else:
                self.prompts.append((request, float(self.pace.prefill_interval_s(prompt))))
                self.left_s = self.left_s if len(self.prompts) > 1 else self.prompts[0][1]
        return joined

    def _begin(self, request: int, now: float) -> list[Event]:
        """Its prompt is through the last stage, and with it comes the first token."""
        self._advance(now)
        self.run.first_s[request] = now
        self.context += self.run.prompt[request] + 1
        if self.run.output[request] <= 1:
            self._leave(now, request)
        else:
            heapq.heappush(self.batch, (self.steps + self.run.output[request] - 1, request))
        return self._go_on(now)

    def _leave(self, now: float, request: int) -> None:
        held = self.run.prompt[request] + self.run.output[request]
        self.run.last_s[request] = now
        self.room += held
        self.context -= held
