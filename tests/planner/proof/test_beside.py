"""A bound worked out in another process is the same, and no process is left over."""

import time
from dataclasses import replace

import pytest

from planner.catalog import Offer
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.plan import task_of
from planner.proof import beside
from planner.proof.beside import Question, answering, here
from planner.traces import workload_named
from planner.workload import Slo

QUESTION = Question(
    task=task_of(llm_named("qwen3-8b"), workload_named("conversation"), Slo(), 4096),
    codec=None,
    offers=(Offer("o", "ssh", "attic", gpu_named("L4"), 2, 1.0, available=2),),
    links={},
    budget_usd_per_hour=2.0,
)


def breaks_off(connection):
    """What a process does whose main module cannot be imported: nothing, and it does not read what it is sent."""
    connection.close()


def sleeps(connection):
    connection.recv()
    time.sleep(60)


def leave_at_once():
    with answering(beside=True) as ask:
        assert ask(QUESTION).now() is None
        raise KeyboardInterrupt


def test_it_is_the_same_in_another_process():
    with answering(beside=False) as ask:
        assert ask is here
    known = here(QUESTION)
    assert known.known == known.now() == known.wait()
    assert known.wait().rps > 0
    with answering(beside=True) as ask:
        pending = ask(QUESTION)
        assert pending.known is None
        assert pending.wait() == pending.now() == known.wait()
        assert ask(replace(QUESTION, budget_usd_per_hour=1.0)).wait().rps < known.wait().rps


def test_where_no_process_starts_it_is_worked_out_here(monkeypatch):
    monkeypatch.setattr(beside, "_answer", breaks_off)
    with answering(beside=True) as ask:
        assert ask(QUESTION).wait() == QUESTION.answer()


def test_who_leaves_early_waits_for_nothing(monkeypatch):
    monkeypatch.setattr(beside, "_answer", sleeps)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        leave_at_once()
    assert time.monotonic() - began < 20
