"""What an agent says is what the message states, or it is refused by the name of the field."""

from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.messages import AgentHealth, EngineHealth, EngineSpec, LinkHealth
from runtime.typed import LARGEST, check_types

figures = st.floats(-1e12, 1e12, allow_nan=False)
sizes = st.integers(0, LARGEST)
specs = st.builds(
    EngineSpec,
    max_model_len=sizes,
    kv_cache_bytes=sizes,
    gpus=st.lists(st.integers(0, 7)).map(tuple),
    extra_args=st.just(("--seed", "1")),
)
engines = st.builds(EngineHealth, spec=st.none() | specs, kv_usage=figures, started_at=st.none() | figures)
links = st.builds(
    LinkHealth, bandwidth_gbit_per_s=st.none() | figures, latency_ms=figures, age_s=figures, counter=figures
)
healths = st.builds(
    AgentHealth,
    engines=st.lists(engines, max_size=2).map(tuple),
    links=st.lists(links, max_size=2).map(tuple),
    kv=st.dictionaries(st.text(), figures, max_size=2),
)
ODD: tuple[Any, ...] = (float("nan"), float("inf"), LARGEST + 1, [1], {"a": [1]}, object())
"""What no field takes."""


@given(healths)
def test_what_agents_say_comes_over_as_it_is(health):
    assert AgentHealth.from_json(health.to_json()) == health


@given(healths, st.sampled_from([one.name for one in fields(AgentHealth)]), st.sampled_from(ODD))
def test_nothing_odd_is_taken(health, name, odd):
    with pytest.raises(ValueError, match=None if name in ("kv", "links", "engines") else name):
        check_types(replace(health, **{name: odd}))


@pytest.mark.parametrize("odd", [ODD[0], True, "7", None])
@pytest.mark.parametrize("name", ["running", "kv_usage"])
def test_a_figure_is_a_number(name, odd):
    with pytest.raises(ValueError, match=f"{name} is .*; expected"):
        check_types(EngineHealth("r0", "ready", **{name: odd}))


def test_a_type_that_no_message_has_is_a_bug_and_said():
    @dataclass
    class Odd:
        what: set[int]

    with pytest.raises(TypeError, match="no type that messages have"):
        check_types(Odd({1}))
