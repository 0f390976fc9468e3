"""Where a router is, by what earlier versions wrote down too."""

import json
from dataclasses import asdict

import pytest

from runtime.processes import own_process_id
from thunderctl.processes.router_process import RouterProcess
from thunderctl.spec.places import HERE


@pytest.mark.parametrize(
    ("written", "place", "is_misplaced"),
    [
        ({"place": "ssh:lab1"}, "ssh:lab1", False),
        ({"place": "ssh:lab1"}, "ssh:lab2", True),
        ({"place": "ssh:lab1"}, HERE, True),
        ({}, HERE, False),
        ({}, "ssh:lab1", True),
        ({"place": "ssh:old-name", "at": "me@lab1:22"}, "ssh:lab1", False),
        ({"place": "ssh:lab1", "at": "me@elsewhere:22"}, "ssh:lab1", True),
    ],
)
def test_a_router_is_told_to_move_only_where_its_host_is_another(tmp_path, written, place, is_misplaced):
    """A link of a version that wrote no address is told by its place."""
    where = {"host": "127.0.0.1", "port": 1, "tls_cert": "", "stop_grace_s": 5.0}
    (tmp_path / "router.json").write_text(json.dumps({**asdict(own_process_id()), **where, **written}))
    router = RouterProcess(tmp_path, tmp_path / "keys.json", lambda _: "me@lab1:22")
    assert router._is_misplaced(place) == is_misplaced
