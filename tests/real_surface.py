"""The router's whole surface asked of real engines, for tests that have some running: usage, refusals, bench, fuzz."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import openai
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from runtime.router.surface import openapi
from runtime.router.surface.apis import APIS

ROOT = Path(__file__).parents[1]
TOKENIZER = ROOT / "examples" / "tiny-llama"
ENGINE_PYTHON = ROOT / ".venv-engine" / "bin" / "python"
MODEL = "tiny-llama"
WITHIN_S = 120
BENCH_SERVE = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
"""`vllm bench serve`: its command line asks for the version of a package `vllm`, which the CPU's is not called."""
PIXEL = "data:image/png;base64,iVBORw0KGgo="
SHORT = {"max_tokens": 2, "max_completion_tokens": 2, "max_output_tokens": 2, "n": 1, "model": MODEL}
"""What keeps a request that nobody thought of from being answered for minutes."""


def post(base_url: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    """`base_url` without `/v1`."""
    answer = requests.post(f"{base_url}{path}", json={"model": MODEL, **body}, timeout=WITHIN_S)
    return answer.status_code, answer.json()


def used(client: openai.OpenAI, streamed: bool, **asked: Any) -> tuple[int, int, int]:
    """Prompt, cached and completion tokens as a client is told of a completion."""
    common = {"model": MODEL, "extra_body": {"ignore_eos": True}, **asked}
    if streamed:
        chunks = list(client.completions.create(stream=True, stream_options={"include_usage": True}, **common))
        usage = chunks[-1].usage
    else:
        usage = client.completions.create(**common).usage
    return usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, usage.completion_tokens


def media_refusals(base_url: str) -> list[tuple[int, str]]:
    """What is said to pictures, sounds and films in a chat, and to pictures in the other APIs."""
    parts = [
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,aGk="}},
    ]
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [part]}]}) for part in parts
    ]
    image = {"type": "input_image", "image_url": PIXEL}
    asked.append(("/v1/responses", {"input": [{"role": "user", "content": [image]}]}))
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    messages = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    asked.append(("/v1/messages", {"messages": messages, "max_tokens": 2}))
    answers = [post(base_url, path, **body) for path, body in asked]
    return [(status, answer["error"]["message"]) for status, answer in answers]


def bench_serve(base_url: str, folder: Path, requests_: int) -> dict[str, Any]:
    """What vLLM's own client found: streamed completions of random tokens, several at a time."""
    words = f"--backend openai --base-url {base_url} --endpoint /v1/completions --model {MODEL} --tokenizer {TOKENIZER}"
    words += f" --dataset-name random --random-input-len 96 --random-output-len 12 --num-prompts {requests_}"
    words += f" --max-concurrency 4 --ignore-eos --disable-tqdm --save-result --result-dir {folder}"
    command = [str(ENGINE_PYTHON), "-c", BENCH_SERVE, *words.split(), "--result-filename", "bench.json"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads((folder / "bench.json").read_text())
    return found


def fuzz(base_url: str, cases: int) -> None:
    """Ask what the OpenAPI document allows, and what it doesn't, of paths that reach engines. Nothing may be a 5xx."""
    operations = [found.ok() for found in schemathesis.openapi.from_dict(openapi.document()).get_all_operations()]
    asked = [operation for operation in operations if operation.path in APIS]
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    for operation in asked:
        for mode in modes:
            _fuzz_one(base_url, operation.as_strategy(generation_mode=mode), cases // len(asked) // len(modes))


def _fuzz_one(base_url: str, strategy: Any, cases: int) -> None:
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=strategy)
    def ask(case: Any) -> None:
        case.headers.pop("X-Request-Deadline-S", None)
        if isinstance(case.body, dict):
            case.body.update(SHORT)
        response = case.call(base_url=base_url, timeout=WITHIN_S)
        assert response.status_code < 500, (case.body, response.text)

    ask()
