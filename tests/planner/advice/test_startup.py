"""Time to first token from zero is the sum of its pieces, of the instance that is ready last."""

from dataclasses import replace

import pytest

from planner.advice.startup import BOOT_S, slowest_startup, startup
from planner.models import llm_named

QWEN = llm_named("qwen3-8b")


def test_weights_come_over_the_offers_own_network(split_plan):
    card = replace(split_plan.instances[0], inet_down_gbit_per_s=1.0)
    slow, fast = startup(QWEN, card), startup(QWEN, replace(card, inet_down_gbit_per_s=10.0))
    assert slow.download_s == pytest.approx(10 * fast.download_s)
    assert slow.environment_s > fast.environment_s
    assert (slow.boot_s, slow.load_s, slow.engine_s) == (BOOT_S, fast.load_s, fast.engine_s)
    assert slow.seconds == slow.boot_s + slow.environment_s + slow.download_s + slow.load_s + slow.engine_s
    assert slow.download_s > QWEN.weight_bytes * 8 / 1e9


def test_a_local_machine_is_a_folder_that_has_everything(split_plan):
    here = startup(llm_named("tiny-llama"), replace(split_plan.instances[0], provider="local", gpu="CPU"))
    assert (here.environment_s, here.download_s) == (0.0, 0.0)
    assert here.seconds < 60


def test_the_fleet_waits_for_its_slowest(split_plan):
    slow = replace(split_plan.instances[0], inet_down_gbit_per_s=0.1)
    fast = replace(slow, inet_down_gbit_per_s=10.0)
    assert slowest_startup(QWEN, [fast, slow]) == startup(QWEN, slow)
