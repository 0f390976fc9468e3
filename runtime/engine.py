"""`EngineSpec` → the vLLM command and its environment. Pure: nothing is started or looked up here.

Every engine whose KV can be moved runs our connector with `kv_role=kv_both`, so that a phase is only routing state. It
serves HTTP on a Unix socket below the agent's folder: relative paths, since a socket's path may have 108 characters.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.batching import MAX_SEQUENCES, TOKENS_PER_PASS
from planner.errors import SpecError
from runtime.generation import check_generation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runtime.messages import EngineSpec

CONNECTOR = "ThunderConnector"
CONNECTOR_MODULE = "runtime.connector.connector"
CONNECTOR_SOCKET = "run/connector.sock"
AGENTS_NAMES = ("agent", "connector")
"""What the agent's own files in run/ and logs/ are called: an engine of that name would take their place."""

ENTRY_POINT = "runtime.engine_main"
FORKS = "THUNDER_ENGINE_FORKS"
"""Set in the environment of engines whose processes are to be forked: where vLLM would spawn them, on CPUs."""

DRAIN_S = 30
"""How long an engine that is told to stop lets its requests finish."""

KEEP_ALIVE_S = 120

OWNED_FLAGS = (
    "--api-key",
    "--api-server-count",
    "--chat-template",
    "--config",
    "--data-parallel",
    "--disable-log-stats",
    "--distributed-executor-backend",
    "--dtype",
    "--headless",
    "--host",
    "--kv-cache-dtype",
    "--kv-cache-memory-bytes",
    "--kv-connector",
    "--kv-transfer-config",
    "--master-",
    "--max-model-len",
    "--model",
    "--nnodes",
    "--node-rank",
    "--pipeline-parallel-size",
    "--port",
    "--root-path",
    "--served-model-name",
    "--shutdown-timeout",
    "--ssl-",
    "--tensor-parallel-size",
    "--uds",
)
"""What the plan, the agent or the connector decides; names ending in "-" and `--data-parallel` stand for families."""

OWNED_SHORT_FLAGS = ("-tp", "-pp", "-dp", "-asc", "-n", "-r")
OWNED_CPU_FLAGS = ("--compilation-config", "--enforce-eager")


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """What to run: `env` is added to the agent's own environment."""

    argv: tuple[str, ...]
    env: "Mapping[str, str]"


def socket_path(replica: str) -> str:
    """Where a replica's engine listens, from the instance's folder."""
    return f"run/{replica}.sock"


def engine_command(spec: "EngineSpec", *, python: str, cards: "Sequence[str]" = ()) -> EngineCommand:
    """The command of one engine. Raises SpecError where the spec contradicts itself or `extra_args` the plan.

    `cards` are the UUIDs of the instance's GPUs, in the order of their numbers in a plan: CUDA's own may be another,
    and has cards that are not the plan's. Without them its GPUs are called by number.
    """
    _check(spec, cards)
    on_cpu = spec.device == "cpu"
    argv = [python, "-P", "-m", ENTRY_POINT, *_model_flags(spec)]
    argv += ["--tensor-parallel-size", str(spec.tp), "--pipeline-parallel-size", str(spec.pp)]
    argv += ["--kv-cache-memory-bytes", str(spec.kv_cache_bytes)]
    if spec.transfers:
        argv += ["--kv-transfer-config", json.dumps(_kv_transfer(spec), separators=(",", ":"))]
    argv += ["--uds", socket_path(spec.replica), "--shutdown-timeout", str(DRAIN_S)]
    argv += ["--disable-uvicorn-access-log", "--enable-prompt-tokens-details"]
    argv += _cpu_flags(spec) if on_cpu else []
    env = _environment(spec) | (_cpu_environment(spec) if on_cpu else _gpu_environment(spec, cards))
    return EngineCommand((*argv, *spec.extra_args), env)


def _model_flags(spec: "EngineSpec") -> list[str]:
    flags = ["--model", spec.model, "--served-model-name", spec.served_name, "--dtype", spec.dtype]
    flags += ["--max-model-len", str(spec.max_model_len)]
    flags += ["--max-num-batched-tokens", str(TOKENS_PER_PASS), "--max-num-seqs", str(MAX_SEQUENCES)]
    return [*flags, "--chat-template", spec.chat_template] if spec.chat_template else flags


def _kv_transfer(spec: "EngineSpec") -> dict[str, Any]:
    rate = spec.recompute_tokens_per_s
    return {
        "kv_connector": CONNECTOR,
        "kv_connector_module_path": CONNECTOR_MODULE,
        "kv_role": "kv_both",
        "kv_load_failure_policy": "recompute",
        "kv_connector_extra_config": {
            "agent_socket": CONNECTOR_SOCKET,
            "replica": spec.replica,
            "boundary_layers": spec.boundary_layers,
            **({} if rate is None else {"recompute_tokens_per_s": rate}),
        },
    }


def _cpu_flags(spec: "EngineSpec") -> list[str]:
    """Compilation off. With stages it must be a mode that keeps the warm-up pass, which makes their receive buffers.

    A single worker runs inside the engine core: one process less to import torch and vLLM in (15 s of CPU time until
    ready in place of 24, 0.6 GB less).
    """
    if spec.pp > 1:
        return ["--compilation-config", '{"mode":1,"backend":"eager"}']
    return ["--enforce-eager", *(["--distributed-executor-backend", "uni"] if spec.tp == 1 else [])]


def _environment(spec: "EngineSpec") -> dict[str, str]:
    env = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    # Longer than the agent keeps an idle connection, so that it never posts on one that the engine is closing.
    env["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"] = str(KEEP_ALIVE_S)
    if spec.layer_partition:
        env["VLLM_PP_LAYER_PARTITION"] = ",".join(str(layers) for layers in spec.layer_partition)
    return env


def _cpu_environment(spec: "EngineSpec") -> dict[str, str]:
    env = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1", FORKS: "1"}
    # Else the first request with log-probabilities waits for a C++ compiler, in each engine anew.
    env |= {"TORCHDYNAMO_DISABLE": "1"} if spec.pp == 1 else {}
    # vLLM on CPU turns the in-core executor down unless this says that threads are not its business.
    return env | ({"VLLM_ENABLE_V1_MULTIPROCESSING": "0"} if spec.tp * spec.pp == 1 else {})


def _gpu_environment(spec: "EngineSpec", cards: "Sequence[str]") -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": ",".join(cards[gpu] if cards else str(gpu) for gpu in spec.gpus)}


def _check(spec: "EngineSpec", cards: "Sequence[str]") -> None:
    where = f"Engine {spec.replica}"
    if spec.device not in ("cpu", "cuda"):
        raise SpecError(f"{where} has device {spec.device!r}; expected cpu or cuda.")
    if spec.device == "cuda" and len(spec.gpus) != spec.tp * spec.pp:
        raise SpecError(f"{where} has {len(spec.gpus)} GPUs; expected TP {spec.tp} × PP {spec.pp}.")
    if spec.device == "cuda" and cards and max(spec.gpus) >= len(cards):
        raise SpecError(f"{where} has GPU {max(spec.gpus)}; the instance has {len(cards)} of those that were offered.")
    if spec.layer_partition and len(spec.layer_partition) != spec.pp:
        raise SpecError(f"{where} splits its layers over {len(spec.layer_partition)} stages; expected PP {spec.pp}.")
    if not spec.replica or not spec.replica.replace("-", "").replace("_", "").isalnum():
        raise SpecError(f"A replica is named {spec.replica!r}; expected letters, digits, - and _.")
    if spec.replica in AGENTS_NAMES:
        raise SpecError(f"A replica is named {spec.replica}, as the agent's own files are; expected another name.")
    if spec.recompute_tokens_per_s is not None and not spec.recompute_tokens_per_s > 0:
        raise SpecError(f"{where} may recompute {spec.recompute_tokens_per_s} tokens/s; expected a number above 0.")
    owned = OWNED_FLAGS + (OWNED_CPU_FLAGS if spec.device == "cpu" else ())
    for argument in spec.extra_args:
        if _is_owned(argument, owned):
            raise SpecError(
                f"engine.extra_args has {argument}, which the plan decides.",
                hint="Remove it; model, parallelism, memory, transfer and addresses follow from the plan.",
            )
    check_generation(spec.extra_args)


def _is_owned(argument: str, owned: "Sequence[str]") -> bool:
    """Whether vLLM's parser would take `argument` for an owned flag: it joins `=`, `.key` and `_`, and completes."""
    if not argument.startswith("--"):
        return any(argument == flag or argument.startswith(f"{flag}=") for flag in OWNED_SHORT_FLAGS)
    flag = argument.split("=", 1)[0].split(".", 1)[0].replace("_", "-").removesuffix("+")
    families = ("--data-parallel", *(name for name in owned if name.endswith("-")))
    return any(name.startswith(flag) for name in owned) or flag.startswith(families)
