"""The GPU kernels compile for a real GPU, which compiling needs none for, and round each operation on its own there."""

import json
import os
import subprocess
import sys
from itertools import product

import pytest

triton_backends = pytest.importorskip("triton.backends")

pytestmark = [
    pytest.mark.engine_env,
    pytest.mark.skipif("nvidia" not in triton_backends.backends, reason="this Triton can't compile for NVIDIA GPUs"),
]

H100 = 90
KINDS = list(product(("encode", "decode"), ((True, 15), (False, 15), (False, 255)), (True, False)))
SCRIPT = """
import json, sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from runtime.codec import kernels

def ptx(name, by_channel, levels, is_bf16):
    kernel = getattr(kernels, name)
    constants = {"by_channel": by_channel, "levels": levels, "is_bf16": is_bf16}
    constants |= {"token_block": 64, "pair_block": 32, "aligned": True}
    types = dict.fromkeys(kernel.arg_names, "i32") | dict.fromkeys(constants, "constexpr")
    types |= {"words": "*i32", "payload": "*u8"} | ({"refused": "*i32"} if name == "encode" else {})
    source = ASTSource(kernel, types, constants)
    return compile(source, target=GPUTarget("cuda", CAPABILITY, 32), options={"enable_fp_fusion": False}).asm["ptx"]

print(json.dumps([ptx(name, *kind, is_bf16) for name, kind, is_bf16 in json.loads(sys.argv[1])]))
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """PTX of every kind of kernel, from a process where Triton's interpreter is not in force."""
    surroundings = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("CAPABILITY", str(H100)), json.dumps(KINDS)],
        env=surroundings | {"TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(KINDS, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_no_operation_is_fused_approximate_or_blind_to_denormals(code, kind):
    ptx = code[kind]
    assert "add.rn.f32" in ptx
    assert ("div.rn.f32" in ptx) == (kind[0] == "encode")
    assert not [word for word in ("fma.", "div.full", "div.approx", "rcp.", ".ftz") if word in ptx]


@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_is_read_and_written_in_words_of_32_bits(code, kind):
    word = "ld.global.b32" if kind[0] == "encode" else "st.global.b32"
    assert word in code[kind] or word.replace("b32", "v4.b32") in code[kind]
