"""A bound worked out beside the search that it bounds, in a process of its own, where that is quicker."""

import signal
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Protocol

from planner.catalog import Offer
from planner.deployment import Codec
from planner.links import Links
from planner.parallel.task import Task
from planner.proof.bound import Bounded, bounded


@dataclass(frozen=True, slots=True)
class Question:
    """All that a bound is of, in a form that another process can be given."""

    task: Task
    codec: Codec | None
    offers: tuple[Offer, ...]
    links: Links
    budget_usd_per_hour: float
    rent_all: bool = False

    def answer(self) -> Bounded:
        return bounded(self.task, self.codec, self.offers, self.links, self.budget_usd_per_hour, rent_all=self.rent_all)


class Bound(Protocol):
    """A bound that may not be known yet. What is `known` from the start may steer a search and not depend on time."""

    @property
    def known(self) -> Bounded | None: ...

    def now(self) -> Bounded | None: ...

    def wait(self) -> Bounded: ...


@contextmanager
def answered(question: Question, *, beside: bool) -> Iterator[Bound]:
    """The answer, worked out first or `beside` what is done meanwhile. No process outlives the block."""
    if not beside:
        yield _Known(question.answer())
        return
    process = _Process(question)
    try:
        yield process
    finally:
        process.end()


@dataclass(frozen=True, slots=True)
class _Known:
    known: Bounded

    def now(self) -> Bounded:
        return self.known

    def wait(self) -> Bounded:
        return self.known


class _Process:
    """Where it cannot start, as under a program that cannot be imported, the answer is worked out here in the end.

    The question goes over a connection of its own, by a thread: a process that ends early must not be waited for, nor
    one that is slow to import what it needs.
    """

    known = None

    def __init__(self, question: Question) -> None:
        context = get_context("spawn")
        self._question = question
        self._here, there = context.Pipe()
        self._process = context.Process(target=_answer, args=(there,), daemon=True)
        self._process.start()
        there.close()
        self._answer: Future[Bounded] = Future()
        self._asking = Thread(target=self._ask, daemon=True)
        self._asking.start()

    def now(self) -> Bounded | None:
        return self._answer.result() if self._answer.done() else None

    def wait(self) -> Bounded:
        self._asking.join()
        if not self._answer.done():
            self._answer.set_result(self._question.answer())
        return self._answer.result()

    def end(self) -> None:
        self._process.terminate()
        self._process.join()
        self._asking.join()
        self._here.close()

    def _ask(self) -> None:
        try:
            self._here.send(self._question)
            self._answer.set_result(self._here.recv())
        except (EOFError, OSError):
            return  # It has ended.


def _answer(connection: Connection) -> None:
    """An interrupt is for the process that asks, which ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send(connection.recv().answer())
