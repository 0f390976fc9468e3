"""Logs of several machines and of this host: together, by name, and while machines come and go."""

import asyncio
import subprocess
from dataclasses import replace

import pytest

from planner.deployment import Replica
from planner.document import plan_to_json
from planner.errors import HostError, SpecError
from provisioners.base import Label, Machine
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.transport import Completed
from tests.planner.plans import split_plan
from tests.provisioners.fakes import OWNER, FakeClock, FakeCloud
from tests.virtual_time import VirtualLoop
from thunderctl.logs import places
from thunderctl.logs.following import Logs
from thunderctl.logs.places import wanted_logs
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState
from thunderctl.world import World


class FolderTransport:
    """Runs what it is told in a folder, unless the machine is silent."""

    def __init__(self, folder, silent):
        self.folder, self.silent = folder, silent

    async def run(self, command, *, timeout_s, stdin=b""):
        if self.folder.name in self.silent:
            raise HostError(f"{self.folder.name} can't be reached: no answer within 15 s.")
        done = subprocess.run(["/bin/sh", "-c", command], cwd=self.folder, capture_output=True, check=False)
        return Completed(done.returncode, done.stdout, done.stderr)


class Cloud(FakeCloud):
    """Its machines are folders."""

    def __init__(self, root):
        super().__init__(FakeClock(), provider="vast", consistent=True)
        self.root, self.silent = root, set()

    def transport(self, machine):
        return FolderTransport(self.root / machine.provider_id, self.silent)


class Fleet:
    """A deployment whose plan has r0 and r1 on i0 and r2 on i1; what `logs` shows and says of it."""

    def __init__(self, root, store):
        self.cloud, self.store, self.shown, self.said = Cloud(root), store, [], []
        self.world = World("d", store, root / "d")
        self.world._provisioners["vast"] = self.cloud
        for folder in ("router", "controller"):
            (self.world.folder / folder).mkdir(parents=True)
        plan = split_plan()
        *two, mixed = plan.replicas
        plan = replace(plan, replicas=(*two, Replica("r2", mixed.phase, mixed.stages[:1], 1.0, 9000)))
        plan = replace(plan, instances=plan.instances[:2])
        store.save_plan(plan.plan_id, "d", plan_to_json(plan))
        store.save_deployment(Deployment("d", DeploymentState.SERVING, plan_id=plan.plan_id))
        self.write("router/router.log", "router says\n")
        for instance in ("i0", "i1"):
            self.lease(instance)
        self.write("i0/agent", "agent of i0\n")
        self.write("i1/agent", "agent of i1\n")
        self.write("i0/r0", "one of r0\ntwo of r0\n")
        self.write("i1/r2", "one of r2\n")

    def lease(self, instance):
        label = str(Label(OWNER, "d", f"l-{instance}"))
        row = LeaseRow(
            f"l-{instance}", OWNER, "d", "p", instance, "vast", "here", "o", label, 1.0, LeaseState.READY, 1.0
        )
        self.store.add_lease(replace(row, provider_id=instance))
        self.cloud.machines[instance] = Machine(instance, label, "running", 1.0, "10.0.0.1")
        (self.cloud.root / instance / "logs").mkdir(parents=True)

    def release(self, instance):
        row = next(row for row in self.store.leases("d") if row.instance == instance)
        self.store.update_lease(row.moved(LeaseState.GONE, reason="down"), was=row.state)
        del self.cloud.machines[instance]

    def write(self, where, text):
        place, _, name = where.partition("/")
        path = self.world.folder / where if name.endswith(".log") else self.cloud.root / place / "logs" / f"{name}.log"
        with path.open("a") as file:
            file.write(text)

    def logs(self, *names, lines=10):
        return Logs(
            self.world,
            wanted_logs(self.world, names),
            lines,
            lambda name, lines: self.shown.extend(f"{name} | {line}" for line in lines),
            self.said.append,
        )

    def read(self, *names, lines=10):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(self.logs(*names, lines=lines).read())
        return self.shown

    def follow(self, *names, until_s=60.0, **then):
        """Follow for so long; `at_5=…` is done after five seconds. True when it ended by itself."""

        async def go():
            loop = asyncio.get_running_loop()
            for name, action in then.items():
                loop.call_later(float(name.removeprefix("at_")), action)
            await asyncio.wait_for(self.logs(*names).follow(), until_s)

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            try:
                runner.run(go())
            except TimeoutError:
                return False
            return True


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    monkeypatch.setattr(places, "LocalTransport", lambda folder, _: FolderTransport(folder, set()))
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        yield Fleet(tmp_path / "machines", store)


def test_without_a_name_all_are_shown_place_after_place(fleet):
    assert fleet.read() == [
        "router | router says",
        "i0 | agent of i0",
        "r0 | one of r0",
        "r0 | two of r0",
        "i1 | agent of i1",
        "r2 | one of r2",
    ]


def test_a_replica_an_instance_and_the_router_by_their_names(fleet):
    assert fleet.read("r2", "i0", "router", lines=1) == ["router | router says", "i0 | agent of i0", "r2 | one of r2"]
    assert fleet.read("l-i1")[3:] == ["i1 | agent of i1"]


def test_only_the_end_of_a_long_log_is_shown_and_a_last_line_without_an_end(fleet):
    fleet.write("i0/r0", "three of r0\nunfinished")
    assert fleet.read("r0", lines=2) == ["r0 | three of r0", "r0 | unfinished"]


def test_an_engine_that_the_plan_does_not_know_is_found_where_its_log_lies(fleet):
    fleet.write("i1/r9", "of an earlier plan\n")
    assert fleet.read("r9") == ["i1/r9 | of an earlier plan"]


def test_a_name_of_nothing_is_refused_with_what_there_is(fleet):
    with pytest.raises(SpecError, match=r"Nothing here is called 'r7'; expected one of i0, i1, r0, r1, r2, router"):
        fleet.read("r7")
    with pytest.raises(SpecError, match="Nothing can be called"):
        fleet.read("../etc/passwd")
    assert not fleet.shown


def test_a_replica_that_has_no_log_yet_is_said(fleet):
    assert fleet.read("r1") == []
    assert fleet.said == ["r1 has no log yet."]


def test_where_nothing_ever_ran_that_is_said(fleet):
    for instance in ("i0", "i1"):
        fleet.release(instance)
    (fleet.world.folder / "router" / "router.log").unlink()
    assert fleet.read() == []
    assert fleet.said == ["There are no logs yet."]


def test_a_machine_that_is_silent_is_named_and_the_others_are_shown(fleet):
    fleet.cloud.silent.add("i0")
    assert fleet.read("r0", "r2") == ["r2 | one of r2"]
    assert "i0 can't be reached" in fleet.said[0]
    with pytest.raises(HostError, match="i0 can't be reached"):
        fleet.read("r0")


def test_a_machine_that_is_not_listed_is_named(fleet):
    del fleet.cloud.machines["i0"]
    assert fleet.read("r0", "r2") == ["r2 | one of r2"]
    assert fleet.said[0] == "i0 (ready) can't be reached: vast does not list it."


def test_what_is_added_is_shown_as_it_comes(fleet):
    ended = fleet.follow(
        "r0",
        "r2",
        at_3=lambda: fleet.write("i0/r0", "three of r0\nbegun"),
        at_5=lambda: fleet.write("i0/r0", " and ended\n"),
        at_6=lambda: fleet.write("i1/r2", "two of r2\n"),
    )
    assert not ended
    assert sorted(fleet.shown[:3]) == ["r0 | one of r0", "r0 | two of r0", "r2 | one of r2"]
    assert fleet.shown[3:] == ["r0 | three of r0", "r0 | begun and ended", "r2 | two of r2"]


def test_a_log_that_is_moved_aside_while_it_is_followed_loses_nothing(fleet):
    log = fleet.cloud.root / "i0" / "logs" / "agent.log"

    def move_aside():
        fleet.write("i0/agent", "before\n")
        log.with_name("agent.log.1").write_text(log.read_text())
        log.write_text("after\n")

    fleet.follow("i0", at_4=move_aside)
    assert fleet.shown == ["i0 | agent of i0", "i0 | before", "i0 | after"]


def test_a_machine_that_goes_silent_is_said_once_and_holds_up_no_other(fleet):
    fleet.follow(
        at_3=lambda: fleet.cloud.silent.add("i0"),
        at_20=lambda: fleet.write("i1/r2", "still here\n"),
        at_25=lambda: fleet.write("i0/r0", "meanwhile\n"),
        at_40=lambda: fleet.cloud.silent.clear(),
    )
    assert fleet.shown[6:] == ["r2 | still here", "r0 | meanwhile"]
    assert fleet.said == [
        "i0 is silent: i0 can't be reached: no answer within 15 s. It is asked again every 5 s.",
        "i0 answers again.",
    ]


def test_machines_that_come_are_followed_from_their_first_line_and_those_that_go_are_let_go(fleet):
    def replace_i1():
        fleet.write("i1/r2", "last words")
        fleet.release("i1")
        fleet.lease("i2")
        fleet.write("i2/agent", "".join(f"line {number}\n" for number in range(30)))

    fleet.follow(at_5=replace_i1)
    assert "i1 is gone: its lease has ended." in fleet.said
    assert "r2 | last words" in fleet.shown
    assert [line for line in fleet.shown if line.startswith("i2")] == [f"i2 | line {number}" for number in range(30)]


def test_it_ends_when_nothing_that_was_asked_for_is_left(fleet):
    assert fleet.follow("i1", at_5=lambda: fleet.release("i1"), until_s=100)
    assert fleet.said == ["i1 is gone: its lease has ended."]


def test_a_name_of_nothing_is_not_waited_for(fleet):
    with pytest.raises(SpecError, match="Nothing here is called 'r7'"):
        fleet.follow("r7")


def test_a_failure_of_ours_is_no_silence(fleet, monkeypatch):
    async def broken(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr(FolderTransport, "run", broken)
    with pytest.raises(BrokenPipeError):
        fleet.follow()
