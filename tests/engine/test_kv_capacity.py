"""The KV that a real vLLM engine (CPU) makes of the bytes we give it, against the tokens that were planned."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from planner.memory import gpu_kv_bytes_per_token
from planner.models import llm_from_config
from runtime.engine import engine_command, socket_path
from runtime.messages import EngineSpec
from tests.engine.cache_size import BLOCK_TOKENS, kv_tokens
from tests.engine.processes import ended

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ENGINE_PYTHON = Path(os.environ.get("THUNDER_ENGINE_PYTHON", ROOT / ".venv-engine" / "bin" / "python"))
MODEL = ROOT / "examples" / "tiny-llama"
TOKENS = 32_768


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


@contextmanager
def engine(spec: EngineSpec, folder: Path):
    """Metrics of an engine of this spec, once it is ready."""
    command = engine_command(spec, python=str(ENGINE_PYTHON))
    (folder / "run").mkdir()
    with (folder / "log").open("wb") as log:
        environment = {**os.environ, **command.env, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            command.argv, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    with ended(process):
        yield _metrics(process, folder, spec)


def _metrics(process: subprocess.Popen[bytes], folder: Path, spec: EngineSpec) -> str:
    while True:
        assert process.poll() is None, (folder / "log").read_text()[-4000:]
        connection = _Unix(folder / socket_path(spec.replica))
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()


@pytest.mark.skipif(not ENGINE_PYTHON.exists(), reason="no engine environment: make setup")
@pytest.mark.parametrize("window", [pytest.param(0, marks=pytest.mark.soak), 256])
def test_an_engine_has_room_for_the_planned_tokens(tmp_path, window):
    """With windows the engine starts too, without the connector that would refuse it.

    Without them, test_agent_engine.py sees the same of an engine that it has.
    """
    config = json.loads((MODEL / "config.json").read_text())
    if window:
        config |= {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": window}
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    (model / "config.json").write_text(json.dumps(config))
    llm = llm_from_config(config, "tiny")
    spec = EngineSpec("m0", str(model), "tiny", llm.dtype, 1024, 0, "cpu", transfers=False)
    kept = int(TOKENS * gpu_kv_bytes_per_token(llm, 1, llm.layers))
    with engine(replace(spec, kv_cache_bytes=kept), tmp_path) as metrics:
        assert TOKENS - BLOCK_TOKENS < kv_tokens(metrics) <= TOKENS
