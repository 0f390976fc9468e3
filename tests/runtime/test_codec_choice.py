"""Which implementation serves: the reference, until a quicker one is compiled and gives the same bytes."""

import logging

import pytest
import torch

from planner.errors import KvTransferError
from runtime.codec import compiled, reference
from runtime.codec.choice import KNOWN_PARTS, Choice, prove, quickest
from runtime.tiles.geometry import Geometry, Parts

pytestmark = pytest.mark.engine_env

CPU = torch.device("cpu")
GEOMETRY = Geometry(2, 2, 64, "bfloat16")
KNOWN = (GEOMETRY, Parts(0, 16, 48), *torch.ones(2, 1, 64, 64, dtype=torch.bfloat16))


class Counted:
    """A codec that counts how often it is asked."""

    def __init__(self):
        self.asked = 0

    def encode_tiles(self, *args):
        self.asked += 1
        return reference.encode_tiles(*args)

    def decode_tiles(self, *args):
        self.asked += 1
        return reference.decode_tiles(*args)


class OffByOne(Counted):
    def encode_tiles(self, *args):
        return super().encode_tiles(*args) ^ 1


def test_the_reference_serves_until_another_is_prepared():
    quick = Counted()
    choice = Choice(lambda: quick)
    payload = choice.encode_tiles(*KNOWN)
    assert quick.asked == 0
    choice.start().join()
    assert torch.equal(choice.encode_tiles(*KNOWN), payload)
    choice.decode_tiles(*KNOWN[:2], payload)
    assert quick.asked == 2


def test_the_reference_goes_on_serving_where_nothing_can_be_prepared(caplog):
    def fail():
        raise OSError("no compiler")

    choice = Choice(fail)
    with caplog.at_level(logging.ERROR):
        choice.start().join()
    assert "no compiler" in caplog.text
    assert torch.equal(choice.encode_tiles(*KNOWN), reference.encode_tiles(*KNOWN))


@pytest.mark.parametrize("parts", KNOWN_PARTS)
def test_an_implementation_with_other_bytes_is_not_taken(parts):
    prove(Counted(), GEOMETRY, parts, CPU)
    with pytest.raises(KvTransferError, match="other bytes than the reference"):
        prove(OffByOne(), GEOMETRY, parts, CPU)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_on_a_cpu_the_compiled_loops_are_the_quickest(dtype):
    assert quickest(Geometry(2, 2, 64, dtype), CPU) is compiled
