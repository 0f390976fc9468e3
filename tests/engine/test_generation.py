"""vLLM itself is at one with what is read of a model's generation config."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from runtime.generation import default_max_tokens
from tests.engine.kv_world import TINY

pytestmark = pytest.mark.engine_env


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY.model, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors")))


def by_vllm(model: Path, source: str = "auto") -> int:
    from vllm.config import ModelConfig

    config = ModelConfig(model=str(model), generation_config=source)
    return int(config.get_diff_sampling_param().get("max_tokens", 0))


@pytest.mark.parametrize(
    ("generation", "words"),
    [({"max_new_tokens": 6}, {}), ({}, {}), ({}, {"max_new_tokens": 5}), (None, {}), (None, {"max_new_tokens": 5})],
    ids=["stated", "not stated", "stated elsewhere", "no file", "no file but stated elsewhere"],
)
def test_the_limit_is_vllms_own(model: Path, generation: dict[str, Any] | None, words: dict[str, Any]) -> None:
    path, config = model / "generation_config.json", model / "config.json"
    if generation is None:
        path.unlink()
    else:
        path.write_text(json.dumps(generation))
    config.write_text(json.dumps(json.loads(config.read_bytes()) | words))
    assert default_max_tokens(model, ()) == by_vllm(model)
    assert default_max_tokens(model, ("--generation-config", "vllm")) == by_vllm(model, "vllm") == 0
