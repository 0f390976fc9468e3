"""The API of a real controller, in a process of its own: it serves, writes down what is asked, and ends by `down`."""

import json
import urllib.request

import pytest

from tests.operating import Operator, until


@pytest.fixture
def operator(tmp_path):
    user = Operator(tmp_path)
    (tmp_path / "deployments" / "default" / "controller").mkdir(parents=True)
    process = user.start("run", "controller", "--tick-s", "0.2")
    yield user
    process.kill()
    process.communicate()
    user.end_all()


def ask(url, body=None, token=""):
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


def test_a_controller_serves_its_api_and_a_down_asked_for_there_is_told_to_its_end(operator):
    folder = operator.home / "deployments" / "default" / "controller"
    report = folder / "controller.json"
    url = until(lambda: report.exists() and json.loads(report.read_text())["api"], 60)
    token = (folder / "api.token").read_text().strip()
    said = ask(f"{url}/api/v1/status")
    assert (said["state"], said["controller"]["api"]) == ("absent", url)
    printed = operator.json("status")
    assert set(printed) == set(said)
    job = ask(f"{url}/api/v1/down", {}, token)
    while job["state"] == "running":
        job = ask(f"{url}/api/v1/jobs/{job['id']}?wait_s=60")
    assert job["state"] in ("ending", "done")
    until(lambda: not folder.exists(), 60)
    kinds = [(one["kind"], one["message"]) for one in operator.json("events")["events"]]
    assert kinds[0] == ("audit", "operator (token) at 127.0.0.1: down accepted")
    assert ("down", "everything is released and proven gone") in kinds
