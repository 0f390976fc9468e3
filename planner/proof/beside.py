"""A bound worked out beside the search that it bounds, in a process of its own, where that is quicker."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Protocol, TypeAlias

from planner.catalog import Offer
from planner.deaf import deaf_children
from planner.deployment import Codec
from planner.errors import ThunderError
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


Ask: TypeAlias = Callable[[Question], Bound]


@contextmanager
def answering(*, beside: bool) -> Iterator[Ask]:
    """Who answers questions: this process at once, or another `beside` it, which gets ready for them meanwhile.

    No process outlives the block.
    """
    if not beside:
        yield here
        return
    process = _Process()
    try:
        yield process.ask
    finally:
        process.end()


def here(question: Question) -> Bound:
    """Answered at once."""
    return _Known(question.answer())


@dataclass(frozen=True, slots=True)
class _Known:
    known: Bounded

    def now(self) -> Bounded:
        return self.known

    def wait(self) -> Bounded:
        return self.known


class _Process:
    """Answers one question after the other. Where it cannot start, as under a program that cannot be imported, they are
    answered here in the end."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_answer, args=(there,), daemon=True)
        with deaf_children():
            self._process.start()
        there.close()
        self._pending: list[_Pending] = []

    def ask(self, question: Question) -> Bound:
        for earlier in self._pending:
            earlier.wait()
        self._pending.append(_Pending(question, self._here))
        return self._pending[-1]

    def end(self) -> None:
        self._process.terminate()
        self._process.join()
        for pending in self._pending:
            pending.thread.join()
        self._here.close()


class _Pending:
    """Asked by a thread: a process that ended early must not be waited for, nor one that is slow to get ready."""

    known = None

    def __init__(self, question: Question, connection: Connection) -> None:
        self._question, self._connection = question, connection
        self._answer: Future[Bounded] = Future()
        self.thread = Thread(target=self._ask, daemon=True)
        self.thread.start()

    def now(self) -> Bounded | None:
        return self._answer.result() if self._answer.done() else None

    def wait(self) -> Bounded:
        self.thread.join()
        if not self._answer.done():
            self._answer.set_result(self._question.answer())
        return self._answer.result()

    def _ask(self) -> None:
        try:
            self._connection.send(self._question)
            self._answer.set_result(self._connection.recv())
        except (EOFError, OSError):
            return  # It has ended.


def _answer(connection: Connection) -> None:
    """Until the process that asks is gone. What goes wrong here will go wrong there, and be told."""
    while True:
        try:
            connection.send(connection.recv().answer())
        except (EOFError, OSError, ThunderError):
            return
