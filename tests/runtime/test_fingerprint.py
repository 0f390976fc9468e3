"""KV is bound to weights, shape and tokens."""

import json

from runtime.fingerprint import SAMPLE_BYTES, binding, model_fingerprint
from runtime.tiles.geometry import Geometry

GEOMETRY = Geometry(8, 2, 64, "float16")


def model(folder, *, weights=b"w" * 5 * SAMPLE_BYTES, **config):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 256, **config}))
    (folder / "model.safetensors").write_bytes(weights)
    return str(folder)


def test_the_same_files_elsewhere_have_the_same_fingerprint(tmp_path):
    one = model_fingerprint(model(tmp_path / "one", transformers_version="5.1"))
    assert one == model_fingerprint(model(tmp_path / "two", transformers_version="5.2"))


def test_other_weights_or_settings_have_another(tmp_path):
    tuned = bytearray(b"w" * 5 * SAMPLE_BYTES)
    tuned[2 * SAMPLE_BYTES + 77] ^= 1
    prints = {
        model_fingerprint(model(tmp_path / "base")),
        model_fingerprint(model(tmp_path / "tuned", weights=bytes(tuned))),
        model_fingerprint(model(tmp_path / "longer", weights=b"w" * 6 * SAMPLE_BYTES)),
        model_fingerprint(model(tmp_path / "other", rope_theta=5e5)),
        model_fingerprint("org/name"),
        model_fingerprint("org/another"),
    }
    assert len(prints) == 6


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
