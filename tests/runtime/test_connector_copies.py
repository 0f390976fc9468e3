"""What a rank holds of tiles beside the pool stays within its bytes, whatever their sizes and however many wait."""

import random
import threading
import time
from contextlib import ExitStack

import pytest

from runtime.connector.copies import Copies

pytestmark = pytest.mark.engine_env


def test_together_they_stay_within_the_bytes_and_all_get_their_turn():
    copies, most, done = Copies(), [], []

    def hold(length):
        with copies.one_more(length, within=100):
            most.append(copies.held_bytes)
            time.sleep(0)
        done.append(length)

    chance = random.Random(1)
    lengths = [chance.randint(1, 100) for _ in range(300)]
    threads = [threading.Thread(target=hold, args=(length,)) for length in lengths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(done) == sorted(lengths)
    assert max(most) <= 100
    assert copies.held_bytes == 0


def test_one_that_is_larger_than_all_is_held_alone():
    copies = Copies()
    with copies.one_more(500, within=100):
        later, held = _in_a_thread(copies, 1)
        assert not held.wait(0.05)
    assert held.wait(10)
    later.join(10)


def test_a_small_one_does_not_pass_a_large_one_that_waits():
    copies = Copies()
    with ExitStack() as held_here:
        held_here.enter_context(copies.one_more(60, within=100))
        large, large_held = _in_a_thread(copies, 90)
        _until(copies._turn.locked)
        small, small_held = _in_a_thread(copies, 1)
        assert not small_held.wait(0.05)
        assert not large_held.is_set()
    for thread, held in ((large, large_held), (small, small_held)):
        assert held.wait(10)
        thread.join(10)


def test_bytes_come_back_where_using_them_failed():
    copies = Copies()
    with pytest.raises(ZeroDivisionError), copies.one_more(100, within=100):
        1 / 0  # noqa: B018
    with copies.one_more(100, within=100):
        assert copies.held_bytes == 100


def _in_a_thread(copies, length):
    """One that takes so many of 100 bytes and gives them back; and what says that it had them."""
    held = threading.Event()

    def hold():
        with copies.one_more(length, within=100):
            held.set()

    thread = threading.Thread(target=hold)
    thread.start()
    return thread, held


def _until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.001)
