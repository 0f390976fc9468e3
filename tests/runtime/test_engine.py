"""The command line that an engine's specification becomes."""

import json
from dataclasses import replace

import pytest

from planner.batching import MAX_SEQUENCES, TOKENS_PER_PASS
from planner.errors import SpecError
from runtime.agent.process import default_command
from runtime.engine import EngineCommand, engine_command
from runtime.messages import EngineSpec

CPU = EngineSpec("r0", "/models/tiny", "tiny", "float16", 2048, 256 << 20, "cpu")
GPUS = replace(CPU, device="cuda", gpus=(2, 3, 5, 7), tp=2, pp=2, layer_partition=(30, 34))


def value(command: EngineCommand, flag: str) -> str:
    return command.argv[command.argv.index(flag) + 1]


def command(spec: EngineSpec) -> EngineCommand:
    return engine_command(spec, python="/venv/bin/python")


def test_a_cpu_engine():
    made = command(CPU)
    assert made.argv[:4] == ("/venv/bin/python", "-P", "-m", "runtime.engine_main")
    assert value(made, "--model") == "/models/tiny"
    assert value(made, "--served-model-name") == "tiny"
    assert value(made, "--dtype") == "float16"
    assert value(made, "--max-model-len") == "2048"
    assert value(made, "--max-num-batched-tokens") == str(TOKENS_PER_PASS)
    assert value(made, "--max-num-seqs") == str(MAX_SEQUENCES)
    assert value(made, "--kv-cache-memory-bytes") == str(256 << 20)
    assert value(made, "--uds") == "run/r0.sock"
    assert value(made, "--distributed-executor-backend") == "uni"
    assert "--enforce-eager" in made.argv
    assert made.env["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert "CUDA_VISIBLE_DEVICES" not in made.env


def test_every_engine_may_prefill_and_decode_and_recomputes_what_it_can_not_load():
    assert json.loads(value(command(CPU), "--kv-transfer-config")) == {
        "kv_connector": "ThunderConnector",
        "kv_connector_module_path": "runtime.connector.connector",
        "kv_role": "kv_both",
        "kv_load_failure_policy": "recompute",
        "kv_connector_extra_config": {"agent_socket": "run/connector.sock", "replica": "r0", "boundary_layers": 2},
    }


def test_the_plan_says_how_fast_an_engine_may_recompute():
    made = command(replace(CPU, recompute_tokens_per_s=812.5))
    transfer = json.loads(value(made, "--kv-transfer-config"))
    assert transfer["kv_connector_extra_config"]["recompute_tokens_per_s"] == 812.5


def test_an_engine_whose_kv_can_not_be_moved_does_without_the_connector():
    assert "--kv-transfer-config" not in command(replace(CPU, transfers=False)).argv


def test_a_gpu_engine_with_uneven_stages():
    made = command(GPUS)
    assert (value(made, "--tensor-parallel-size"), value(made, "--pipeline-parallel-size")) == ("2", "2")
    assert made.env["VLLM_PP_LAYER_PARTITION"] == "30,34"
    assert made.env["CUDA_VISIBLE_DEVICES"] == "2,3,5,7"
    assert "--enforce-eager" not in made.argv
    assert "--distributed-executor-backend" not in made.argv


def test_gpus_are_called_by_uuid_where_those_are_known():
    cards = tuple(f"GPU-{number}" for number in "abcdefgh")
    made = engine_command(GPUS, python="/venv/bin/python", cards=cards)
    assert made.env["CUDA_VISIBLE_DEVICES"] == "GPU-c,GPU-d,GPU-f,GPU-h"
    with pytest.raises(SpecError, match="Engine r0 has GPU 7; the instance has 7"):
        engine_command(GPUS, python="/venv/bin/python", cards=cards[:7])


@pytest.mark.parametrize(("told", "visible"), [("GPU-a,GPU-b", "GPU-b"), ("", "1"), (None, "1")])
def test_an_agent_hears_of_its_cards_from_who_started_it(monkeypatch, told, visible):
    monkeypatch.delenv("THUNDER_GPUS", raising=False)
    if told is not None:
        monkeypatch.setenv("THUNDER_GPUS", told)
    one = replace(CPU, device="cuda", gpus=(1,))
    assert default_command(one).env["CUDA_VISIBLE_DEVICES"] == visible


def test_stages_on_cpu_keep_the_warm_up_pass():
    made = command(replace(CPU, pp=2, layer_partition=(1, 3)))
    assert "--enforce-eager" not in made.argv
    assert json.loads(value(made, "--compilation-config")) == {"mode": 1, "backend": "eager"}
    assert "VLLM_ENABLE_V1_MULTIPROCESSING" not in made.env


def test_without_stages_on_cpu_nothing_is_compiled():
    """A request with log-probabilities would wait for a C++ compiler, on each engine's first."""
    assert command(CPU).env["TORCHDYNAMO_DISABLE"] == "1"
    for other in (GPUS, replace(CPU, pp=2, layer_partition=(1, 3))):
        assert "TORCHDYNAMO_DISABLE" not in command(other).env


def test_engines_tell_nobody_and_ask_no_hub():
    made = command(CPU)
    assert {made.env[name] for name in ("VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "HF_HUB_OFFLINE")} == {"1"}
    assert "--disable-uvicorn-access-log" in made.argv
    assert "--enable-prompt-tokens-details" in made.argv


def test_a_stopped_engine_finishes_its_requests():
    assert int(value(command(CPU), "--shutdown-timeout")) > 0


def test_extra_arguments_come_last():
    made = command(replace(CPU, extra_args=("--max-num-seqs", "8")))
    assert made.argv[-2:] == ("--max-num-seqs", "8")


@pytest.mark.parametrize(
    "argument",
    [
        "--kv-transfer-config",
        "--kv_transfer_config={}",
        "--kv-transfer-config.kv_role",
        "--kv-transfer",
        "--tensor-parallel-size=2",
        "-tp",
        "-pp=2",
        "--port",
        "--uds",
        "--model",
        "--host=0.0.0.0",
        "--data-parallel-size",
        "--ssl-keyfile",
        "--api-key=x",
        "--config",
        "--enforce-eager",
        "--max-model-len",
        "--kv-cache-dtype=fp8",
    ],
)
def test_extra_arguments_that_would_break_the_plan_are_refused(argument: str):
    with pytest.raises(SpecError, match="which the plan decides"):
        command(replace(CPU, extra_args=("--max-num-seqs", "8", argument)))


def test_a_limit_for_every_answer_is_refused():
    with pytest.raises(SpecError, match="max_new_tokens for every request"):
        command(replace(CPU, extra_args=("--override-generation-config", '{"max_new_tokens": 6}')))


@pytest.mark.parametrize(
    "argument", ["--max-num-seqs=8", "--enable-prefix-caching", "--tool-call-parser", "hermes", "--model-impl=vllm"]
)
def test_other_extra_arguments_pass(argument: str):
    assert command(replace(CPU, extra_args=(argument,))).argv[-1] == argument


def test_eager_mode_is_a_gpu_users_own_choice():
    assert command(replace(GPUS, extra_args=("--enforce-eager",))).argv[-1] == "--enforce-eager"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "tpu"}, "expected cpu or cuda"),
        ({"device": "cuda", "gpus": (0,), "tp": 2}, "1 GPUs; expected TP 2"),
        ({"layer_partition": (1, 3)}, "2 stages; expected PP 1"),
        ({"replica": "../r0"}, "expected letters"),
        ({"replica": ""}, "expected letters"),
        ({"replica": "agent"}, "the agent's own files"),
        ({"replica": "connector"}, "the agent's own files"),
        ({"recompute_tokens_per_s": 0.0}, "above 0"),
    ],
)
def test_a_specification_that_contradicts_itself_is_refused(change: dict[str, object], message: str):
    with pytest.raises(SpecError, match=message):
        command(replace(CPU, **change))
