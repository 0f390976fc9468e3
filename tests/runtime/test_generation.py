"""How long an engine lets an answer be that states no limit: read where vLLM does, and flags that would change it."""

import json
from pathlib import Path

import pytest

from planner.errors import SpecError
from runtime.generation import check_generation, default_max_tokens


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write(tmp_path / "config.json", {"num_hidden_layers": 4})
    return tmp_path


def write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document))


def test_it_is_the_models_own(model: Path):
    write(model / "generation_config.json", {"temperature": 0.6, "max_new_tokens": 512})
    assert default_max_tokens(model, ()) == 512
    assert default_max_tokens(model, ("--generation-config", "auto")) == 512


def test_most_models_have_none(model: Path):
    assert default_max_tokens(model, ()) == 0
    write(model / "generation_config.json", {"temperature": 0.6, "max_new_tokens": None})
    assert default_max_tokens(model, ()) == 0


def test_without_a_generation_config_the_models_config_is_looked_at(model: Path):
    write(model / "config.json", {"max_new_tokens": 32})
    assert default_max_tokens(model, ()) == 32
    write(model / "generation_config.json", {})
    assert default_max_tokens(model, ()) == 0


@pytest.mark.parametrize("text", ["[]", "{", '{"max_new_tokens": "many"}'])
def test_what_can_not_be_read_is_not_known(tmp_path: Path, text: str):
    assert default_max_tokens(tmp_path, ()) is None
    (tmp_path / "generation_config.json").write_text(text)
    assert default_max_tokens(tmp_path, ()) is None


@pytest.mark.parametrize(
    "flags", [("--generation-config", "vllm"), ("--generation_config=vllm",), ("--generation-conf=vllm",)]
)
def test_an_engine_may_be_told_not_to_look(model: Path, flags: tuple[str, ...]):
    write(model / "generation_config.json", {"max_new_tokens": 512})
    check_generation(flags)
    assert default_max_tokens(model, flags) == 0
    assert default_max_tokens(model, (*flags, "--generation-config=auto")) == 512


@pytest.mark.parametrize(
    "flags",
    [
        ("--override-generation-config", '{"max_new_tokens": 6}'),
        ('--override-generation-config={"temperature":0,"max_new_tokens":6}',),
        ("--override-generation-config.max_new_tokens", "6"),
        ("--override_generation_config.max-new-tokens=6",),
        ("--override-generation-config", '{"presence_penalty": 1.5}'),
        ("--override-generation-config.frequency_penalty", "1"),
        ("--generation-config", "/models/other"),
        ("--generation-config=/models/other",),
        ("--generation-config",),
    ],
)
def test_flags_under_which_no_stream_could_go_on_exactly_are_refused(flags: tuple[str, ...]):
    with pytest.raises(SpecError, match=r"for every request|expected auto or vllm"):
        check_generation(("--max-num-seqs", "8", *flags))


def test_other_defaults_of_requests_pass():
    check_generation(("--override-generation-config", '{"temperature": 0.5, "repetition_penalty": 1.1}'))
