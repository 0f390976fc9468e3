import pytest

from planner.errors import SpecError
from planner.families.config import ModelConfig
from planner.families.stored import stored_dtype


def stored(**config) -> str:
    return stored_dtype(ModelConfig("m", config))


def compressed(*kinds: tuple[int, str]) -> dict:
    groups = {f"group_{i}": {"weights": {"num_bits": bits, "type": kind}} for i, (bits, kind) in enumerate(kinds)}
    return {"quant_method": "compressed-tensors", "config_groups": groups}


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({}, "bfloat16"),
        ({"torch_dtype": "float16"}, "float16"),
        ({"dtype": "float32"}, "float32"),
        ({"torch_dtype": "float16", "quantization_config": None}, "float16"),
        ({"torch_dtype": "float16", "quantization_config": {"quant_method": "awq", "bits": 4}}, "awq"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}, "gptq"),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, "fp8"),
        ({"quantization_config": {"quant_method": "fbgemm_fp8"}}, "fp8"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4"),
        ({"quantization_config": compressed((8, "float"), (8, "float"))}, "fp8"),
        ({"quantization_config": compressed((4, "int"))}, "int4"),
    ],
)
def test_a_config_says_how_its_weights_are_stored(config, dtype):
    assert stored(**config) == dtype


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"torch_dtype": "int3"}, "dtype 'int3'; expected one of float32"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quant_method 'bitsandbytes'; expected one of awq"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 8}}, "gptq weights of 8 bits; expected 4"),
        ({"quantization_config": "awq"}, "quantization_config 'awq'; expected an object"),
        ({"quantization_config": compressed((8, "int"))}, r"\(8, 'int'\)\]; expected 8-bit float or 4-bit int"),
        ({"quantization_config": compressed((8, "float"), (4, "int"))}, "expected 8-bit float or 4-bit int"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, r"\[\]; expected 8-bit float"),
        ({"quantization_config": compressed((8, "float")) | {"config_groups": {"a": 1}}}, "expected 8-bit float"),
    ],
)
def test_what_cannot_be_planned_is_an_error(config, message):
    with pytest.raises(SpecError, match=message):
        stored(**config)
