"""What runs beside the requests runs on, whatever goes wrong in it."""

import asyncio
from pathlib import Path

import pytest

from runtime.router import life
from runtime.router.choosing.prober import Prober
from runtime.router.choosing.queue_reader import QueueReader
from tests.fakes import FakeEngine, serving
from tests.runtime.routing import routes_document, routing, soon

LOCAL = [("m0", "m0", 1.0, "local")]


@pytest.mark.parametrize(("kind", "name"), [(Prober, "beat"), (QueueReader, "_beat")])
async def test_a_watcher_that_fails_is_begun_anew(tmp_path: Path, monkeypatch, caplog, kind: type, name: str):
    beat, failures, went_on = getattr(kind, name), [RuntimeError("unforeseen")], asyncio.Event()

    def beats(self, *words):
        if failures:
            raise failures.pop()
        beat(self, *words)
        went_on.set()

    monkeypatch.setattr(kind, name, beats)
    monkeypatch.setattr(life, "AGAIN_S", 0.0)
    engine = FakeEngine("m")
    async with serving(engine), routing(tmp_path, routes_document({"m0": engine}, LOCAL), probing=True):
        await soon(went_on)
    assert "unforeseen" in caplog.text
