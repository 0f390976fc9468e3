"""What several tests of the router stand on."""

import pytest

from tests.fakes import FakeEngine, serving


@pytest.fixture
async def pair():
    """One prefill and one decode engine."""
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d")}
    async with serving(*engines.values()):
        yield engines
