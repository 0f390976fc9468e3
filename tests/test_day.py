"""A user's day on the embedded default: offers, plan, up, chat, rebalance under load, status, down, nothing left.

Real engines, a real transfer, the real command line in its own processes, and the official client. The tests below are
one life and run in order; the deployment is brought up once.
"""

import asyncio
import http.client
import json
import shutil
import signal
import tempfile
import time
from pathlib import Path

import openai
import pytest

from tests import real_api, real_surface
from tests.engine_client import engine_client, with_engine_args
from tests.operating import Operator, kv_bytes_received, until

ROOT = Path(__file__).parents[1]
SPEC = ROOT / "examples" / "local.toml"
WRITING = ROOT / "examples" / "writing.csv"
PROMPT = "def read_lines(path):"

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def operator():
    home = Path(tempfile.mkdtemp(prefix="thunder-day."))
    user = Operator(home)
    yield user
    user.end_all()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def plan(operator):
    """As it is printed; the home has it and its spec as files."""
    spec = with_engine_args(SPEC.read_text())
    (operator.home / "day.toml").write_text(f"{spec}\n[controller]\nrebalance = false\n")
    return operator.json("plan", "--spec", "day.toml", "--out", "plan.json")


@pytest.fixture(scope="module")
def deployed(operator, plan):  # noqa: ARG001
    """The deployment, up: its first `up` is interrupted and the second one resumes it."""
    first = operator.start("up", "plan.json", "--spec", "day.toml", "--yes")
    until(lambda: len(operator.folders()) == 3)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert first.returncode == 130
    leased = {lease["id"] for lease in operator.json("leases")["leases"]}

    outcome = operator.json("up", "--yes")
    assert {step["state"] for step in outcome["steps"]} == {"done"}
    assert {one["lease_id"] for one in operator.look()["instances"]} == leased
    return operator


@pytest.fixture
def client(deployed):
    endpoint = deployed.look()["endpoint"]
    with openai.OpenAI(base_url=endpoint, api_key="none", max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture
def engine(deployed):
    """A client of an engine that decodes, asked directly."""
    decoding = next(replica["id"] for replica in deployed.look()["replicas"] if replica["phase"] == "decode")
    with engine_client(deployed.state, decoding) as made:
        yield made


def test_morning_the_local_market_sells_cores_at_a_notional_price(operator):
    offers = operator.json("offers", "--spec", str(SPEC))["offers"]
    assert offers
    assert {(offer["provider"], offer["gpu"], offer["usd_per_hour"]) for offer in offers} == {("local", "CPU", 0.02)}


def test_a_plan_splits_the_phases_within_the_budget_and_spends_nothing(operator, plan):
    assert {replica["phase"] for replica in plan["replicas"]} == {"prefill", "decode"}
    assert plan["cost_usd_per_hour"] <= plan["budget_usd_per_hour"] == 0.06
    assert operator.json("leases")["leases"] == []


def test_up_serves_three_replicas_and_again_does_nothing(deployed):
    status = deployed.json("status")
    assert status["state"] == "serving"
    assert len(status["replicas"]) == 3
    assert {replica["state"] for replica in status["replicas"]} == {"ready"}
    assert status["cost_usd_per_hour"] == pytest.approx(0.06)
    assert deployed.json("up", "--yes")["steps"] == []


def test_a_chat_is_answered_by_a_pair_over_a_kv_transfer(deployed, client):
    moved = kv_bytes_received(deployed.look())
    whole = client.chat.completions.create(
        model="tiny-llama", messages=[{"role": "user", "content": PROMPT}], max_tokens=24, temperature=0
    )
    stream = client.chat.completions.create(
        model="tiny-llama", messages=[{"role": "user", "content": PROMPT}], max_tokens=24, temperature=0, stream=True
    )
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert whole.choices[0].message.content == streamed
    assert whole.usage.completion_tokens == 24
    assert "kv_transfer_params" not in whole.model_extra or whole.model_extra["kv_transfer_params"] is None
    assert kv_bytes_received(deployed.look()) > moved


def test_usage_is_the_requests_and_not_a_legs(client):
    """Of a prompt whose KV came, a decode engine calls all cached: a client is told what prefill found in its cache."""
    asked = {"prompt": "total = add(total, 1)\n" * 40, "max_tokens": 6, "temperature": 0}
    first = real_surface.used(client, False, **asked)
    later = [real_surface.used(client, streamed, **asked) for streamed in (True, False, True)]
    two = real_surface.used(client, True, **asked | {"n": 2, "temperature": 1})
    alone = real_surface.used(client, False, **asked, echo=True)
    assert (first[1], first[2]) == (0, 6)
    assert {(prompt, output) for prompt, _, output in (first, *later, alone)} == {(first[0], 6)}
    assert (two[0], two[2]) == (first[0], 12)
    assert 0 < max(cached for _, cached, _ in later) < first[0]


def test_other_apis_are_answered_by_one_replica(client):
    asked = {"model": "tiny-llama", "input": PROMPT, "max_output_tokens": 8, "temperature": 0}
    whole = client.responses.create(**asked)
    events = list(client.responses.create(**asked, stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert (events[-1].type, events[-1].response.usage.output_tokens) == ("response.completed", 8)
    message = [{"role": "user", "content": PROMPT}]
    said = real_surface.post(_root(client), "/v1/messages", messages=message, max_tokens=8, temperature=0)
    assert (said[0], said[1]["content"][0]["text"], said[1]["usage"]["output_tokens"]) == (200, whole.output_text, 8)
    count = real_surface.post(_root(client), "/v1/messages/count_tokens", messages=message)
    assert (count[0], count[1]["input_tokens"]) == (200, said[1]["usage"]["input_tokens"])
    assert real_surface.post(_root(client), "/v1/messages", messages=message)[1]["type"] == "error"


def test_pictures_sounds_and_films_are_refused_clearly(client):
    assert set(real_surface.media_refusals(_root(client))) == {(400, "tiny-llama is not a multimodal model")}


@pytest.mark.parametrize("check", real_api.CHECKS, ids=lambda check: check.__name__)
def test_the_official_client_is_answered_as_by_one_engine(client, engine, check):
    check(client, engine)


def test_vllms_own_client_is_answered_every_request(client, tmp_path):
    found = real_surface.bench_serve(_root(client), tmp_path, 24)
    assert (found["completed"], found["failed"]) == (24, 0)
    assert found["total_output_tokens"] == 24 * 12


def test_requests_that_nobody_thought_of_hurt_no_engine(deployed, client):
    before = deployed.look()
    real_surface.fuzz(_root(client), 60)
    after = deployed.look()
    assert _identities(after) == _identities(before)
    assert {replica["state"] for replica in after["replicas"]} == {"ready"}


def test_a_rebalance_under_load_restarts_no_engine_and_loses_no_request(deployed, client):
    before = deployed.look()
    answers, rebalanced = asyncio.run(
        _load_across(str(client.base_url), lambda: deployed.json("rebalance", "--workload", str(WRITING), "--yes"))
    )
    after = deployed.look()

    assert rebalanced["flips"], "shorter prompts and longer answers want other phases"
    assert after["epoch"] == rebalanced["epoch"] > before["epoch"]
    assert _identities(after) == _identities(before)
    assert {r["id"]: r["phase"] for r in after["replicas"]} != {r["id"]: r["phase"] for r in before["replicas"]}
    assert len(answers) >= 20
    assert set(answers) == {(32, "length")}


def test_a_client_that_goes_away_leaves_nothing_running(deployed, client):
    prompt = "x = 1\n" * 200
    body = {"model": "tiny-llama", "prompt": prompt, "max_tokens": 2000, "stream": True, "ignore_eos": True}
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=60)
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.read(100)
    until(lambda: _running(deployed) > 0, seconds=15)
    connection.close()
    response.close()
    until(lambda: _running(deployed) == 0, seconds=15)


def test_status_prints_one_frame_for_people(deployed):
    frame = deployed.run("status", "--once")
    assert all(word in frame for word in ("serving", "prefill", "decode", "tiny-llama", "$0.060/h"))


def test_evening_down_leaves_nothing(deployed):
    deployed.run("down", "--yes")
    assert deployed.json("status")["state"] == "absent"
    leases = deployed.json("leases")
    assert (leases["leases"], leases["usd_per_hour"]) == ([], 0)
    assert deployed.folders() == []
    assert list((deployed.home / "deployments").rglob("*.key")) == []
    assert deployed.processes() == []
    deployed.run("down", "--yes")


async def _load_across(base_url: str, act):
    """Keep four streams going while `act` runs in a thread; each answer's (tokens, finish reason), and act's result."""
    stop = asyncio.Event()
    answers: list[tuple[int, str]] = []

    async def one_client(number: int) -> None:
        async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=120) as made:
            turn = 0
            while not stop.is_set():
                turn += 1
                prompt = f"# client {number} turn {turn}\n{PROMPT}"
                stream = await made.completions.create(
                    model="tiny-llama",
                    prompt=prompt,
                    max_tokens=32,
                    temperature=0,
                    stream=True,
                    stream_options={"include_usage": True},
                    extra_body={"ignore_eos": True},
                )
                finish, tokens = "", 0
                async for chunk in stream:
                    finish = next((c.finish_reason for c in chunk.choices if c.finish_reason), finish)
                    tokens = chunk.usage.completion_tokens if chunk.usage else tokens
                answers.append((tokens, finish))

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(one_client(number))
        await _until_async(lambda: len(answers) >= 8)
        outcome = await asyncio.to_thread(act)
        seen = len(answers)
        await _until_async(lambda: len(answers) >= seen + 12)
        stop.set()
    return answers, outcome


def _identities(status: dict) -> dict:
    return {replica["id"]: (replica["pid"], replica["started_at"]) for replica in status["replicas"]}


def _root(client: openai.OpenAI) -> str:
    return str(client.base_url).rstrip("/").removesuffix("/v1")


def _running(operator: Operator) -> int:
    return sum(replica["running"] + replica["waiting"] for replica in operator.look()["replicas"])


async def _until_async(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.05)
