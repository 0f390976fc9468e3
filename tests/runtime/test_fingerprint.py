"""KV is bound to weights, settings, shape and tokens."""

import json
import struct
from pathlib import Path

import pytest

from runtime.fingerprint import EDGE_BYTES, SAMPLE_BYTES, binding, model_fingerprint
from runtime.tiles.geometry import Geometry

GEOMETRY = Geometry(8, 2, 64, "float16")
SIZES = {"embed": 8 * EDGE_BYTES, "norm": 64, "layer": 3 * EDGE_BYTES, "head": EDGE_BYTES + 2}


def weights(change=(), metadata="pt"):
    """A safetensors file of zeros. `change`: bytes that are not, as tensor and place in it."""
    table, data, at = {"__metadata__": {"format": metadata}}, bytearray(sum(SIZES.values())), 0
    for name, size in SIZES.items():
        table[name] = {"dtype": "I8", "shape": [size], "data_offsets": [at, at + size]}
        for _, place in (change,) if change and change[0] == name else ():
            data[at + place % size] = 1
        at += size
    header = json.dumps(table).encode()
    return struct.pack("<Q", len(header)) + header + bytes(data)


def model(folder: Path, *, data=None, name="model.safetensors", **config):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 256, **config}))
    (folder / name).write_bytes(data or weights())
    return str(folder)


def test_the_same_files_elsewhere_have_the_same_fingerprint(tmp_path):
    one = model_fingerprint(model(tmp_path / "one", transformers_version="5.1"), {"dtype": "float16"})
    assert one == model_fingerprint(model(tmp_path / "two", transformers_version="5.2"), {"dtype": "bfloat16"})


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("place", [0, EDGE_BYTES - 1, -EDGE_BYTES, -1])
def test_a_change_at_either_end_of_any_tensor_shows(tmp_path, name, place):
    tuned = model(tmp_path / "tuned", data=weights((name, place)))
    assert model_fingerprint(tuned) != model_fingerprint(model(tmp_path / "base"))


def test_other_files_names_and_settings_have_other_fingerprints(tmp_path):
    base = model(tmp_path / "base")
    prints = {
        model_fingerprint(base),
        model_fingerprint(base, {"rope_theta": 5e5}),
        model_fingerprint(base, {"rope_theta": 5e5, "rope_parameters": {"factor": 8}}),
        model_fingerprint(model(tmp_path / "named", name="other.safetensors")),
        model_fingerprint(model(tmp_path / "told", data=weights(metadata="np"))),
        model_fingerprint(model(tmp_path / "other", rope_theta=5e5)),
        model_fingerprint("org/name"),
        model_fingerprint("org/name", {"rope_theta": 5e5}),
        model_fingerprint("org/another"),
    }
    assert len(prints) == 9


def test_files_that_do_not_say_what_they_hold_are_sampled(tmp_path):
    data = bytearray(5 * SAMPLE_BYTES)
    base = model_fingerprint(model(tmp_path / "base", data=bytes(data), name="model.bin"))
    data[2 * SAMPLE_BYTES + 77] = 1
    assert model_fingerprint(model(tmp_path / "tuned", data=bytes(data), name="model.bin")) != base
    longer = model(tmp_path / "longer", data=bytes(6 * SAMPLE_BYTES), name="model.bin")
    assert model_fingerprint(longer) != base


def test_a_binding_changes_with_model_shape_and_every_token():
    tokens = [1, 2, 3, 70000]
    bindings = {
        binding("model", GEOMETRY, tokens),
        binding("tuned", GEOMETRY, tokens),
        binding("model", Geometry(8, 2, 64, "bfloat16"), tokens),
        binding("model", GEOMETRY, [1, 2, 3, 70001]),
        binding("model", GEOMETRY, [1, 3, 2, 70000]),
        binding("model", GEOMETRY, tokens[:-1]),
    }
    assert len(bindings) == 6
    assert binding("model", GEOMETRY, tokens) == binding("model", GEOMETRY, list(tokens))
