"""Two agents of a deployment, as most tests of the relay have them."""

import pytest

from tests.runtime.relaying import Site, credentials_in


@pytest.fixture(scope="module")
def credentials(tmp_path_factory):
    return credentials_in(tmp_path_factory.mktemp("tls"), ("p", "d", "imposter"))


@pytest.fixture
async def prefill(credentials, tmp_path):
    site = await Site(credentials, tmp_path, "p").start()
    yield site
    await site.stop()


@pytest.fixture
async def decode(credentials, tmp_path):
    site = await Site(credentials, tmp_path, "d").start()
    yield site
    await site.stop()
