"""An engine's end of the door when its agent is dead, mute or stuck: no call takes longer than it may."""

import json
import socket
import threading
import time

import pytest

from runtime.relay.door import AgentDoor
from runtime.relay.greeting import GREETING, LENGTH, MAGIC, VERSION
from runtime.relay.pool import Pool
from runtime.relay.session import AgentGone, AgentSlow, Session


def test_a_dead_agent_is_noticed_at_once(tmp_path):
    door = AgentDoor(str(tmp_path / "nobody.sock"), owner="engine", rank=None)
    started = time.monotonic()
    with pytest.raises(AgentGone):
        door.open()
    with pytest.raises(AgentGone):
        door.call("reserve", {}, timeout_s=5)
    assert not door.tell("note", {"what": "x"})
    assert time.monotonic() - started < 5


def test_an_agent_that_hangs_does_not_hang_the_engine(tmp_path):
    path, listener = str(tmp_path / "stuck.sock"), socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def greet_and_hang():
        connection, _ = listener.accept()
        greeting = GREETING.pack(MAGIC, VERSION, pool.size, b"0" * 16)
        socket.send_fds(connection, [greeting], [pool.fd])
        held.append(connection)

    held, pool = [], Pool(4096)
    thread = threading.Thread(target=greet_and_hang)
    thread.start()
    door = AgentDoor(path, owner="engine", rank=None)
    started = time.monotonic()
    door.open()
    with pytest.raises(AgentSlow):
        door.call("reserve", {}, timeout_s=0.2)
    assert time.monotonic() - started < 10
    door.close()
    thread.join()
    for part in (*held, listener):
        part.close()
    pool.close()


class Scripted:
    """An agent that answers what is asked by `answers`, in a thread of its own, and remembers the calls."""

    def __init__(self, path, answers):
        self.calls = []
        self._answers = answers
        self._pool = Pool(4096)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self):
        self._thread.join()
        self._listener.close()
        self._pool.close()

    def _serve(self):
        connection, _ = self._listener.accept()
        socket.send_fds(connection, [GREETING.pack(MAGIC, VERSION, self._pool.size, b"0" * 16)], [self._pool.fd])
        with connection, connection.makefile("rb") as said:
            while head := said.read(LENGTH.size):
                message = json.loads(said.read(LENGTH.unpack(head)[0]))
                self.calls.append(message["call"])
                for number in self._answers(message["call"], message["id"]):
                    answer = json.dumps({"id": number, "ok": True, "offset": 0, "length": 0}).encode()
                    connection.sendall(LENGTH.pack(len(answer)) + answer)


def test_a_connection_that_ends_at_once_never_takes_the_place_of_the_next_one(tmp_path, monkeypatch):
    """It would be there for good: nobody hears its end again, and every call would fail."""
    listened = []

    def listen(session):
        listened.append(door._session is session)
        started(session)

    started = Session.listen
    monkeypatch.setattr(Session, "listen", listen)
    agent = Scripted(str(tmp_path / "s"), lambda *_: [])
    door = AgentDoor(str(tmp_path / "s"), owner="engine", rank=0)
    door.open()
    door.close()
    agent.close()
    assert listened == [True]


def test_a_door_that_is_closed_while_it_opens_holds_no_connection(tmp_path, monkeypatch):
    agent = Scripted(str(tmp_path / "s"), lambda *_: [])
    door = AgentDoor(str(tmp_path / "s"), owner="engine", rank=0)
    monkeypatch.setattr(Session, "introduce", lambda *_: door.close())
    door.open()
    with pytest.raises(AgentGone):
        door.session()
    agent.close()  # returns once its one connection has ended


def test_what_takes_long_is_waited_for_as_long_as_the_agent_lives(tmp_path):
    """It answers only when it was asked three times whether it does."""
    asked = []

    def answers(call, number):
        asked.append(number)
        return [number, asked[1]] if call == "alive" and len(asked) == 5 else [number] * (call == "alive")

    agent = Scripted(str(tmp_path / "s"), answers)
    door = AgentDoor(str(tmp_path / "s"), owner="engine", rank=0)
    door.open()
    assert door.session().call_patiently("fetch", {}, every_s=0.05)["ok"]
    assert agent.calls == ["hello", "fetch", "alive", "alive", "alive"]
    door.close()
    agent.close()


def test_an_agent_that_does_not_even_say_that_it_lives_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("runtime.relay.session.ALIVE_S", 0.1)
    agent = Scripted(str(tmp_path / "s"), lambda *_: [])
    door = AgentDoor(str(tmp_path / "s"), owner="engine", rank=0)
    door.open()
    with pytest.raises(AgentSlow):
        door.session().call_patiently("fetch", {}, every_s=0.05)
    assert agent.calls == ["hello", "fetch", "alive"]
    door.close()
    agent.close()


def test_an_answer_too_late_of_an_agent_that_is_gone_costs_the_engine_no_later_agent(tmp_path, monkeypatch):
    """It can't be taken back any more; what listens for the next agent must live on."""
    monkeypatch.setattr("runtime.relay.door.RETRY_S", 0.01)
    path, listener = str(tmp_path / "agent.sock"), socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    pool = Pool(4096)

    def accepted():
        connection, _ = listener.accept()
        socket.send_fds(connection, [GREETING.pack(MAGIC, VERSION, pool.size, b"0" * 16)], [pool.fd])
        return connection

    door = AgentDoor(path, owner="engine", rank=None)
    opening = threading.Thread(target=door.open)
    opening.start()
    first = accepted()
    opening.join()
    with pytest.raises(AgentSlow):
        door.call("reserve", {}, timeout_s=0.01)
    session = door.session()
    monkeypatch.setattr(session, "tell", lambda *_: (_ for _ in ()).throw(AgentGone("gone")))
    late = json.dumps({"id": 2, "ok": True, "ticket": {"ticket": "0"}}).encode()
    first.sendall(LENGTH.pack(len(late)) + late)
    listener.settimeout(20)
    second = accepted()
    door.close()
    for part in (first, second, listener):
        part.close()
    pool.close()


def test_an_agent_that_accepts_and_says_nothing_does_not_hang_the_engine(tmp_path, monkeypatch):
    monkeypatch.setattr("runtime.relay.session.CONNECT_S", 0.2)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "mute.sock"))
    listener.listen()
    started = time.monotonic()
    with pytest.raises(AgentGone):
        AgentDoor(str(tmp_path / "mute.sock"), owner="engine", rank=None).open()
    assert time.monotonic() - started < 10
    listener.close()
