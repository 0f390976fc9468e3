"""`thunderctl bench` as a user meets it: against an endpoint on loopback that answers like one of ours."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from planner.document import plan_to_json
from runtime.files import write_json
from runtime.processes import own_process_id
from tests.planner.plans import split_plan
from thunderctl.cli.main import main
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState
from thunderctl.world import open_world

PLAN = replace(split_plan(), plan_id="planned")
TRACE = "arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{100 + i / 20},{50 + i},{2 + i % 3}\n" for i in range(12))
EVENT = b'data: {"choices": [{"text": "x"}]}\n\n'


class Endpoint:
    """Answers in a thread of its own; every third request is refused once `refuses` is set."""

    def __init__(self):
        self.bodies, self.keys, self.refuses, self.hangs = [], set(), False, False
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def _serve(self):
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._complete)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01)
        self._loop.run_until_complete(self._runner.setup())
        self._loop.run_until_complete(web.TCPSite(self._runner, "127.0.0.1", 0).start())
        self.port = self._runner.addresses[0][1]
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _models(self, request):
        if self.keys and request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.keys:
            return web.json_response({"error": {"message": "No API key was given"}}, status=401)
        return web.json_response({"data": [{"id": "llama-served"}]})

    async def _complete(self, request):
        body = await request.json()
        self.bodies.append(body)
        if self.refuses and len(self.bodies) % 3 == 0:
            return web.json_response({"error": {"message": "no room", "code": "overloaded"}}, status=503)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if self.hangs and len(self.bodies) > 5:
            await asyncio.sleep(600)
        for _ in range(body["max_tokens"]):
            await response.write(EVENT)
        await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
def endpoint():
    made = Endpoint()
    yield made
    made.close()


@pytest.fixture
def serving(tmp_path, monkeypatch, endpoint):
    """A deployment whose router seems to be this process, listening where the endpoint does."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.csv").write_text(TRACE)
    with open_world("default") as world:
        world.store.save_plan(PLAN.plan_id, "default", plan_to_json(PLAN))
        world.store.save_deployment(Deployment("default", DeploymentState.SERVING, epoch=1, plan_id=PLAN.plan_id))
        me = own_process_id()
        world.router.folder.mkdir(parents=True)
        listening = {"host": "127.0.0.1", "port": endpoint.port}
        write_json(world.router.folder / "router.json", {"pid": me.pid, "started_at": me.started_at, **listening})
        (world.router.folder / "admin.token").write_text("t")
    return endpoint


def bench(capsys, *flags, code=0):
    with pytest.raises(SystemExit) as ended:
        main(["bench", *flags])
    shown = capsys.readouterr()
    assert (ended.value.code or 0) == code, shown.err
    return shown


def test_it_sends_the_trace_and_reports_measured_beside_predicted(serving, capsys):
    found = json.loads(bench(capsys, "--trace", "trace.csv", "--json").out)
    assert sorted(len(body["prompt"]) for body in serving.bodies) == list(range(50, 62))
    assert {body["model"] for body in serving.bodies} == {"llama-served"}
    assert all(body["stream"] and body["max_tokens"] == body["min_tokens"] for body in serving.bodies)
    assert (found["requests"], found["completed"], found["failed"]) == (12, 12, 0)
    assert found["predicted"]["goodput_rps"] == PLAN.predicted.goodput_rps
    assert found["plan_id"] == "planned"
    assert found["simulated"]["completed"] == 12
    assert 0.5 <= found["wall_s"] < 60


def test_the_table_is_for_people_and_refusals_are_in_it(serving, capsys):
    serving.refuses = True
    shown = bench(capsys, "--rate", "40", "--duration", "1")
    assert "measured   simulated   ratio   the plan" in shown.out
    assert "503 overloaded" in shown.out
    assert "Sending 40 requests" in shown.err


def test_beside_a_plan_for_what_was_observed_requests_are_as_the_spec_says(serving, capsys):
    """As a rebalance leaves it: the plan keeps means of what was observed, and no lengths."""
    plan = replace(PLAN, plan_id="rebalanced", workload=replace(PLAN.workload, name="observed"))
    with Store() as store:
        store.save_plan(plan.plan_id, "default", plan_to_json(plan))
        stated = {"workload": {"trace": str(Path("trace.csv").resolve())}}
        store.save_deployment(replace(store.deployment("default"), plan_id=plan.plan_id, spec=stated))
    shown = bench(capsys, "--rate", "40", "--duration", "1")
    assert {len(body["prompt"]) for body in serving.bodies} <= set(range(50, 62))
    assert "made for observed, whose lengths it does not hold" in shown.err


@pytest.mark.parametrize("given", ["flag", "environment"])
def test_it_takes_a_client_key_from_flag_or_environment_and_never_prints_it(serving, capsys, monkeypatch, given):
    serving.keys.add("sk-secret")
    refused = bench(capsys, "--trace", "trace.csv", "--json", code=2)
    assert "asks for a client key" in json.loads(refused.out)["error"]["message"]
    if given == "environment":
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    shown = bench(capsys, "--trace", "trace.csv", *(["--api-key", "sk-secret"] if given == "flag" else []))
    assert "sk-secret" not in shown.out + shown.err


def test_where_nothing_serves_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    shown = bench(capsys, "--json", code=4)
    assert "not serving" in json.loads(shown.out)["error"]["message"]


def test_interrupted_it_reports_what_was_measured_so_far(serving, tmp_path):
    serving.hangs = True
    with Store() as store:
        assert store.deployment("default").plan_id == PLAN.plan_id
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "thunderctl", "bench", "--rate", "20", "--duration", "600", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "THUNDER_HOME": str(tmp_path / "home")},
        text=True,
    )
    deadline = time.monotonic() + 120
    while len(serving.bodies) < 12 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    found = json.loads(out)
    assert found["interrupted"]
    assert found["completed"] == 5
    assert found["under_way"] >= 6
    assert found["ttft_p50_s"] > 0
    assert "Interrupted" not in err
