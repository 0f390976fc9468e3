"""What goes wrong when bringing it up, told well and leaving nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from planner.document import plan_to_json
from tests.planner.plans import split_plan

EXAMPLES = Path(__file__).parents[1] / "examples"
SPEC = (EXAMPLES / "local.toml").read_text()
SAYS = {"model": "tiny-llama", "max_tokens": 600, "temperature": 0, "stream": True}


def thunderctl(home, *arguments, **variables):
    command = [sys.executable, "-P", "-m", "thunderctl", *arguments]
    environment = os.environ | {"THUNDER_HOME": str(home / "state")} | variables
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=200)


def leases(home):
    return json.loads(thunderctl(home, "leases", "--json").stdout)["leases"]


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A plan of the spec, which `up` then need not make anew."""
    home = tmp_path_factory.mktemp("planned")
    (home / "thunder.toml").write_text(SPEC)
    assert thunderctl(home, "plan", "--out", "plan.json").returncode == 0
    return str(home / "plan.json")


def test_a_port_in_use_is_refused_before_anything_is_leased(tmp_path, planned):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "thunder.toml").write_text(SPEC.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        done = thunderctl(tmp_path, "up", planned, "--yes")
    assert done.returncode == 2
    assert f"Port {port} of 127.0.0.1 is in use" in done.stderr
    assert leases(tmp_path) == []


def test_without_a_confirmation_nothing_is_leased(tmp_path, planned):
    (tmp_path / "thunder.toml").write_text(SPEC)
    done = thunderctl(tmp_path, "up", planned)
    assert done.returncode == 4
    assert "--yes" in done.stderr
    assert leases(tmp_path) == []


def test_a_dry_run_shows_the_steps_and_does_none(tmp_path):
    (tmp_path / "thunder.toml").write_text(SPEC)
    outcome = json.loads(thunderctl(tmp_path, "up", "--dry-run", "--json").stdout)
    assert [step["what"] for step in outcome["steps"]] == ["lease"] * 3 + ["prepare"] * 3 + ["start"] * 3 + ["route"]
    assert {step["state"] for step in outcome["steps"]} == {"planned"}
    assert leases(tmp_path) == []


def test_a_market_that_cannot_be_rented_from_yet_is_said_before_anything_is_touched(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(plan_to_json(split_plan())))
    done = thunderctl(tmp_path, "up", "plan.json", "--yes", "--json")
    assert done.returncode == 1
    assert "can't rent from vast yet" in json.loads(done.stdout)["error"]["message"]
    assert leases(tmp_path) == []


@pytest.mark.parametrize("label", ["C0", "C1", "C3", "C4", "C5"])
def test_killed_at_any_point_of_leasing_down_leaves_nothing(tmp_path, planned, label):
    (tmp_path / "thunder.toml").write_text(SPEC)
    killed = thunderctl(tmp_path, "up", planned, "--yes", THUNDER_CRASH_AT=label)
    assert killed.returncode == -signal.SIGKILL
    assert thunderctl(tmp_path, "down", "--yes").returncode == 0
    assert leases(tmp_path) == []
    assert [path for path in (tmp_path / "state" / "local").iterdir() if path.is_dir()] == []


@pytest.mark.engine
def test_an_engine_that_dies_shows_why_and_down_leaves_nothing(tmp_path):
    broken = SPEC.replace("max_model_len = 4096", 'max_model_len = 4096\nextra_args = ["--max-num-seqs=0"]')
    (tmp_path / "thunder.toml").write_text(broken.replace("0.06 ", "0.02 "))
    done = thunderctl(tmp_path, "up", "--yes")
    assert done.returncode == 1
    assert "ended before it was ready" in done.stderr
    assert "max_num_seqs" in done.stderr
    assert "thunderctl logs" in done.stderr
    assert "thunderctl down" in done.stderr
    assert len(leases(tmp_path)) == 1
    assert thunderctl(tmp_path, "down", "--yes").returncode == 0
    assert leases(tmp_path) == []
    assert [path for path in (tmp_path / "state" / "local").iterdir() if path.is_dir()] == []


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_streams_outlive_a_decode_engine_that_is_killed(tmp_path):
    """Row 2: of four greedy streams two were on it, a chat and a completion, and no client can tell which."""
    exact = SPEC.replace('"int4" ', '"raw" ').replace('preset = "conversation"', f'trace = "{EXAMPLES}/writing.csv"')
    (tmp_path / "thunder.toml").write_text(exact)
    try:
        up = thunderctl(tmp_path, "up", "--yes")
        assert up.returncode == 0, up.stderr
        status = json.loads(thunderctl(tmp_path, "status", "--json").stdout)
        decodes = [replica for replica in status["replicas"] if replica["phase"] == "decode"]
        assert len(decodes) == 2
        undisturbed = streams(status["endpoint"], lambda: None)
        disturbed = streams(status["endpoint"], lambda: os.kill(decodes[0]["pid"], signal.SIGKILL))
        assert disturbed == undisturbed
        assert [(ids, finish) for _, ids, finish, _ in disturbed] == [(1, ["length"])] * 4
        assert [written for *_, (_, written, _, _) in disturbed] == [SAYS["max_tokens"]] * 4
        assert broken_off(status["endpoint"], decodes[0]["id"]) == 2
    finally:
        thunderctl(tmp_path, "down", "--yes")
    assert leases(tmp_path) == []


def streams(endpoint, act):
    """Four streams at once, `act` in the midst of them: of each its text, ids, finish reasons and usage."""
    with ThreadPoolExecutor(4) as pool:
        asked = []
        for chat in (True, False, False, True):  # the routes' rotation gives each decode replica one of either
            begun = threading.Event()
            asked.append(pool.submit(stream, endpoint, chat, begun))
            assert begun.wait(timeout=120)
        act()
        return [answer.result(timeout=240) for answer in asked]


def stream(endpoint, chat, begun):
    with openai.OpenAI(base_url=endpoint, api_key="none", max_retries=0, timeout=240) as client:
        options = {"stream_options": {"include_usage": True}, "extra_body": {"ignore_eos": True}}
        if chat:
            message = {"role": "user", "content": "def read_lines(path):"}
            chunks = client.chat.completions.create(messages=[message], **SAYS, **options)
        else:
            chunks = client.completions.create(prompt="def read_lines(path):", **SAYS, **options)
        texts, ids, finish, usage = [], set(), [], None
        for chunk in chunks:
            begun.set()
            ids.add(chunk.id)
            usage = numbers(chunk.usage) if chunk.usage else usage
            for choice in chunk.choices:
                texts.append((choice.delta.content if chat else choice.text) or "")
                finish += [choice.finish_reason] if choice.finish_reason else []
        return "".join(texts), len(ids), finish, usage


def numbers(usage):
    """What a client is charged by. vLLM's chats have details beside that its completions lack; all of them are 0."""
    details = usage.prompt_tokens_details.model_dump()
    assert not any(count for name, count in details.items() if name != "cached_tokens")
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, details["cached_tokens"]


def broken_off(endpoint, replica):
    """Legs on a replica that failed, as the router counts them."""
    with urllib.request.urlopen(endpoint.replace("/v1", "/metrics")) as answer:
        lines = answer.read().decode().splitlines()
    wanted = f'thunder_leg_failures_total{{leg="decode",replica="{replica}"}} '
    return next((float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted)), 0)
