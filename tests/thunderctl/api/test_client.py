"""Commands for a controller elsewhere: what they print is what that says, and what they ask is done there."""

import asyncio
import json
import threading
from contextlib import contextmanager

import pytest

from planner.errors import HostError, Incomplete
from tests.thunderctl.api.serving import TOKEN, Made, served
from thunderctl.api.client import Api
from thunderctl.api.jobs import SAID_BYTES, Narration
from thunderctl.cli import following
from thunderctl.cli.main import main
from thunderctl.secrets import Secret

DONE = {"state": "done", "exit_code": 0, "result": None}


@contextmanager
def in_a_thread(folder, source, **known):
    """The server, beside commands that block."""
    loop, started, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found = []

    async def serve():
        async with served(folder, source, **known) as api:
            found.append(api.url)
            started.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(30)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)
        loop.close()


@pytest.fixture(scope="module")
def source():
    return Made()


@pytest.fixture(scope="module")
def url(tmp_path_factory, source):
    with in_a_thread(tmp_path_factory.mktemp("api"), source) as url:
        yield url


@pytest.fixture
def run(monkeypatch, tmp_path, capsys, url):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("THUNDER_API_URL", url)
    monkeypatch.setenv("THUNDER_API_TOKEN", TOKEN)

    def command(*words, code=0):
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        said = capsys.readouterr()
        assert (ended.value.code or 0) == code, said
        assert not (tmp_path / "home").exists(), "nothing of this machine is touched"
        return said

    return command


def test_status_there_is_shown_as_here(run, source):
    assert json.loads(run("status", "--json").out) == source.document
    assert "r0" in run("status", "--once").out


def test_events_leases_and_history_there_are_printed(run, source):
    source.happens("step", "it was leased")
    assert json.loads(run("events", "--json").out)["events"][-1]["message"] == "it was leased"
    assert "it was leased" in run("events").out
    assert json.loads(run("leases", "--json").out)["schema"] == "thunder.leases/v1"
    assert "Leases" in run("leases").out
    assert json.loads(run("history", "--json").out)["plans"] == []
    run("history")


def test_a_change_is_made_there_and_followed_to_its_end(run):
    said = run("down", "--yes", "--json")
    assert json.loads(said.out)["words"] == ["--deployment", "d", "down", "--yes", "--json"]
    assert said.err == "begun\n"


def test_of_a_long_narration_every_line_is_told_once(monkeypatch, tmp_path):
    """What is remembered of it is its end: that moves on from one look to the next."""
    looks = []
    with (tmp_path / "narrated").open("w+b") as narrated:
        narration = Narration(narrated)
        for begin, end, state in (
            (0, 3, "running"),
            (3, 1200, "running"),
            (1200, 2400, "running"),
            (2400, 2401, "done"),
        ):
            narrated.write(b"".join(b"line %d\n" % number for number in range(begin, end)))
            narrated.flush()
            said, before = narration.look()
            assert len(said) <= SAID_BYTES
            looks.append({"id": "j", "state": state, "said": said, "said_from_line": before})
    told, answers = [], iter(looks)
    monkeypatch.setattr(Api, "asked", lambda *_, **__: _at_once(next(answers)))
    Api("http://127.0.0.1:1", Secret("t")).change("up", {}, told.append)
    assert told == [f"line {number}" for number in range(2401)]
    assert looks[-1]["said_from_line"] > 0


async def _at_once(answer):
    return answer


def test_no_change_is_made_that_nobody_agreed_to(run, source):
    before = len(source.told)
    assert "--yes" in run("down", code=4).err
    assert len(source.told) == before


def test_what_was_refused_there_ends_the_command_as_it_would_here(run):
    said = run("up", "nowhere", "--dry-run", "--json", code=2)
    assert json.loads(said.out)["error"] == {"kind": "SpecError", "message": "no plan nowhere", "hint": "see history"}


def test_what_is_of_this_machine_is_refused(run):
    assert "--links" in run("rebalance", "--links", "links.csv", code=2).err
    assert "--report" in run("leases", "--report", code=2).err
    assert "--spec" in run("up", "--spec", "thunder.toml", code=2).err
    for command in (["gc"], ["logs"], ["ssh", "i0"], ["keys", "list"], ["bench"]):
        assert "THUNDER_API_URL" in run(*command, code=2).err


def test_a_token_that_is_wrong_or_missing_is_said_with_its_mend(run, monkeypatch):
    monkeypatch.setenv("THUNDER_API_TOKEN", "wrong")
    said = run("down", "--yes", code=2).err
    assert "does not take the token" in said
    assert "api.token" in said
    monkeypatch.delenv("THUNDER_API_TOKEN")
    assert "wants a token" in run("rebalance", "--yes", code=2).err
    run("status", "--json")


def test_a_controller_that_is_not_there_is_said(run, monkeypatch):
    monkeypatch.setenv("THUNDER_API_URL", "http://127.0.0.1:1")
    said = run("status", "--json", code=1)
    assert "http://127.0.0.1:1 can't be reached" in json.loads(said.out)["error"]["message"]


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8100", "ftp://x", "http://controller.example:8100", "http://", "http://user@127.0.0.1:1"]
)
def test_an_address_by_which_no_token_goes_is_refused(run, monkeypatch, url):
    monkeypatch.setenv("THUNDER_API_URL", url)
    assert "THUNDER_API_URL" in run("status", code=2).err


def test_what_answers_and_is_no_controller_is_said(run, monkeypatch, url):
    monkeypatch.setenv("THUNDER_API_URL", f"{url}/metrics?x=")
    run("status", code=2)
    monkeypatch.setenv("THUNDER_API_URL", f"{url}/elsewhere")
    run("status", code=1)


def test_a_store_that_is_down_there_is_said(run, source):
    source.down = "its disk is full"
    try:
        assert "its disk is full" in run("status", code=1).err
    finally:
        source.down = ""


def test_an_up_of_nothing_asks_for_no_money(run, monkeypatch):
    """There is nobody to answer a question here, so one would end the command."""
    monkeypatch.setattr(Api, "change", lambda *_: DONE)
    monkeypatch.setattr(Api, "post", lambda *_: {"steps": []})
    run("up")
    monkeypatch.setattr(Api, "post", lambda *_: {"steps": [{"what": "lease", "id": "i0", "detail": ""}]})
    assert "--yes" in run("up", code=4).err


def test_who_follows_events_there_goes_on_when_the_controller_is_back(run, monkeypatch):
    """It is said once that it is away, and what happened meanwhile is told."""
    before = {"id": 1, "at": "t", "kind": "step", "message": "before"}
    after = {"id": 2, "at": "t", "kind": "step", "message": "afterwards"}
    answers = iter([[before], HostError("Away."), HostError("Away."), [after]])

    def events(*_, since, **__):
        assert since > 0
        answer = next(answers, KeyboardInterrupt())
        if isinstance(answer, BaseException):
            raise answer
        return {"events": answer}

    monkeypatch.setattr(Api, "get", events)
    monkeypatch.setattr(following, "EVERY_S", 0.0)
    said = run("events", "-f", "--since", "5m", code=130)
    assert [line.split()[-1] for line in said.out.splitlines()] == ["before", "afterwards"]
    assert said.err.count("Away. It is tried again.") == 1


def test_an_up_is_asked_for_though_its_preview_can_not_tell_yet_what_is_left(run, monkeypatch):
    """A machine is slow to go: a preview gives up, where the command itself waits."""
    asked = []

    def unknown(*_):
        raise Incomplete("What vast has is not known.")

    monkeypatch.setattr(Api, "change", lambda _, action, *__: asked.append(action) or DONE)
    monkeypatch.setattr(Api, "post", unknown)
    assert "What vast has is not known." in run("up", "--yes").err
    assert asked == ["up"]
    assert "--yes" in run("up", code=4).err
    run("up", "--dry-run", code=5)
    assert asked == ["up"]
