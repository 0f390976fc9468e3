"""Which engines the connector refuses to run in, and what a rank owns."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from runtime.fingerprint import model_fingerprint
from runtime.tiles.geometry import Geometry

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, while vLLM is imported
    from vllm.v1.kv_cache_interface import FullAttentionSpec, MLAAttentionSpec, SlidingWindowSpec

    from runtime.connector.model import (
        EngineRefused,
        caches_by_layer,
        check_engine,
        geometry_of,
        heads_of,
        weights_of,
    )

pytestmark = pytest.mark.engine_env

SHAPE = {"block_size": 128, "num_kv_heads": 2, "head_size": 64, "dtype": torch.float16}


def engine(*specs, speculative=None, context=1):
    config = SimpleNamespace(
        model_config=SimpleNamespace(
            dtype=torch.float16, get_total_num_hidden_layers=lambda: 8, get_total_num_kv_heads=lambda: 2
        ),
        parallel_config=SimpleNamespace(decode_context_parallel_size=context, prefill_context_parallel_size=1),
        speculative_config=speculative,
    )
    groups = [SimpleNamespace(kv_cache_spec=spec) for spec in specs]
    return config, SimpleNamespace(kv_cache_groups=groups)


def test_full_attention_is_accepted():
    config, kv_cache = engine(FullAttentionSpec(**SHAPE))
    spec = check_engine(config, kv_cache)
    assert geometry_of(config, spec) == Geometry(8, 2, 64, "float16")


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (engine(FullAttentionSpec(**SHAPE), FullAttentionSpec(**SHAPE)), "2 KV cache groups"),
        (engine(), "0 KV cache groups"),
        (engine(SlidingWindowSpec(**SHAPE, sliding_window=512)), "SlidingWindowSpec"),
        (engine(MLAAttentionSpec(**{**SHAPE, "num_kv_heads": 1})), "MLAAttentionSpec"),
        (engine(FullAttentionSpec(**SHAPE, sliding_window=512)), "windows"),
        (engine(FullAttentionSpec(**SHAPE, head_size_v=32)), "differ in size"),
        (engine(FullAttentionSpec(**{**SHAPE, "dtype": torch.float8_e4m3fn})), "float8"),
        (engine(FullAttentionSpec(**SHAPE), speculative="ngram"), "Speculative"),
        (engine(FullAttentionSpec(**SHAPE), context=2), "Context parallelism"),
    ],
)
def test_what_cannot_be_transferred_is_refused_by_name(case, reason):
    with pytest.raises(EngineRefused, match=reason):
        check_engine(*case)


@pytest.mark.parametrize(
    ("tp", "owned"),
    [
        (1, [((0, 4), True)]),
        (2, [((0, 2), True), ((2, 4), True)]),
        (4, [((0, 1), True), ((1, 2), True), ((2, 3), True), ((3, 4), True)]),
        (8, [((head, head + 1), first) for head in range(4) for first in (True, False)]),
    ],
)
def test_every_head_is_written_by_exactly_one_rank(tp, owned):
    assert [heads_of(4, tp, rank) for rank in range(tp)] == owned


def test_layers_are_known_by_the_numbers_in_their_names():
    caches = {f"model.layers.{layer}.self_attn.attn": torch.zeros(layer) for layer in (5, 3, 4)}
    assert [(layer, len(cache)) for layer, cache in caches_by_layer(caches).items()] == [(3, 3), (4, 4), (5, 5)]


def test_a_rank_with_gaps_in_its_layers_is_refused():
    with pytest.raises(EngineRefused, match="consecutive"):
        caches_by_layer({f"model.layers.{layer}.self_attn.attn": torch.zeros(1) for layer in (1, 3)})


COMMITS = {"main": "a" * 40, "v2": "b" * 40}


@pytest.fixture
def hub(tmp_path):
    """A cache as the hub's client lays it out, with two revisions of a model that differ in their weights only."""
    repository = tmp_path / "models--org--name"
    (repository / "refs").mkdir(parents=True)
    for name, commit in COMMITS.items():
        (repository / "refs" / name).write_text(commit)
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
        (snapshot / "model.bin").write_bytes(name.encode() * 100)
    return tmp_path


def named(model, hub, revision=None):
    return SimpleNamespace(
        model_config=SimpleNamespace(model=str(model), revision=revision),
        load_config=SimpleNamespace(download_dir=str(hub)),
    )


def test_a_model_given_by_name_is_bound_to_the_files_it_was_loaded_from(hub):
    snapshots = hub / "models--org--name" / "snapshots"
    assert weights_of(named("org/name", hub)) == str(snapshots / COMMITS["main"])
    assert weights_of(named("org/name", hub, "v2")) == str(snapshots / COMMITS["v2"])
    assert weights_of(named(snapshots / COMMITS["v2"], hub)) == str(snapshots / COMMITS["v2"])
    prints = {model_fingerprint(weights_of(named("org/name", hub, revision))) for revision in (None, "v2")}
    assert len(prints) == 2


def test_a_model_that_the_cache_does_not_hold_is_its_name_and_revision(hub):
    assert weights_of(named("org/another", hub)) == "org/another@main"
    assert weights_of(named("org/another", hub, "v2")) == "org/another@v2"
    assert weights_of(named("s3://no/name of the hub's", hub)) == "s3://no/name of the hub's@main"


def test_a_snapshot_without_weights_is_its_name_and_commit(hub):
    """They are read from elsewhere, or are of a kind of their own."""
    (hub / "models--org--name" / "snapshots" / COMMITS["main"] / "model.bin").unlink()
    assert weights_of(named("org/name", hub)) == f"org/name@{COMMITS['main']}"
